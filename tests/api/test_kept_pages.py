"""A page in the order of making is known while only others are changed or made, and never when it should not be."""

import gc
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import orjson
import psycopg
import pytest

from app.services import listing
from app.web import express_pages
from tests.support.lanes import Lanes
from tests.support.secured_app import SecuredApp

FIRST = "/api/users?limit=3"


@pytest.fixture
def token(people: SecuredApp, database: psycopg.Connection[Any]) -> str:
    """Of an administrator, in a service of nine users who were made on nine days, long ago."""
    for number in range(8):
        people.make(username=f"u{number}")
    database.execute(
        "UPDATE users SET created_at = now() - interval '20 days' + n * interval '1 day'"
        " FROM (SELECT id, row_number() OVER (ORDER BY created_at, id) AS n FROM users) AS u WHERE u.id = users.id"
    )
    people.app.extensions["fullstack"].state.touch_all()
    secret: str = people.token(people.admin.user)["token"]
    return secret


def users(lanes: Lanes, token: str) -> list[dict[str, Any]]:
    """All, in the order of their making."""
    found: list[dict[str, Any]] = orjson.loads(lanes.slow("/api/users", token).body)
    return found


def is_known(lanes: Lanes, path: str, token: str) -> bool:
    """Whether memory answers, without a second try."""
    before = lanes.entered, lanes.made
    require_right(lanes, path, token)
    return (lanes.entered, lanes.made) == before


def require_right(lanes: Lanes, path: str, token: str) -> None:
    fast, slow = lanes.fast(path, token), lanes.slow(path, token)
    assert fast.anonymous == slow.anonymous


OTHERS: dict[str, Callable[[SecuredApp, list[dict[str, Any]]], Any]] = {
    "somebody new": lambda house, _: house.make(username="new"),
    "somebody new, once": lambda house, _: house.admin.post(
        "/users", {"username": "new"}, headers={"Idempotency-Key": "k"}
    ),
    "another's name": lambda house, there: house.admin.patch(f"/users/{there[5]['id']}", {"name": "New"}),
    "another's attributes": lambda house, there: house.admin.patch(
        f"/users/{there[8]['id']}", {"attributes": {"a": 1}, "username": "zz"}
    ),
}


@pytest.mark.parametrize("write", OTHERS)
def test_what_concerns_others_leaves_a_page_known(lanes: Lanes, people: SecuredApp, token: str, write: str) -> None:
    second = next_of(lanes, FIRST, token)
    for path in (FIRST, second):
        assert lanes.is_fast(path, token)
    made = OTHERS[write](people, users(lanes, token))
    assert getattr(made, "status_code", 200) in (200, 201)
    assert is_known(lanes, FIRST, token)
    # The last of the second page is the sixth.
    assert is_known(lanes, second, token) == (write != "another's name")


CONCERNED: dict[str, Callable[[SecuredApp, list[dict[str, Any]]], Any]] = {
    "PATCH": lambda house, there: house.admin.patch(f"/users/{there[2]['id']}", {"name": "New"}),
    "PATCH of the role": lambda house, there: house.admin.patch(f"/users/{there[1]['id']}", {"role": "viewer"}),
    "PUT": lambda house, there: house.admin.put(f"/users/{there[1]['id']}", {"username": "other"}),
    "DELETE": lambda house, there: house.admin.delete(f"/users/{there[1]['id']}"),
    "DELETE of another": lambda house, there: house.admin.delete(f"/users/{there[7]['id']}"),
}


@pytest.mark.parametrize("write", CONCERNED)
def test_what_concerns_a_page_makes_it_old(lanes: Lanes, people: SecuredApp, token: str, write: str) -> None:
    assert lanes.is_fast(FIRST, token)
    assert CONCERNED[write](people, users(lanes, token)).status_code in (200, 204)
    assert not is_known(lanes, FIRST, token)


def test_who_comes_back_is_on_the_page(lanes: Lanes, people: SecuredApp, token: str) -> None:
    gone = users(lanes, token)[1]
    people.admin.delete(f"/users/{gone['id']}")
    assert lanes.is_fast(FIRST, token)
    assert people.admin.post(f"/users/{gone['id']}/restore").status_code == 200
    assert gone["id"].encode() in lanes.fast(FIRST, token).body
    require_right(lanes, FIRST, token)


class Later(datetime):
    """The clock of a machine that goes right, while that of PostgreSQL was set back by a month."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime.now(tz) + timedelta(days=30)


def test_who_is_made_while_the_clock_is_set_back_is_where_they_belong(
    lanes: Lanes, people: SecuredApp, token: str, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PostgreSQL sees it, some of the others were made in days to come."""
    database.execute("UPDATE users SET created_at = created_at + interval '15 days'")
    people.app.extensions["fullstack"].state.touch_all()
    monkeypatch.setattr(express_pages, "datetime", Later)
    second = next_of(lanes, FIRST, token)
    for path in (FIRST, second):
        assert lanes.is_fast(path, token)
    # Who was there is changed, and the page is known: so it is one of those that outlive writes.
    people.admin.patch(f"/users/{users(lanes, token)[-1]['id']}", {"name": "New"})
    assert is_known(lanes, second, token)
    made = people.make(username="between")
    for path in (FIRST, second):
        require_right(lanes, path, token)
    assert made["id"].encode() in lanes.fast(second, token).body


@pytest.mark.parametrize(
    "path",
    ["/api/users?limit=3&sort=-created_at", "/api/users?limit=3&sort=name", "/api/users?limit=3&q=u",
     "/api/users?limit=3&active=true", "/api/users", "/api/users?limit=9", "/api/users?deleted=true"],
)  # fmt: skip
def test_any_other_page_is_old_after_any_write(lanes: Lanes, people: SecuredApp, token: str, path: str) -> None:
    assert lanes.is_fast(path, token)
    people.make(username="u-new")
    assert not is_known(lanes, path, token)
    if path.endswith("=9"):
        # Now somebody comes after it.
        return
    people.admin.patch(f"/users/{users(lanes, token)[-1]['id']}", {"name": "New"})
    assert not is_known(lanes, path, token)


def test_a_page_of_who_is_new_is_old_after_any_write(lanes: Lanes, people: SecuredApp, token: str) -> None:
    """Somebody who was made before may be seen only after them: the one statement took longer than the other."""
    for number in range(6):
        people.make(username=f"new-{number}")
    path = FIRST
    for _ in range(3):
        path = next_of(lanes, path, token)
    assert b"new-" in lanes.fast(path, token).body
    assert lanes.is_fast(path, token)
    people.make(username="last")
    assert not is_known(lanes, path, token)


def test_a_write_while_a_page_is_read_leaves_it_unknown(
    lanes: Lanes, people: SecuredApp, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, page = users(lanes, token), listing.page

    def meanwhile(query: Any) -> Any:
        found = page(query)
        monkeypatch.setattr(listing, "page", page)
        people.admin.patch(f"/users/{there[1]['id']}", {"name": "New"})
        return found

    monkeypatch.setattr(listing, "page", meanwhile)
    assert b'"New"' not in lanes.fast(FIRST, token).body
    assert b'"New"' in lanes.fast(FIRST, token).body


def test_the_garbage_collector_does_not_look_at_pages_that_are_kept(lanes: Lanes, token: str) -> None:
    for path in ("/api/users?q=u1", "/api/users?sort=name&limit=2", "/api/users?role=member"):
        assert lanes.is_fast(path, token)
    kept = [
        entry for key, entry in lanes.app.extensions["fullstack"].answers.memory._entries.items() if "u1" in str(key)
    ]
    for _ in range(6):
        # From the inside out, a layer each time.
        gc.collect()
    pages = [entry for entry in kept if isinstance(entry[0], tuple)]
    assert pages
    assert not any(gc.is_tracked(entry) for entry in pages)


def next_of(lanes: Lanes, path: str, token: str) -> str:
    """The path of the page after this one."""
    (link,) = [value for name, value in lanes.slow(path, token).headers if name == "Link" and 'rel="next"' in value]
    return link[1:].partition(">")[0].removeprefix("http://localhost")
