"""Private servers end with the process that started them."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from witness import WAYS, Script, processes_of, wait_until_none_is_left

from embedded import FAST, Postgres, Redis, stack

START = """
import sys, threading, time
from pathlib import Path
from embedded import FAST, Postgres, Redis, Stack, processes
folder, runs_as = Path(sys.argv[1]), sys.argv[2] or None
both = Stack(
    Postgres(folder / "postgres", settings=FAST, runs_as=runs_as), Redis(folder / "redis")
)
"""
WAIT = """
print("ready", both.postgres.url, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("runs_as", WAYS)
def test_a_killed_parent_leaves_no_process(tmp_path: Path, script: Callable[..., Script], runs_as: str | None) -> None:
    parent = script(START + "both.start()" + WAIT, str(tmp_path), runs_as or "")
    url = parent.line_with("ready").split()[1]
    assert len(processes_of(tmp_path)) > 2
    with psycopg.connect(url):  # a client that stays must not keep it alive
        parent.process.kill()
        wait_until_none_is_left(tmp_path)
    with stack(tmp_path) as again, psycopg.connect(again.postgres.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_frozen_servers_of_a_killed_parent_end_too(tmp_path: Path, script: Callable[..., Script]) -> None:
    freeze = "both.start(); both.postgres.pause(); both.redis.pause()"
    parent = script(START + freeze + WAIT, str(tmp_path), "")
    parent.line_with("ready")
    parent.process.kill()
    wait_until_none_is_left(tmp_path)


def test_servers_outlive_the_thread_that_started_them(tmp_path: Path, script: Callable[..., Script]) -> None:
    thread = "t = threading.Thread(target=both.start); t.start(); t.join(); time.sleep(0.3)"
    parent = script(START + thread + WAIT, str(tmp_path), "")
    url = parent.line_with("ready").split()[1]
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_parent_that_forgets_to_stop_leaves_no_process(tmp_path: Path, script: Callable[..., Script]) -> None:
    parent = script(START + "both.start()", str(tmp_path), "")
    assert parent.rest() == ""
    wait_until_none_is_left(tmp_path)


def test_leftover_servers_are_replaced_and_their_data_is_kept(tmp_path: Path, script: Callable[..., Script]) -> None:
    # As where the kernel has no death signal: 0 asks for none.
    unleash = """
from functools import partial
spawn = processes.spawn
processes.spawn = lambda command, **rest: spawn(command, **{**rest, "death_signal": 0})
both.start()
"""
    parent = script(START + unleash + WAIT, str(tmp_path), "")
    url = parent.line_with("ready").split()[1]
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
    parent.process.kill()
    parent.process.wait()
    left = processes_of(tmp_path)
    assert len(left) > 2
    os.kill(left[0].pid, signal.SIGSTOP)  # not even frozen ones may be in the way
    postgres = Postgres(tmp_path / "postgres", settings=FAST)
    with postgres, Redis(tmp_path / "redis"):
        with psycopg.connect(postgres.url) as connection:
            assert connection.execute("SELECT number FROM kept").fetchone() == (1,)
        assert not set(left) & set(processes_of(tmp_path))
    wait_until_none_is_left(tmp_path)
