"""Whoever is looked up is kept for all, and others with them: those too are never older than the last write."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from app.infra.postgres import Statement
from app.services import hot_users
from app.services.keys import user_key
from app.services.statements import USERS, USERS_AND_NEXT
from tests.support.api_client import ApiClient
from tests.support.leases import lend


class Host:
    """An application, what its table knows, and which statements looked somebody up."""

    def __init__(self, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        self.door, self.held = ApiClient(app), app.extensions["fullstack"]
        self.reader = self.held.part(hot_users._Reader)
        self.asked: list[Statement] = []
        ask = hot_users.asked

        def noting(statement: Statement, *values: object) -> Any:
            self.asked.append(statement)
            return ask(statement, *values)

        monkeypatch.setattr(hot_users, "asked", noting)

    def knows(self, user: dict[str, Any]) -> bool:
        return self.held.answers.table.recall(user_key(user["id"])) is not None

    def get(self, user: dict[str, Any]) -> Any:
        return self.door.get(f"/users/{user['id']}").json


@pytest.fixture
def host(
    make_app: Callable[..., Flask],
    empty: Callable[[], None],  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Host]:
    """One that reads on from the first look-up."""
    app = make_app()
    lend(app)
    monkeypatch.setattr(hot_users, "_FIRST_REST", 0)
    with app.app_context():
        yield Host(app, monkeypatch)


def test_who_comes_after_somebody_who_was_asked_for_is_read_with_the_next_look_up(host: Host) -> None:
    users = [host.door.make() for _ in range(hot_users._AHEAD + 10)]
    host.asked.clear()
    host.get(users[0])
    assert [host.knows(user) for user in users[:2]] == [True, False]
    host.get(users[-1])
    assert host.asked == [USERS_AND_NEXT] * 2
    assert all(host.knows(user) for user in users[: hot_users._AHEAD + 1])
    assert host.get(users[1]) == users[1]
    assert len(host.asked) == 2, "it was known"


def test_a_service_that_hardly_anybody_asks_reads_nobody_else(
    make_app: Callable[..., Flask],
    empty: Callable[[], None],  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = make_app()
    lend(app)
    with app.app_context():
        host = Host(app, monkeypatch)
        users = [host.door.make() for _ in range(10)]
        host.asked.clear()
        for user in users[:5]:
            host.get(user)
    assert host.asked == [USERS] * 5
    assert not any(host.knows(user) for user in users[5:])


def test_where_nobody_new_is_met_it_rests_longer_each_time(host: Host) -> None:
    host.get(host.door.make())
    for _ in range(40):
        # Nobody, so never known.
        host.door.get("/users/01890000-0000-7000-8000-000000000000")
    reading_on = [number for number, statement in enumerate(host.asked) if statement == USERS_AND_NEXT]
    pauses = [after - before for before, after in itertools.pairwise(reading_on)]
    assert len(reading_on) < 10
    assert pauses == sorted(pauses)
    assert pauses[-1] > 8


def test_without_room_nobody_else_is_read(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    users = [host.door.make() for _ in range(5)]
    monkeypatch.setattr(type(host.held.answers.table), "has_room", property(lambda _: False))
    for user in users[:2]:
        host.get(user)
    assert [host.knows(user) for user in users] == [True, True, False, False, False]


def test_the_trash_is_not_read(host: Host) -> None:
    users = [host.door.make() for _ in range(5)]
    host.door.delete(f"/users/{users[2]['id']}")
    host.get(users[0])
    host.get(users[4])
    assert [host.knows(user) for user in users] == [True, True, False, True, True]


@pytest.mark.parametrize("change", ["PATCH", "DELETE"])
def test_a_write_while_others_are_read_is_never_hidden_by_what_was_read(
    host: Host, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The look-up selected before the write and keeps what it found after it."""
    users = [host.door.make(name="old") for _ in range(5)]
    # Ids to be read come first.
    host.get(users[0])
    read, selected, go_on = hot_users._read, threading.Event(), threading.Event()

    def slowly(*values: Any) -> Any:
        found = read(*values)
        if threading.current_thread().name.startswith("slow"):
            selected.set()
            assert go_on.wait(5)
        return found

    monkeypatch.setattr(hot_users, "_read", slowly)
    with ThreadPoolExecutor(1, thread_name_prefix="slow") as pool:
        slow = pool.submit(host.get, users[4])
        assert selected.wait(5)
        path = f"/users/{users[1]['id']}"
        answer = host.door.patch(path, {"name": "new"}) if change == "PATCH" else host.door.delete(path)
        assert answer.status_code in (200, 204)
        go_on.set()
        assert slow.result() == users[4]
    assert host.knows(users[2]), "others were read, or this test shows nothing"
    assert not host.knows(users[1])
    shown = host.door.get(path)
    assert (shown.status_code, shown.json.get("name")) == ((200, "new") if change == "PATCH" else (404, None))


def test_a_user_of_any_size_is_answered(host: Host) -> None:
    large = host.door.make(attributes={"text": "x" * 16_000})
    small = host.door.make()
    for _ in range(2):
        assert host.get(large) == large
        assert host.get(small) == small
