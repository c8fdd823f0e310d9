"""French: every sentence has its translation, what is compiled is what was written, and values keep their places."""

import ast
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po
from flask import Flask

from app.console.language import said
from app.console.sentences import SENTENCES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "app" / "console" / "translations"
FRENCH = FOLDER / "fr" / "LC_MESSAGES" / "messages.po"
REFUSALS = {"Fault", "Conflict", "NotFound", "Forbidden", "Unauthorized", "Stale", "TooMany", "_rule"}
# Refused before there is a page, or by addresses that the console never makes.
NOT_SHOWN = {
    "The role {} may not change {} here.",
    "The first administrator can't be made: {}.",
    "There is no user with the username or email {}.",
    # Each of these is known in all its forms.
    "{} needs the role {}.",
    "{}. Make another one first.",
    "{} {} Filtering by role leaves them out.",
    "Another user has this {}.",
    "Another user has the {} of {}.",
}


def gathered(tmp_path: Path) -> Catalog:
    """What `make words` finds now."""
    (line,) = re.findall(r"^sentences = (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    found = tmp_path / "messages.pot"
    words = ["extract", "-F", str(FOLDER / "babel.cfg"), *line.split(), "-o", str(found), "app"]
    subprocess.run([sys.executable, "-m", "babel.messages.frontend", "-q", *words], check=True, cwd=ROOT)
    return read_po(io.BytesIO(found.read_bytes()))


@pytest.fixture
def french() -> Catalog:
    return read_po(io.BytesIO(FRENCH.read_bytes()), locale="fr")


def ids(catalog: Catalog) -> set[str]:
    return {message.id if isinstance(message.id, str) else message.id[0] for message in catalog if message.id}


def texts(catalog: Catalog) -> dict[str, Any]:
    return {str(message.id): message.string for message in catalog if message.id}


def test_the_catalog_holds_what_code_and_templates_say(tmp_path: Path, french: Catalog) -> None:
    assert ids(french) == ids(gathered(tmp_path)), "run make words"


def test_every_sentence_is_translated(french: Catalog) -> None:
    for message in french:
        texts = [message.string] if isinstance(message.string, str) else message.string
        assert all(texts), message.id
        assert not message.fuzzy or not message.id, message.id


def test_a_translation_keeps_the_values_of_its_sentence(french: Catalog) -> None:
    for message in french:
        if message.id:
            one = message.id if isinstance(message.id, str) else message.id[-1]
            other = message.string if isinstance(message.string, str) else message.string[-1]
            for places in (r"%\(\w+\)s", r"\{\}"):
                assert sorted(re.findall(places, one)) == sorted(re.findall(places, other)), one


def test_what_is_compiled_is_what_was_written(french: Catalog) -> None:
    compiled = read_mo(io.BytesIO(FRENCH.with_suffix(".mo").read_bytes()))
    fresh = io.BytesIO()
    write_mo(fresh, french)
    fresh.seek(0)
    assert texts(read_mo(fresh)) == texts(compiled), "run make words"


def with_values(node: ast.JoinedStr) -> str:
    return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)


def test_what_services_say_with_values_in_it_is_known_to_the_translators() -> None:
    for path in [*sorted((ROOT / "app").glob("services/*.py")), ROOT / "app/web/access.py"]:
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or getattr(call.func, "id", "") not in REFUSALS:
                continue
            for text in (with_values(given) for given in call.args if isinstance(given, ast.JoinedStr)):
                # Quotes around a value are taken out with it.
                whole = text.replace("'{}'", "{}")
                assert whole in {*SENTENCES, *NOT_SHOWN} or "This needs the role" in whole, (path.name, whole)


@pytest.mark.parametrize(
    ("english", "french"),
    [
        ("must have 10 to 128 characters", "doit avoir de 10 à 128 caractères"),
        (
            "The role editor may not touch a user with the role admin.",
            "Le rôle éditeur ne peut pas toucher à une personne de rôle administrateur.",
        ),
        (
            "It is not JSON: Expecting ',' delimiter at line 3, column 12.",
            "Ce n’est pas du JSON : le signe ',' est attendu à la ligne 3, colonne 12.",
        ),
        ("must be at most 16 KiB as JSON", "doit faire au plus 16 Kio en JSON"),
        ("something new and strange (5)", "something new and strange (5)"),
    ],
)
def test_a_sentence_of_a_service_is_said_in_french(app: Flask, english: str, french: str) -> None:
    with app.test_request_context(headers={"Accept-Language": "fr-CA,fr;q=0.9,en;q=0.5"}):
        assert said(english).replace("\u00a0", " ").replace("\u202f", " ") == french
    with app.test_request_context():
        assert said(english) == english
