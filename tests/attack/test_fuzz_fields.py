"""Hostile values in every field of every form of the console, and in every query parameter of every page.

The pages come from the URL map, and the forms from the pages, so new ones are in by themselves.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson
import pytest

from tests.attack.hostile import ADDRESSES, MARK, MARKUP, TEXTS
from tests.attack.pages import Form, read_page
from tests.attack.raw_client import RawClient
from tests.attack.rounds import Rounds
from tests.support.secured_app import PASSWORD, SecuredApp

MEMBER, GONE = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5a", "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"
FORM_TYPE = (b"content-type", b"application/x-www-form-urlencoded")
NOTICES = {"done": ["deleted", "delete", "saved", "restore"], "n": ["2"], "undo": [MEMBER]}
NAMES = [
    "self",
    "cls",
    "changes",
    "__class__",
    "_Context__self",
    "_Context__obj",
    "_loop_vars",
    "caller",
    "url",
    "attributes.x",
]
"""Names that a program may confuse with its own."""


class Console:
    """The console as an administrator sees it, with a member, a deleted user and a token."""

    def __init__(self, start: Callable[[], SecuredApp]) -> None:
        self._start = start
        self.renew()

    def renew(self) -> None:
        """Begin with the same users again, if a form has changed them."""
        self.site = self._start()
        for user_id, name in ((MEMBER, "member"), (GONE, "gone")):
            made = self.site.admin.put(f"/users/{user_id}", {"username": name, "attributes": {"x": 1}})
            assert made.status_code == 201
        self.site.session_cookie({"id": MEMBER})
        self.site.token(self.site.admin.user, "viewer")
        assert self.site.admin.delete(f"/users/{GONE}").status_code == 204
        self.client = RawClient(
            self.site.app, {**self.site.admin.headers, "User-Agent": f"Mozilla/5.0 <{MARK}> Firefox"}
        )

    def get(self, path: str) -> Any:
        return self.client("GET", path.encode())

    def post(self, form: Form, values: dict[str, str]) -> Any:
        body = urlencode(values, errors="replace").encode()
        if form.method.lower() == "get":
            return self.client("GET", f"{form.action}?".encode() + body)
        return self.client("POST", form.action.encode(), [FORM_TYPE], body)

    def paths(self) -> list[str]:
        """The pages of the console."""
        rules = [rule for rule in self.site.app.url_map.iter_rules() if "GET" in (rule.methods or ())]
        pages = {rule.rule for rule in rules if rule.endpoint.startswith("console_") and "assets" not in rule.endpoint}
        filled = {page.replace("<user_id>", user_id) for page in pages for user_id in (MEMBER, GONE)}
        assert not any("<" in path for path in filled), "a page with another argument needs a value here"
        return sorted(filled | {"/people?deleted=true", f"/people?done=deleted&undo={MEMBER}"})


@pytest.fixture
def console(new_site: Callable[[], SecuredApp], no_errors_logged: None) -> Console:  # noqa: ARG001 - it watches the log
    return Console(new_site)


def forms_of(console: Console, path: str) -> list[Form]:
    return read_page(console.get(path), path).forms


def parameters(console: Console) -> list[str]:
    """The query parameters of the API's list, and the fields of all forms."""
    contract = orjson.loads(console.get("/api/openapi.json").data)
    listed = [one["name"] for one in contract["paths"]["/api/users"]["get"]["parameters"] if one["in"] == "query"]
    fields = [name for path in console.paths() for form in forms_of(console, path) for name, _ in form.fields]
    return sorted({*listed, *fields, *NOTICES, *NAMES, "before", "filters", "next", "user_id", "draft"})


def test_query_parameters(rounds: Rounds, console: Console) -> None:
    names = parameters(console)
    for number in rounds(60):
        path = rounds.chance.choice(console.paths()).partition("?")[0]
        chosen = [names[number % len(names)], *rounds.chance.choices(names, k=2)]
        query = {
            name: rounds.chance.choice(NOTICES.get(name, TEXTS) if index else TEXTS)
            for index, name in enumerate(chosen)
        }
        query[rounds.chance.choice(TEXTS)] = rounds.chance.choice(TEXTS)
        target = f"{path}?{urlencode(query)}"
        for headers in ([], [(b"hx-request-type", b"partial"), (b"hx-target", b"section#list")]):
            answer = console.client("GET", target[:12_000].encode(), headers)
            read_page(answer, path)
            for redirect in ("Location", "HX-Redirect", "HX-Replace-Url"):
                assert is_own(answer.headers.get(redirect, "/")), (target, answer.headers)


def is_own(location: str) -> bool:
    return (
        urlsplit(location).netloc in ("", "localhost")
        and re.match(r"/(?![/\\])|http://localhost/", location) is not None
    )


def test_fields(rounds: Rounds, console: Console) -> None:
    every = [(path, number) for path in console.paths() for number in range(len(forms_of(console, path)))]
    known: set[tuple[str, ...]] = set()
    for _ in rounds(1):
        for path, number in every:
            form = forms_of(console, path)[number]
            shape = (re.sub(r"[0-9a-f-]{32,}", "", form.action), *sorted({name for name, _ in form.fields}))
            if shape not in known or rounds.seconds:
                known.add(shape)
                attack(rounds, console, path, number)


def attack(rounds: Rounds, console: Console, path: str, number: int) -> None:
    """Send a form once for each of its fields with hostile values, and follow to the page that shows them."""
    for name, value in dict(forms_of(console, path)[number].fields).items():
        for text in ADDRESSES if value.startswith("/") else [MARKUP, *rounds.chance.sample(TEXTS, 2)]:
            form = forms_of(console, path)[number]
            values = {**dict(form.fields), **filled(form), name: text}
            answer = console.post(form, values)
            read_page(answer, path)
            if answer.status_code in (302, 303):
                assert is_own(answer.headers["Location"]), answer.headers
            for shown in pages_to_look_at(answer, path):
                read_page(console.get(shown), shown)
            if answer.status_code in (201, 303):
                console.renew()


def filled(form: Form) -> dict[str, str]:
    """Values of fields that a visitor fills in."""
    names = {name for name, _ in form.fields}
    known = {"username": "someone", "name": "Someone", "password": "", "current_password": PASSWORD}
    return {name: value for name, value in known.items() if name in names}


def pages_to_look_at(answer: Any, path: str) -> Iterator[str]:
    """The page that a form leads to, and those that show what it stored."""
    if answer.status_code == 303:
        yield answer.headers["Location"].removeprefix("http://localhost")
        yield from ("/people", "/overview")
    if answer.status_code == 201:
        yield path
