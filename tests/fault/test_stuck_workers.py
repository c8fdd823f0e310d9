"""No lock is held across a fork, and a stuck worker is replaced."""

import contextlib
import http.client
import secrets
import signal
import threading
import time
from collections.abc import Callable

import psutil
import psycopg
import pytest

from embedded import Stack
from tests.support.app_processes import output_of
from tests.support.service_process import Service

# Setup mode, whatever ran before.
pytestmark = pytest.mark.usefixtures("empty")


def test_a_process_that_is_forked_while_a_thread_logs_can_log() -> None:
    """A worker needs the lock of the log stream."""
    program = """
import threading, time, structlog
log = structlog.get_logger()
threading.Thread(target=lambda: [log.error("launcher") for _ in range(1000000)], daemon=True).start()
stuck = 0
for _ in range(100):
    child = os.fork()
    if child == 0:
        log.error("worker")
        os._exit(0)
    until = time.monotonic() + 5
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > until:
            os.kill(child, 9); os.waitpid(child, 0); stuck += 1
            break
        time.sleep(0.001)
    if stuck:
        break
os.write(2, f"stuck: {stuck}\\n".encode())
os._exit(0)
"""
    # The other thread may log after it.
    assert "stuck: 0" in output_of(program)


def _workers(service: Service) -> list[psutil.Process]:
    """The child processes of the launcher that listen on its port."""
    found = []
    for child in psutil.Process(service.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(one.laddr.port == service.port for one in child.net_connections("tcp") if one.status == "LISTEN"):
                found.append(child)
    return found


@pytest.mark.parametrize("which", ["a worker", "the change poller"])
def test_a_process_that_hangs_is_replaced(serve: Callable[..., Service], which: str) -> None:
    """For any place where it hangs; also if it is the leader that executes writes."""
    service = serve(WORKERS="2")
    children, workers = psutil.Process(service.process.pid).children(), _workers(service)
    assert len(workers) == 2
    # Those who are asked for something prove more often that they work.
    service.wait_for(lambda: service.get("/api/users").status == 200)
    victim = workers[0] if which == "a worker" else next(one for one in children if one not in workers)
    victim.send_signal(signal.SIGSTOP)
    until = time.monotonic() + 60
    while victim.is_running():
        assert time.monotonic() < until, service.text
        with contextlib.suppress(OSError, http.client.HTTPException):
            service.post("/api/users", {"username": secrets.token_hex(8)}, timeout=0.5)
        time.sleep(0.05)
    assert [event["process"] for event in service.events if event["event"] == "process_stuck"] == [victim.pid]
    service.wait_for(lambda: len(psutil.Process(service.process.pid).children()) == len(children))
    for _ in range(20):
        assert service.post("/api/users", {"username": secrets.token_hex(8)}, timeout=5).status == 201
    assert service.end() == 0


class _Writer:
    """Creates up to 100 users a second, each on a connection of its own, and counts the answers."""

    def __init__(self, service: Service) -> None:
        self.faults: list[str] = []
        self.answered = 0
        self._service = service

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(0.01):
            try:
                response = self._service.post("/api/users", {"username": secrets.token_hex(8)}, timeout=20)
            except TimeoutError:
                self.faults.append("no answer")
            except (OSError, http.client.HTTPException):
                # Its worker was killed, and with it the connection.
                continue
            else:
                self.answered += 1
                if response.status != 201:
                    self.faults.append(f"{response.status} {response.body!r}")


def _change_by_sql(database_url: str, stop: threading.Event) -> None:
    """Like another host with many writes: each statement changes more users than the poller reads one by one."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO users (username, username_key, name, name_key, search_vector)"
            " SELECT 'sql' || n, 'sql' || n, '', '', '' FROM generate_series(1, 1200) AS n ON CONFLICT DO NOTHING"
        )
        while not stop.wait(1 / 20):
            connection.execute("UPDATE users SET attributes = '{}' WHERE username LIKE 'sql%'")


def test_a_paused_service_kills_no_worker_when_resumed(serve: Callable[..., Service]) -> None:
    """As with `docker pause`: no worker can send a heartbeat meanwhile."""
    service = serve(WORKERS="2")
    service.wait_for(lambda: service.get("/api/users").status == 200)
    launcher = psutil.Process(service.process.pid)
    children = launcher.children()
    for number in (signal.SIGSTOP, signal.SIGCONT):
        # The launcher is the first to go on.
        for process in [launcher, *children]:
            process.send_signal(number)
        time.sleep(16 if number == signal.SIGSTOP else 3)
    assert service.get("/api/users").status == 200
    assert launcher.children() == children
    assert "process_stuck" not in service.text


def test_every_write_is_answered_while_another_host_writes_and_workers_are_killed(
    serve: Callable[..., Service], servers: Stack
) -> None:
    """Everything is invalidated twenty times a second, workers are killed thirty times."""
    service, stop = serve(WORKERS="2"), threading.Event()
    writers = [_Writer(service) for _ in range(4)]
    threads = [threading.Thread(target=writer.run, args=(stop,)) for writer in writers]
    threads.append(threading.Thread(target=_change_by_sql, args=(servers.postgres.url, stop)))
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            time.sleep(0.5)
            for worker in _workers(service)[:1]:
                worker.kill()
        time.sleep(3)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert [fault for writer in writers for fault in writer.faults] == []
    assert sum(writer.answered for writer in writers) > 200
    assert service.end() == 0
