"""Query strings: cursors, filters, numbers and timestamps, for the API and for the pages, which must agree."""

import datetime as dt
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import hypothesis.strategies as st
import orjson
import pytest

from app.search.cursors import with_checksum
from tests.attack.fuzzing import fuzz
from tests.attack.hostile import ANY_TEXT, damaged, encoded, mostly
from tests.attack.raw_client import RawClient
from tests.attack.rounds import Rounds
from tests.support.api_client import SORTS, links
from tests.support.secured_app import SecuredApp

STAMPS = ["2026-01-31T09:30:00Z", "2026-01-31t10:30:00.5+01:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59",
          "2024-02-29T23:59:59.123456789Z", "2026-01-31T09:30:60Z", "2026-01-31 09:30:00Z", "1700000000",
          "2026-01-31T10:30:00+0100", "2026-01-31T10:30:00", "2026-01-31T10:30Z"]  # fmt: skip
NUMBERS = ["1", "200", "201", "0", "-1", "007", "1_0", "1.0", "1e1", "+5", "٣", "9" * 30, "0x10"]
VALUES = {
    "limit": st.sampled_from(NUMBERS), "sort": st.sampled_from([*SORTS, "id", "NAME", "--name"]),
    "role": st.sampled_from(["member", "admin", "king", "ADMIN"]), "active": st.sampled_from(["true", "false", "1"]),
    "deleted": st.sampled_from(["true", "false", "yes"]), "created_after": st.sampled_from(STAMPS),
    "created_before": st.sampled_from(STAMPS), "email": st.sampled_from(["ada@a.org", "Ada@A.org", "@", "a@b@c"]),
    "username": st.sampled_from(["user-1", "USER-1", "a b"]),
    "q": st.sampled_from(["use", "user 1", "田中", "x" * 201]),
    "attributes.team": st.sampled_from(["x", "1", "null", "1.0", "true"]),
    "attributes[team]": st.sampled_from(["x", "1"]),
    "attributes": st.just("x"), "attributes.": st.just("x"), "attributes[]": st.just("x"), "cursor": st.just("x"),
    "": st.just("x"),
}  # fmt: skip
LIST_PARAMETERS = st.lists(
    st.sampled_from(sorted(VALUES)).flatmap(
        lambda name: st.tuples(st.just(name), mostly(VALUES[name], damaged(VALUES[name]) | ANY_TEXT))
    ),
    max_size=3,
)


class Reader:
    """The same lists by token, by session, and as pages."""

    def __init__(self, site: SecuredApp) -> None:
        for number in range(5):
            role = ("member", "viewer")[number % 2]
            site.create_user(role, username=f"user-{number}", active=number != 3, attributes={"team": "x1"[number % 2]})
        site.admin.delete(f"/users/{site.create_user(username='gone')['id']}")
        self.site = site
        self.token = RawClient(site.app, site.token_client(site.admin.user).headers)
        self.session = RawClient(site.app, site.admin.headers)

    def agree(self, query: bytes) -> tuple[int, Any]:
        """The status and body of a list, which is the same at each address, by each credential, and at each request."""
        answers = [self.token("GET", b"/api/users?" + query), self.token("GET", b"/users?" + query)]
        answers += [self.session("GET", b"/api/users?" + query), self.token("GET", b"/api/users?" + query)]
        for answer in answers[1:]:
            assert answer.status_code == answers[0].status_code
            if answer.status_code == 200:
                assert answer.data == answers[0].data
        return answers[0].status_code, answers[0]

    def page(self, query: bytes) -> Any:
        return self.session("GET", b"/people?" + query)


@pytest.fixture
def reader(new_site: Callable[[], SecuredApp], no_errors_logged: None) -> Reader:  # noqa: ARG001 - it watches the log
    return Reader(new_site())


def ids_of(page: Any) -> list[str]:
    return re.findall(r'name="id" value="([0-9a-f-]{36})"', page.get_data(as_text=True))


def test_filters(rounds: Rounds, reader: Reader) -> None:
    """What the API takes as a list, the page shows, with the same users in the same order."""

    def check(pairs: list[tuple[str, str]]) -> None:
        # The page has another default.
        pairs = pairs if "sort" in dict(pairs) else [*pairs, ("sort", "name")]
        query = b"&".join(encoded(name) + b"=" + encoded(value) for name, value in pairs)
        status, answer = reader.agree(query)
        page = reader.page(query)
        if all(value for _, value in pairs) and "" not in dict(pairs):
            assert (status == 200) == (page.status_code == 200), (status, page.status_code)
            if status == 200:
                assert ids_of(page) == [user["id"] for user in answer.json]

    fuzz(rounds, check, LIST_PARAMETERS)


def test_bytes_of_a_query(rounds: Rounds, reader: Reader) -> None:
    paths = (b"/people", b"/api-tokens", b"/sign-in", b"/overview", b"/people/new", b"/", b"/profile", b"/password")

    def check(query: bytes) -> None:
        reader.agree(query)
        for path in paths:
            reader.session("GET", path + b"?" + query)
            reader.session("GET", path + b"?" + query, [(b"hx-request-type", b"partial"), (b"hx-target", b"div#list")])

    valid = st.sampled_from(
        ["q=user&limit=2", "sort=-name&deleted=true", "attributes.team=x&active=true", "next=%2Fpeople"]
    )
    names = st.sampled_from(["filters", "done", "n", "undo", "user_id", "next", "before", "cursor", "q"])
    notices = st.builds(lambda name, value: f"{name}={encoded(value).decode()}", names, ANY_TEXT)
    # Granian refuses control characters, and bytes that are not UTF-8.
    texts = damaged(valid | notices) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    fuzz(rounds, check, texts.map(lambda text: re.sub(r"[\x00-\x20#\x7f]", "+", text).encode()))


def test_cursors(rounds: Rounds, reader: Reader) -> None:
    """A cursor is genuine, or refused, or leads to a part of the list; also one with the right checksum."""
    genuine = {}
    for sort in SORTS:
        url = links(reader.site.admin.get(f"/users?sort={sort}&limit=2"))["next"]
        genuine[sort] = dict(parse_qsl(url.partition("?")[2]))["cursor"]
    user_id = reader.site.admin.user["id"]
    known = {user["id"] for user in reader.site.admin.walk(limit=200)}

    def check(value: tuple[str, str, str]) -> None:
        sort, cursor, before = value
        query = b"sort=" + sort.encode() + b"&limit=2&cursor=" + encoded(cursor)
        status, answer = reader.agree(query)
        assert status in (200, 400, 422)
        assert status == 200 or cursor != genuine[sort]
        if status == 200:
            assert {user["id"] for user in answer.json} <= known
        if cursor:
            assert (reader.page(query).status_code == 200) == (status == 200)
        history = reader.token("GET", f"/api/users/{user_id}/history?cursor=".encode() + encoded(before))
        part = reader.session("GET", f"/people/{user_id}?before=".encode() + encoded(before))
        assert (history.status_code == 200) == (part.status_code == 200)

    sorts = st.sampled_from(SORTS)
    cursors = damaged(st.sampled_from(list(genuine.values()))) | ANY_TEXT
    forged = sorts.flatmap(lambda sort: st.tuples(st.just(sort), forged_cursors(f"users:{sort}:live"), st.just("x")))
    of_history = st.tuples(sorts, cursors, forged_cursors(f"history:{user_id}") | ANY_TEXT)
    fuzz(rounds, check, st.tuples(sorts, cursors, cursors) | forged | of_history, examples=120)


def forged_cursors(kind: str) -> st.SearchStrategy[str]:
    """Cursors with the right checksum, which is no secret, and any content."""
    keys = st.sampled_from([
        None, True, 0, -1, 2**63 - 1, 2**63, 1.5, 1e300, [], {}, "", "a\0b", "\ud7ff", "x" * 900, "infinity", "now",
        "2026-01-31 09:30:00+00", "2026-01-31T09:30:00+00", "0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00",
        "2026-13-31 09:30:00+00", "2026-01-31 09:30:00 BC+00",
    ])  # fmt: skip
    ids = st.sampled_from(
        ["019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b", "{019A2B3C4D5E7F608A9B0C1D2E3F4A5B}", "x", "", None, 7]
    )
    flags = st.sampled_from([True, False, None, 0, "x", [1]])
    whole = st.lists(keys | ids | flags, max_size=5) | st.tuples(keys, ids, flags, flags) | keys
    whole |= st.tuples(keys, st.just("019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"), st.booleans(), st.booleans())
    return whole.map(lambda content: with_checksum(kind, orjson.dumps(content)))


def is_timestamp(text: str) -> bool | None:
    """Whether a text is a timestamp of RFC 3339, in UTC within the years 1 to 9999. None: a leap second."""
    found = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:)(\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", text, re.ASCII | re.IGNORECASE
    )
    if found is None:
        return False
    if found[3] == "60":
        return None
    zone = "+00:00" if found[5] in "Zz" else found[5]
    try:
        dt.datetime.fromisoformat(f"{found[1]}T{found[2]}{found[3]}{zone}").astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return False
    return True


def test_timestamps(rounds: Rounds, reader: Reader) -> None:
    """A query, a body and a form take the same timestamps, those of RFC 3339."""

    def check(text: str) -> None:
        # In a query, an unescaped + is a space.
        expected = is_timestamp(text.replace(" ", "+"))
        query = encoded(text)
        status, answer = reader.agree(b"created_after=" + query)
        assert expected is None or (status == 200) == expected, (text, answer.data)
        body = orjson.dumps({"name": "x", "role": "viewer", "expires_at": text})
        made = reader.token("POST", b"/api/tokens", [(b"content-type", b"application/json")], body)
        is_right = status == 200 and b"future" not in made.data
        assert made.status_code == 201 if is_right else made.status_code in (400, 422), made.data
        form = b"action=restore&deleted_at=" + query
        undone = reader.session(
            "POST", b"/people/bulk", [(b"content-type", b"application/x-www-form-urlencoded")], form
        )
        assert (undone.status_code in (400, 422)) == (status != 200), undone.data
        if made.status_code == 201:
            assert reader.site.admin.delete(f"/tokens/{made.json['id']}").status_code == 204

    fuzz(rounds, check, mostly(damaged(st.sampled_from(STAMPS), st.sampled_from("0123456789:-+.TZz٣ ")), ANY_TEXT))


def test_limits(rounds: Rounds, reader: Reader) -> None:
    def check(text: str) -> None:
        is_right = re.fullmatch(r"-?[0-9]{1,18}", text) is not None and 1 <= int(text) <= 200
        for path in (b"/api/users", f"/api/users/{reader.site.admin.user['id']}/history".encode()):
            assert reader.token("GET", path + b"?limit=" + encoded(text)).status_code == (200 if is_right else 422)

    digits = st.sampled_from("0123456789-+_. ٣")
    fuzz(
        rounds, check, damaged(st.sampled_from(NUMBERS), digits) | st.text(digits, max_size=4) | st.sampled_from(["1"])
    )


def test_a_cursor_of_the_history_with_a_boolean_key_is_refused(reader: Reader) -> None:
    user_id = reader.site.admin.user["id"]
    cursor = with_checksum(f"history:{user_id}", orjson.dumps([True, user_id, False, False]))
    assert reader.token("GET", f"/api/users/{user_id}/history?cursor={cursor}".encode()).status_code == 400
