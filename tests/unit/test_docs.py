"""Every setting, route, query parameter, field and command is documented, and no other."""

import re
from pathlib import Path

import pytest
from flask import Flask

from app import create_app
from app.config import Settings
from app.http.services import services_of
from app.schemas import ListQuery, User

DOCS = Path(__file__).resolve().parents[2] / "docs"
API = (DOCS / "api.md").read_text()
OPERATIONS = (DOCS / "operations.md").read_text()
DOCUMENTED_ROUTES = set(re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`?]*)`", API))


@pytest.fixture(scope="module")
def app():
    made = create_app(database_url="postgresql://nobody@localhost/x")
    yield made
    services_of(made).close()


def cell(text: str, name: str) -> list[str]:
    """The cells of the table row that begins with a name."""
    rows = [line for line in text.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1]]
    assert rows, f"{name} has no line"
    return [part.strip() for part in rows[0].strip("|").split("|")]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_with_its_default(name: str) -> None:
    _, default, meaning = cell(OPERATIONS, name.upper())
    assert meaning
    expected = Settings.model_fields[name].default
    shown = default.strip("`")
    if expected is None:
        assert shown == "derived"
        return
    if isinstance(expected, bool):
        expected = str(expected).lower()
    expected = ",".join(expected) if isinstance(expected, (tuple, frozenset)) else expected
    assert shown == str(expected) or float(shown) == float(expected), "the default is another one"


def test_no_unknown_setting_is_documented() -> None:
    settings, others = OPERATIONS.split("## Roles of PostgreSQL", 1)
    assert set(re.findall(r"^\| `([A-Z][A-Z_]+)` \|", settings, re.MULTILINE)) == {
        name.upper() for name in Settings.model_fields
    }
    # Further tables have the variables of the compose files.
    used = "".join(path.read_text() for path in DOCS.parent.glob("docker-compose*.yml"))
    named = set(re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", others, re.MULTILINE))
    assert named
    assert [name for name in sorted(named) if not re.search(rf"\b{name}\b", used)] == []


def routes(app: Flask) -> set[tuple[str, str]]:
    """Method and path of every route below /api but the files of the page."""
    found = set()
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        if path.startswith("/api/") and "{filename}" not in path and "{name}" not in path:
            found |= {(method, path) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    return found


def test_every_route_is_documented_and_no_other(app: Flask) -> None:
    assert routes(app) - DOCUMENTED_ROUTES == set()
    assert DOCUMENTED_ROUTES - routes(app) == set()


def test_every_query_parameter_of_the_list_is_documented() -> None:
    lists = API[API.index("## Lists") :]
    missing = [name for name in ListQuery.model_fields if f"`{name}" not in lists]
    assert missing == []


def test_every_field_of_a_user_is_documented() -> None:
    missing = [
        name for name in [*User.model_fields, "password"] if f"| `{name}`" not in API and f", `{name}`" not in API
    ]
    assert missing == []


def test_every_command_is_documented(app: Flask) -> None:
    own = {
        name
        for name, command in app.cli.commands.items()
        if (command.callback or command).__module__.startswith("app.")
    }
    groups = {name for name, command in app.cli.commands.items() if hasattr(command, "commands") and name != "db"}
    names = {f"flask {name}" for name in own - groups}
    names |= {f"flask {group} {name}" for group in groups for name in app.cli.commands[group].commands}
    assert len(names) >= 2
    assert [name for name in names if f"`{name}" not in OPERATIONS] == []


@pytest.mark.parametrize(
    "page", [*sorted(DOCS.glob("*.md")), *sorted(DOCS.parent.glob("*.md"))], ids=lambda path: path.name
)
def test_every_link_to_a_file_has_a_target(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_target_of_make_is_documented() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (DOCS.parent / "Makefile").read_text(), re.MULTILINE)
    pages = [*DOCS.parent.glob("*.md"), *DOCS.glob("*.md"), DOCS.parent / "bench" / "README.md"]
    text = "".join(page.read_text() for page in pages)
    assert "test-fault" in targets
    targets.remove("help")
    assert [target for target in targets if not re.search(rf"\bmake {target}\b(?!-)", text)] == []
