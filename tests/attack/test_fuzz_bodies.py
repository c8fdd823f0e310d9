"""Bodies: JSON, merge patches, and forms in both encodings."""

import itertools
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import hypothesis.strategies as st
import orjson
import pytest
from werkzeug.test import EnvironBuilder

from tests.attack.fuzzing import fuzz
from tests.attack.hostile import ANY_TEXT, damaged, header
from tests.attack.model import merge, same
from tests.attack.raw_client import RawClient
from tests.attack.rounds import Rounds
from tests.support.secured_app import SecuredApp
from tests.support.strategies import JSON

JSON_TYPE = (b"content-type", b"application/json")
FORM_TYPE = (b"content-type", b"application/x-www-form-urlencoded")
MISTAKES = ("twice", "U+0000", "surrogate", "too deeply", "too large", "too many digits", "NaN", "Infinity")
"""What the service refuses besides what a JSON parser refuses."""


class Desk:
    """A user who is changed, and the administrator who changes it, by token and by session."""

    def __init__(self, site: SecuredApp) -> None:
        self.site = site
        self.user = site.create_user(username="changed")
        self.path = f"/api/users/{self.user['id']}".encode()
        self.page = f"/people/{self.user['id']}".encode()
        self.token = RawClient(site.app, site.token_client(site.admin.user).headers)
        self.session = RawClient(site.app, site.admin.headers)
        self.anyone = RawClient(site.app, {"Origin": "http://localhost"})

    def attributes(self) -> Any:
        return orjson.loads(self.token("GET", self.path).data)["attributes"]


_NUMBERS = itertools.count(1)


@pytest.fixture
def desk(new_site: Callable[[], SecuredApp], no_errors_logged: None) -> Desk:  # noqa: ARG001 - it watches the log
    return Desk(new_site())


DIFFICULT = [
    '{"a": 1, "a": 2}', '"\\u0000"', '"\\ud800"', '"\\ud83d\\ude00"', "NaN", "-Infinity", "1e400", "1E-400", "-0",
    "-0.0", "9" * 5000, "18446744073709551616", "[" * 100 + "]" * 100, "[" * 60 + "]" * 60, "01",
    '{"a":' * 9 + "1" + "}" * 9,
    "1.", "'a'", "[1,]", '{"a":1,}', "\ufeff{}", "// c\n1", '"\t"', '"\x7f"', "\u2028[]", "tru", "", " ", '{"":""}',
]  # fmt: skip
TEXTS = JSON.map(lambda value: json.dumps(value, ensure_ascii=False)) | st.sampled_from(DIFFICULT)


def test_json(rounds: Rounds, desk: Desk) -> None:
    """A value is refused, or stored as another parser reads it. The form takes the same values."""

    def check(text: str) -> None:
        raw = text.encode("utf-8", "surrogatepass")
        body = b'{"username": "changed", "attributes": ' + raw + b"}"
        answer = desk.token("PUT", desk.path, [JSON_TYPE], body)
        known, value = _parsed(raw)
        if answer.status_code == 200:
            assert known
            assert same(desk.attributes(), value)
        elif answer.status_code == 400:
            detail = orjson.loads(answer.data)["detail"]
            assert not known or any(mistake in detail for mistake in MISTAKES), detail
        else:
            assert answer.status_code == 422
        form = urlencode(
            {"username": "changed", "has_active": "1", "active": "on", "attributes": text}, errors="replace"
        )
        saved = desk.session("POST", desk.page, [FORM_TYPE], form.encode())
        if known and isinstance(value, dict) and text.strip() and "\r" not in text:
            assert (saved.status_code == 303) == (answer.status_code == 200), saved.data

    for text in DIFFICULT:
        # Attributes are an object, so what is refused as their value may be taken inside it.
        check(f'{{"a": {text}}}')
    whole = damaged(TEXTS, st.characters(exclude_categories=["Cs"]))
    # The brackets keep a value from ending the object around it.
    fuzz(rounds, check, whole.filter(lambda text: _parsed(text.encode())[0] or "," not in text))


def _parsed(raw: bytes) -> tuple[bool, Any]:
    """Whether other parsers read a JSON text without repeated names, and its value."""
    try:
        json.loads(raw, object_pairs_hook=_without_repeated_names)
        return True, orjson.loads(raw)
    except (ValueError, RecursionError):
        return False, None


def _without_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError
    return dict(pairs)


def test_bytes_of_a_body(rounds: Rounds, desk: Desk) -> None:
    routes = [("POST", b"/api/users"), ("PUT", desk.path), ("PATCH", desk.path), ("POST", b"/api/tokens"),
              ("PATCH", b"/api/me"), ("PUT", b"/api/me/password"), ("POST", b"/users")]  # fmt: skip

    def check(body: bytes) -> None:
        for method, path in routes:
            assert desk.token(method, path, [JSON_TYPE], body).status_code >= 400 or _parsed(body)[0]
        desk.anyone("POST", b"/api/session", [JSON_TYPE], body)

    valid = [{"name": "Ada"}, {"username": "x", "nickname": 1}, {"name": "x", "role": "viewer", "expires_at": "2026"},
             {"email": [], "id": {}}, {"username": "nobody", "password": "x"}]  # fmt: skip
    for malformed in (b"\xff", b"\xc0\xae", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
        check(b'{"name": "%s"}' % malformed)
    texts = damaged(st.sampled_from([json.dumps(one) for one in valid])).map(
        lambda text: text.encode("latin-1", "replace")
    )
    fuzz(rounds, check, texts | st.binary(min_size=1, max_size=40), examples=30)


def test_merge_patches(rounds: Rounds, desk: Desk) -> None:
    """A patch gives what RFC 7396 says, whatever was there before."""

    def check(patch: Any) -> None:
        before = desk.attributes()
        answer = desk.token("PATCH", desk.path, [JSON_TYPE], json.dumps({"attributes": patch}).encode())
        if answer.status_code == 200:
            assert same(desk.attributes(), merge(before, patch) or {})
        else:
            assert answer.status_code == 422
            assert same(desk.attributes(), before)

    keys = st.sampled_from(["a", "b", "", "é"])
    deep = st.recursive(JSON, lambda inner: st.dictionaries(keys, st.none() | inner, max_size=3), max_leaves=12)
    fuzz(rounds, check, st.dictionaries(keys, deep, max_size=3) | JSON)


FIELDS = [
    *(
        "name",
        "username",
        "email",
        "role",
        "active",
        "has_active",
        "attributes",
        "password",
        "key",
        "version",
        "original",
    ),
    *(
        "keep_name",
        "theirs_name",
        "current_password",
        "new_password",
        "draft",
        "next",
        "language",
        "action",
        "id",
        "all",
    ),
    *("expected", "deleted_at", "query", "user_id", "days", "newest_id", "confirmed"),
]
FORM = st.dictionaries(st.sampled_from(FIELDS), ANY_TEXT, max_size=6)


def test_forms_in_both_encodings(rounds: Rounds, desk: Desk) -> None:
    """A form is read in the same way as application/x-www-form-urlencoded and as multipart/form-data."""
    paths = [b"/people/new", b"/people/bulk", b"/api-tokens", b"/password", desk.page, b"/language", b"/sign-in"]

    def check(form: dict[str, str]) -> None:
        # A role that does not exist, so the first of the two requests changes nothing.
        form = {**form, "role": "king"}
        builder = EnvironBuilder(method="POST", data=form, content_type="multipart/form-data")
        parts = builder.get_environ()
        multipart = (b"content-type", parts["CONTENT_TYPE"].encode())
        body = parts["wsgi.input"].read()
        for path in paths:
            # From an address of its own, because attempts to sign in are counted.
            client = f"198.51.{next(_NUMBERS) % 256}.{next(_NUMBERS) % 256}"
            one = desk.session("POST", path, [FORM_TYPE], urlencode(form).encode(), client)
            other = desk.session("POST", path, [multipart], body, client)
            if 429 in (one.status_code, other.status_code):
                continue
            assert one.status_code == other.status_code, path
            assert one.headers.get("Location") == other.headers.get("Location")

    check({name: "/people" for name in FIELDS if name != "draft"})
    fuzz(rounds, check, FORM, examples=20)


def test_bytes_of_a_form(rounds: Rounds, desk: Desk) -> None:
    paths = [b"/people/new", b"/people/bulk", b"/api-tokens", b"/password", desk.page, b"/language", b"/sign-in",
             b"/first", desk.page + b"/restore", desk.page + b"/purge", b"/api-tokens/x/revoke"]  # fmt: skip
    part = '--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nAda\r\n--b--\r\n'
    file = '--b\r\nContent-Disposition: form-data; name="name"; filename="x"\r\nContent-Type: a/b\r\n\r\nAda\r\n--b--'
    valid = st.sampled_from(
        [part, file, "name=Ada&role=member", "draft=name%3DAda", "filters=q%3Da", "action=delete&all=1"]
    )
    types = st.sampled_from(
        ["multipart/form-data; boundary=b", "application/x-www-form-urlencoded", "multipart/form-data"]
    )

    def check(value: tuple[bytes, str]) -> None:
        kind, text = value
        for path in paths:
            if b"confirmed" not in text.encode():
                desk.session("POST", path, [(b"content-type", kind)], text.encode("latin-1", "replace"))
        desk.anyone("POST", b"/people/new", [(b"content-type", kind)], text.encode("latin-1", "replace"))

    fuzz(rounds, check, st.tuples(header(types), damaged(valid)), examples=20)
