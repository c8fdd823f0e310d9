"""The memory limit of cached responses includes keys, headers and overhead."""

import contextlib
import hashlib
import http.client
import multiprocessing
import tracemalloc
import uuid
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import psutil
import psycopg
import pytest
from flask import Flask

from app.auth.permissions import Actor
from app.auth.session_store import Session
from app.auth.tokens import TokenInfo
from app.cache.generations import Generations, clock_ns
from app.cache.local import LocalCache
from tests.support.leases import FOREVER_NS, grant_lease
from tests.support.secured_app import SecuredApp
from tests.support.service_process import Service, ask

MIB = 2**20
KEYS = ["users"]


def _page(number: int) -> tuple[Any, Any]:
    """An empty page with a long query string, as the console or a program asks for it."""
    query = f"attributes.k={number}&" + "x" * 60_000
    headers = (("Content-Type", "application/json"), ("Link", f"</api/users?{query}>"))
    return ("localhost", "http", "/api/users", query), (headers, b"[]", "/api/users")


def _short(number: int) -> tuple[Any, Any]:
    return f"k{number}", b"v"


def _session(number: int) -> tuple[Any, Any]:
    made = Session(
        f"{number:064}",
        uuid.uuid4(),
        "member",
        0,
        float(number),
        float(number),
        f"192.0.2.{number}",
        "x" * 99,
        idle_s=1.0,
        max_s=1.0,
    )
    return f"session:{made.id}", made


def _actor(number: int) -> tuple[Any, Any]:
    return f"token:{number:064}", (Actor("token", uuid.uuid4(), "admin", str(uuid.uuid4())), str(uuid.uuid4()))


def _known(number: int) -> tuple[Any, Any]:
    digest = hashlib.sha256(b"%d" % number).digest()
    return digest, TokenInfo(Actor("token", uuid.uuid4(), "admin", str(uuid.uuid4())), float(number))


def _room(generations: Generations, kind: Callable[[int], tuple[Any, Any]]) -> int:
    """About how many entries there is room for: the first is dropped by then."""
    count = 25
    while True:
        cache = LocalCache(generations, 4 * MIB, 60)
        for number in range(count):
            cache.put(*kind(number), KEYS, clock_ns())
        if cache.get(kind(0)[0]) is None:
            return count
        count = count * 5 // 4


def _fill(kind: Callable[[int], tuple[Any, Any]]) -> tuple[int, int]:
    """Keep answers until the first was dropped, and as many again. Returns how many, and the bytes allocated."""
    with contextlib.closing(Generations()) as generations:
        generations.prolong_lease(FOREVER_NS)
        cache, room = LocalCache(generations, 4 * MIB, 60), _room(generations, kind)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for number in range(2 * room):
            key, value = kind(number)
            cache.put(key, value, KEYS, clock_ns())
        del key, value
        taken = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        return 2 * room, taken


@pytest.mark.parametrize("kind", [_page, _short, _session, _known, _actor])
def test_cached_values_never_exceed_the_memory_limit(kind: Callable[[int], tuple[Any, Any]]) -> None:
    """By what Python has allocated, in a process of its own, where no thread of another test allocates."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        number, taken = pool.submit(_fill, kind).result(100)
    assert 0.4 * 4 * MIB < taken <= 1.05 * 4 * MIB, f"{number} entries: {taken / MIB:.2f} MiB of 4"


def test_responses_to_long_query_strings_are_not_cached(
    app: Flask,
    empty: Callable[[], None],  # noqa: ARG001 - it is called for its effect
    database: psycopg.Connection[Any],
) -> None:
    """Longer than 1 kB. An internal change by SQL shows which responses are cached."""
    secured_app = SecuredApp(app)
    grant_lease(app)
    client, names = secured_app.token_client(secured_app.admin.user), []
    database.execute("SET fullstack_app.internal = 'yes'")
    for length in (800, 1100, 10_000):
        text = "x" * length
        assert (
            secured_app.admin.patch(
                f"/users/{secured_app.admin.id}", {"name": "Old", "attributes": {"k": text}}
            ).status_code
            == 200
        )
        path = f"/users?role=admin&attributes.k={text}"
        assert [user["name"] for user in client.get(path).json] == ["Old"]
        database.execute("UPDATE users SET name = 'New'")
        names += [user["name"] for user in client.get(path).json]
    assert names == ["Old", "New", "New"]


def test_a_worker_stays_within_its_memory_limit_for_any_requests(serve: Callable[..., Service]) -> None:
    """By the resident memory of the process."""
    service = serve(WORKERS="1", CACHE_MEMORY_MIB="8")
    root = service.post("/api/users", {"username": "root", "role": "admin"}).json
    body = {"name": "test", "user_id": root["id"], "role": "admin"}
    token = service.post("/api/tokens", body).json["token"]
    service("PATCH", f"/api/users/{root['id']}", {"password": "correct horse battery"})
    service.wait_for(lambda: service.get("/api/users").status == 401)
    headers = {"Authorization": f"Bearer {token}"}

    def ask_for(first: int, many: int) -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=15)) as connection:
            for number in range(first, first + many):
                path = f"/api/users?attributes.k{number}={'x' * (900 if number % 2 else 12_000)}"
                assert ask(connection, "GET", path, headers=headers).status == 200

    def taken() -> int:
        return max(one.memory_info().rss for one in psutil.Process(service.process.pid).children())

    ask_for(0, 300)
    before = taken()
    ask_for(300, 3000)
    grown = taken() - before
    print(f"grown by {grown / MIB:.1f} MiB")  # noqa: T201 - shown by -rP
    assert grown < 16 * MIB
