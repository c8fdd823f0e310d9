"""French: every sentence is translated, the compiled catalog is current, and placeholders match."""

import ast
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po
from flask import Flask
from pydantic import BaseModel

from app import errors
from app.auth.permissions import Actor
from app.auth.schemas import PasswordChange, SignIn, TokenDraft
from app.console.i18n import translate
from app.errors import N_, BadRequest, DomainError, FieldError, Message, OperatorError, ValidationFailed
from app.http.parsing import parse_json, validated
from app.schemas import DeleteQuery, HistoryQuery, ListQuery, UserDraft, UserPatch, UserReplacement

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "app" / "console" / "translations"
FRENCH = FOLDER / "fr" / "LC_MESSAGES" / "messages.po"
MARKERS = {"N_": 1, "gettext": 1, "ngettext": 2}
"""What Babel looks for, and how many of its arguments are texts."""
FIELDS = {"FieldError": 0, "BadRequest": 1, "AlreadyTaken": 0}
"""Which argument is the name of a field, and no sentence."""
MODELS = (
    UserDraft, UserReplacement, UserPatch, SignIn, PasswordChange, TokenDraft, ListQuery, HistoryQuery, DeleteQuery,
)  # fmt: skip
WRONG = (
    "", "x", "x" * 3000, "\x00", "\ud800", "ada@", "ada@b.", "0", "999", "9" * 20, None, True, 5, 5.5, float("nan"), [],
    {"a": [[[[[[[[1]]]]]]]]}, {"a": float("inf")}, {"a": 2**64}, {"a": "x" * 20000}, {str(n): "" for n in range(11)},
    "2026-13-01T00:00:00Z", "0000-01-01T00:00:00Z", {}, "9999-12-31T23:59:59-10:00",
)  # fmt: skip
NO_JSON = (
    b"", b"{", b"{'a':1}", b'{"a":1,}', b"[1,]", b"1 2", b"\xef\xbb\xbf{}", b'{"a" 1}', b"[1 2]", b'"a\nb"', b'"abc',
    b'"\\x"', b'"\\u12"', b"NaN", b"1e999", b"[" * 70 + b"]" * 70, b"[" * 100000, b"9" * 5000, b"\xff", b"\x00",
    b'"\\ud800"', b'{"a":1,"a":2}',
)  # fmt: skip


def gathered(tmp_path: Path) -> Catalog:
    """What `make words` finds now."""
    found = tmp_path / "messages.pot"
    words = ["extract", "-F", str(FOLDER / "babel.cfg"), "-o", str(found), "app"]
    subprocess.run([sys.executable, "-m", "babel.messages.frontend", "-q", *words], check=True, cwd=ROOT)
    return read_po(io.BytesIO(found.read_bytes()))


@pytest.fixture
def french() -> Catalog:
    return read_po(io.BytesIO(FRENCH.read_bytes()), locale="fr")


def ids(catalog: Catalog) -> set[str]:
    return {message.id if isinstance(message.id, str) else message.id[0] for message in catalog if message.id}


def texts(catalog: Catalog) -> dict[str, Any]:
    return {str(message.id): message.string for message in catalog if message.id}


def test_the_catalog_has_every_sentence_of_code_and_templates(tmp_path: Path, french: Catalog) -> None:
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


def test_the_compiled_catalog_equals_its_source(french: Catalog) -> None:
    compiled = read_mo(io.BytesIO(FRENCH.with_suffix(".mo").read_bytes()))
    fresh = io.BytesIO()
    write_mo(fresh, french)
    fresh.seek(0)
    assert texts(read_mo(fresh)) == texts(compiled), "run make words"


def calls_of(names: set[str]) -> Iterator[tuple[str, ast.Call]]:
    for path in sorted((ROOT / "app").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in names:
                yield path.name, call


def refusals() -> set[str]:
    """What is raised or named with a sentence for clients."""
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, DomainError)}
    operators = {name for name in kinds if issubclass(getattr(errors, name), OperatorError)}
    return {*kinds - operators, "FieldError", "RuleError"}


def test_every_translatable_message_is_a_literal_with_matching_values() -> None:
    """No f-string either: of these Babel finds other texts in other releases of Python."""
    for path, call in calls_of(set(MARKERS)):
        texts = call.args[: MARKERS[call.func.id]]
        if path == "i18n.py" and ast.unparse(texts[0]) == "message.template":
            continue  # translate
        for text in texts:
            assert isinstance(text, ast.Constant), (path, call.lineno)
            assert isinstance(text.value, str), (path, call.lineno)
        # Libraries give their values later.
        if all(keyword.arg for keyword in call.keywords) and path != "validation.py":
            places = {place for text in texts for place in re.findall(r"%\((\w+)\)s", text.value)}
            assert places == {keyword.arg for keyword in call.keywords}, (path, call.lineno)


def test_every_refusal_has_a_translatable_message() -> None:
    """Each error has a message that is marked with N_, or the text of a library."""
    for path, call in calls_of(refusals()):
        said = [argument for place, argument in enumerate(call.args) if place != FIELDS.get(call.func.id)]
        assert not any(isinstance(argument, ast.Constant | ast.JoinedStr) for argument in said), (path, call.lineno)
    assert {path for path, _ in calls_of({"Message"})} <= {"errors.py", "validation.py"}


def messages_of(message: Message) -> Iterator[Message]:
    """The message and those within it, but for what email-validator says with values of its own in it."""
    yield message
    for name, value in message.values.items():
        if isinstance(value, Message) and not (name == "reason" and value.template.startswith("The ")):
            yield from messages_of(value)


def wrong(model: type[BaseModel], values: dict[str, Any]) -> list[FieldError]:
    try:
        validated(model, values)
    except ValidationFailed as error:
        return error.field_errors
    return []


def test_every_validation_message_is_translatable(french: Catalog) -> None:
    field_errors = [
        field_error
        for model in MODELS
        for field in [*model.model_fields, "unknown"]
        for value in WRONG
        for field_error in wrong(model, {field: value})
    ]
    assert len({field_error.message.template for field_error in field_errors}) > 25
    for field_error in field_errors:
        assert "%(" not in str(field_error.message)
        assert {message.template for message in messages_of(field_error.message)} <= ids(french)


@pytest.mark.parametrize("body", NO_JSON)
def test_every_json_error_message_is_translatable(french: Catalog, body: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_json(body)
    assert {message.template for message in messages_of(caught.value.message)} <= ids(french)


def refused(do: Any, *values: Any) -> Message:
    with pytest.raises(DomainError) as caught:
        do(*values)
    error = caught.value
    return error.field_errors[0].message if isinstance(error, ValidationFailed) else error.message


@pytest.mark.parametrize(
    ("do", "values", "english", "french"),
    [
        (
            validated,
            [PasswordChange, {"current_password": "x", "new_password": "short"}],
            "must have 10 to 128 characters",
            "doit avoir de 10 à 128 caractères",
        ),
        (
            Actor("session", role="editor").require_role_above,
            ["admin"],
            "The role editor may not create or change a user with the role admin.",
            "Le rôle éditeur ne peut ni créer ni modifier un utilisateur de rôle administrateur.",
        ),
        (
            parse_json,
            [b'{"a": 1\n\n           "b": 2}', N_("The value")],
            "The value is not JSON: Expecting ',' delimiter at line 3, column 12.",
            "La valeur n’est pas du JSON : le signe ',' est attendu à la ligne 3, colonne 12.",
        ),
        (
            validated,
            [UserDraft, {"attributes": {"a": "x" * 20000}}],
            "must be at most 16 KiB as JSON",
            "doit faire au plus 16 Kio en JSON",
        ),
        (
            validated,
            [UserDraft, {"email": "ada"}],
            "is not an email address: An email address must have an @-sign.",
            "n’est pas une adresse e-mail : une adresse doit avoir un @.",
        ),
        (
            validated,
            [UserDraft, {"role": "king"}],
            "input should be 'member', 'viewer', 'editor' or 'admin'",
            "doit être 'member', 'viewer', 'editor' ou 'admin'",
        ),
        (
            validated,
            [UserDraft, {"name": " "}],
            "string should have at least 1 character",
            "doit avoir au moins 1 caractère",
        ),
    ],
)
def test_an_error_message_is_translated_to_french(
    app: Flask, do: Any, values: list[Any], english: str, french: str
) -> None:
    message = refused(do, *values)
    assert str(message) == english
    with app.test_request_context(headers={"Accept-Language": "fr-CA,fr;q=0.9,en;q=0.5"}):
        assert translate(message).replace("\u00a0", " ").replace("\u202f", " ") == french
    with app.test_request_context():
        assert translate(message) == english


def test_an_unknown_text_is_not_translated(app: Flask) -> None:
    with app.test_request_context(headers={"Accept-Language": "fr"}):
        assert translate(Message("something new and strange (5), 100 %")) == "something new and strange (5), 100 %"
