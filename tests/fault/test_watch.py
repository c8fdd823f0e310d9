"""What somebody changes by SQL is heard at once; nothing is kept for long that nobody would be told of."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from flask import Flask

from app.infra.shared import EVERY_WRITE, SharedState
from app.infra.watch import CHANNEL, Watch
from embedded import Stack
from tests.support.api_client import ApiClient
from tests.support.leases import leased, stamps
from tests.support.service_process import Service
from tests.support.waiting import BOUND_S, wait_until

TTL_S = 60


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SharedState]:
    with leased(tmp_path / "watched") as made:
        yield made


@pytest.fixture
def watched(servers: Stack, state: SharedState, app: Flask) -> Iterator[SharedState]:  # noqa: ARG001 - it migrates
    """The state of a host that hears what is changed by SQL."""
    with contextlib.closing(Watch(lambda: servers.postgres.url, state, TTL_S)) as watch:
        watch.start()
        wait_until(lambda: state.watched[0])
        state.settle(state.doubts)
        yield state


@pytest.fixture
def notices(servers: Stack) -> Iterator[Callable[[], list[str]]]:
    """What was said on the channel until now."""
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        connection.execute(f"LISTEN {CHANNEL}")
        yield lambda: [notice.payload for notice in connection.notifies(timeout=0.3)]


def _tidied(database: psycopg.Connection[Any]) -> int:
    """How many pages of words had to be put into their index."""
    return int(database.execute("SELECT gin_clean_pending_list('users_by_words')").fetchone()[0])  # type: ignore[index]


def test_words_wait_until_somebody_tidies(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    _tidied(database)
    api.make(username="bob")
    assert _tidied(database) == 1


def test_words_that_wait_go_into_their_index(
    watched: SharedState, api: ApiClient, database: psycopg.Connection[Any]
) -> None:
    api.make(username="bob")
    # The courier of this host hears of it.
    watched.touch([EVERY_WRITE])
    for _ in range(2):
        seen = watched.watched[0]
        wait_until(lambda seen=seen: watched.watched[0] != seen)  # type: ignore[misc]
    assert _tidied(database) == 0
    assert [user["username"] for user in api.get("/users?q=bob").json] == ["bob"]


def test_a_watch_that_may_not_tidy_still_hears(
    state: SharedState,
    servers: Stack,
    app: Flask,  # noqa: ARG001 - it migrates
    database: psycopg.Connection[Any],
) -> None:
    database.execute("CREATE ROLE guest LOGIN PASSWORD 'guest' IN ROLE pg_read_all_data")
    try:
        url = urlsplit(servers.postgres.url)
        guest = url._replace(netloc=f"guest:guest@{url.netloc.rpartition('@')[2]}").geturl()
        with contextlib.closing(Watch(lambda: guest, state, TTL_S)) as watch:
            watch.start()
            wait_until(lambda: state.watched[0])
            first, epoch = state.watched[0], state.epoch[0]
            wait_until(lambda: state.watched[0] != first)
            assert state.epoch[0] == epoch, "it did not connect anew"
            database.execute(SQL["all at once"])
            wait_until(lambda: state.epoch[0] != epoch)
    finally:
        database.execute("DROP ROLE guest")


SQL = {
    "a change": "UPDATE users SET name = 'New' WHERE username = 'bob'",
    "a new one": "INSERT INTO users (username, username_key, name, name_key, words) VALUES ('a', 'a', '', '', '')",
    "an end": "DELETE FROM users",
    "all at once": "TRUNCATE users CASCADE",
    "a token": "DELETE FROM tokens",
}


@pytest.mark.parametrize("kind", SQL)
def test_what_is_changed_by_sql_is_heard(
    watched: SharedState, api: ApiClient, database: psycopg.Connection[Any], kind: str
) -> None:
    api.make(username="bob")
    # The test's own clearing of tables was heard as well.
    time.sleep(0.2)
    before = watched.epoch[0]
    watched.settle(watched.doubts)
    database.execute(SQL[kind].encode())
    began = time.monotonic()
    wait_until(lambda: watched.epoch[0] != before, seconds=BOUND_S)
    assert not watched.trusted, "pages in Redis are old, too"
    print(f"heard after {1000 * (time.monotonic() - began):.0f} ms")  # noqa: T201 - shown by -rP


def test_what_the_service_writes_is_not_said_twice(api: ApiClient, notices: Callable[[], list[str]]) -> None:
    notices()
    user = api.make(username="bob")
    api.post("/users", {"username": "ada"}, headers={"Idempotency-Key": "k"})
    api.patch(f"/users/{user['id']}", {"name": "Bob"})
    api.patch(f"/users/{user['id']}", {"role": "viewer"})
    api.post("/tokens", {"name": "t", "user_id": user["id"], "role": "member"})
    api.delete(f"/users/{user['id']}")
    api.delete(f"/users/{user['id']}?purge=true")
    assert notices() == []


def test_what_redis_can_not_be_told_is_told_by_postgresql(
    make_app: Callable[..., Flask],
    empty: Callable[[], None],  # noqa: ARG001
    watched: SharedState,
    notices: Callable[[], list[str]],
    tmp_path: Path,
) -> None:
    """To all other hosts; the one that wrote knows already."""
    alone = make_app(redis_url="redis://127.0.0.1:1", state_file=str(tmp_path / "alone"))
    own = alone.extensions["fullstack"].state
    time.sleep(0.2)
    notices()
    before = watched.epoch[0]
    user = ApiClient(alone).make()
    assert notices() == [str(own.host)]
    wait_until(lambda: watched.epoch[0] != before, seconds=BOUND_S)
    # A host hears itself and keeps what it has.
    beside = make_app(redis_url="redis://127.0.0.1:1", state_file=str(tmp_path / "watched"))
    before = stamps(watched)
    ApiClient(beside).patch(f"/users/{user['id']}", {"name": "New"})
    assert notices() == [str(watched.host)]
    assert sum(now != then for now, then in zip(stamps(watched), before, strict=True)) == 2, "that user, and pages"


def test_after_a_loss_nothing_is_trusted_and_when_it_is_back_all_is_old(
    watched: SharedState, database: psycopg.Connection[Any]
) -> None:
    before, until = watched.epoch[0], watched.watched[0]
    assert until > time.monotonic_ns() + (TTL_S - 5) * 10**9
    ended = database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'LISTEN|SELECT 1$|gin_clean_pending_list'"
        " AND pid <> pg_backend_pid() AND application_name = 'fullstack-app'"
    ).fetchall()
    assert ended
    wait_until(lambda: watched.epoch[0] != before)
    wait_until(lambda: watched.watched[0] > until)


def test_a_host_that_stops_is_not_watched_any_more(servers: Stack, state: SharedState) -> None:
    watch = Watch(lambda: servers.postgres.url, state, TTL_S)
    watch.start()
    wait_until(lambda: state.watched[0])
    watch.close()
    assert state.watched[0] == 0


def test_an_edit_by_sql_is_shown_at_once_by_a_running_service(
    serve: Callable[..., Service],
    empty: Callable[[], None],  # noqa: ARG001
    database: psycopg.Connection[Any],
) -> None:
    """As in Adminer: no minute has to pass."""
    service = serve(WORKERS="2")
    user = service.post("/api/users", {"username": "bob", "name": "Old"}).json
    paths = [f"/api/users/{user['id']}", "/api/users", "/api/users?q=bob"]

    def names() -> set[str]:
        shown = [service.get(path).json for path in paths for _ in range(4)]
        return {(one[0] if isinstance(one, list) else one)["name"] for one in shown}

    assert names() == {"Old"}
    database.execute("UPDATE users SET name = 'New', name_key = 'new'")
    began = time.monotonic()
    wait_until(lambda: names() == {"New"}, seconds=2)
    print(f"shown after {1000 * (time.monotonic() - began):.0f} ms")  # noqa: T201 - shown by -rP
