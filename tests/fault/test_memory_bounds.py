"""Fault 13: memory for answers is bounded by what it really takes: keys, headers and overhead count."""

import contextlib
import http.client
import multiprocessing
import tracemalloc
import uuid
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from flask import Flask

from app.infra.memory import Memory
from app.infra.shared import slot_of
from app.services.authority import Actor
from app.services.sessions import Session
from tests.support.leases import leased, lend
from tests.support.secured_app import SecuredApp
from tests.support.service_process import Service, ask

MIB = 2**20
SLOT = slot_of("k")


def _page(number: int) -> tuple[Any, Any]:
    """An empty page with a long query string, as the console or a program asks for it."""
    query = f"attributes.k={number}&" + "x" * 60_000
    headers = (("Content-Type", "application/json"), ("Link", f"</api/users?{query}>"))
    return ("localhost", "http", "/api/users", query), (headers, b"[]", "/api/users")


def _short(number: int) -> tuple[Any, Any]:
    return f"k{number}", b"v"


def _session(number: int) -> tuple[Any, Any]:
    made = Session(
        f"{number:064}", uuid.uuid4(), "member", 0, float(number), float(number), f"192.0.2.{number}", "x" * 99
    )
    return f"session:{made.id}", made


def _stamps(number: int) -> tuple[Any, Any]:
    return ("page", number), ({number * 1000 + at: 2**63 + at for at in range(50)}, b"[]")


def _actor(number: int) -> tuple[Any, Any]:
    return f"token:{number:064}", (Actor("token", uuid.uuid4(), "admin", str(uuid.uuid4())), str(uuid.uuid4()))


def _fill(kind: Callable[[int], tuple[Any, Any]], path: Path) -> tuple[int, int, int]:
    """Keep answers until some are dropped. Returns how many there were, how many are kept, and the bytes allocated."""
    with leased(path) as state:
        memory, number = Memory(state, 4 * MIB, 60), 0
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        while number < 20_000 and len(memory) >= number // 2:
            key, value = kind(number)
            memory.keep(key, value, SLOT, memory.stamp(SLOT))
            number += 1
        del key, value
        taken = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        return number, len(memory), taken


@pytest.mark.parametrize("kind", [_page, _short, _session, _stamps, _actor])
def test_what_is_kept_never_takes_more_than_it_may(tmp_path: Path, kind: Callable[[int], tuple[Any, Any]]) -> None:
    """Fault 13: by what Python has allocated, in a process of its own, where no thread of another test allocates."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        number, kept, taken = pool.submit(_fill, kind, tmp_path / "state").result(100)
    assert kept < number, "it was never full, and this test shows nothing"
    assert 0.4 * 4 * MIB < taken <= 1.05 * 4 * MIB, f"{kept} entries: {taken / MIB:.2f} MiB of 4"


def test_answers_to_long_query_strings_are_not_kept(
    app: Flask,
    empty: Callable[[], None],  # noqa: ARG001 - it is called for its effect
) -> None:
    """Fault 13: over 1 kB."""
    house = SecuredApp(app)
    lend(app)
    who, memory = house.by_token(house.admin.user), app.extensions["fullstack"].answers.memory
    for one in (who, house.admin):
        one.get("/users")
    kept = len(memory)
    for length in (1100, 10_000):
        assert who.get(f"/users?attributes.k={'x' * length}").json == []
        assert house.admin.get(f"/users?attributes.k={'y' * length}", headers={"Prefer": "count=exact"}).json == []
    assert len(memory) == kept
    assert who.get(f"/users?attributes.k={'x' * 800}").json == []
    assert len(memory) > kept, "shorter ones are"


def test_a_worker_stays_within_its_memory_whatever_is_asked(serve: Callable[..., Service]) -> None:
    """Fault 13: by what the process really takes."""
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
