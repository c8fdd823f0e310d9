"""Stop of `python -m app`: draining without cut requests, and no process that stays."""

import contextlib
import http.client
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable

import psutil
import psycopg
import pytest

from embedded import Stack
from embedded.ports import free_port
from tests.support.service_process import Service


def test_after_sigterm_the_service_reports_not_ready_and_ends_in_time(serve: Callable[..., Service]) -> None:
    service = serve(DRAIN_DELAY_S="1")
    service.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    service.wait_for(lambda: service.get("/api/health/ready").status == 503, seconds=0.8)
    assert service.get("/api/health/live").status == 200
    assert service.get("/api/users").status == 200
    assert service.process.wait(10) == 0
    assert 0.9 < time.monotonic() - began < 10
    assert service.events[-1]["event"] == "stopped"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_service_stops_with_exit_code_0(serve: Callable[..., Service], number: signal.Signals) -> None:
    service = serve(DRAIN_DELAY_S="0")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=5)) as kept_alive:
        kept_alive.request("GET", "/api/health/live")
        kept_alive.getresponse().read()
        service.process.send_signal(number)
        assert service.process.wait(10) == 0


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_a_service_stopped_before_it_serves_kills_no_other_process(
    serve: Callable[..., Service], delay_s: float
) -> None:
    """The signal arrives while a worker is forked, gets ready, or begins to listen."""
    service = serve(ready=False, DRAIN_DELAY_S="0", WORKERS="4")
    launcher = psutil.Process(service.process.pid)
    service.wait_for(launcher.children)
    time.sleep(delay_s)
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(30) == 0
    assert service.events[-1]["event"] == "stopped"
    assert "process_killed" not in service.text


def test_a_killed_launcher_leaves_no_process_that_waits_for_the_database(serve: Callable[..., Service]) -> None:
    """Otherwise it would keep the port from the next start."""
    url = f"postgresql://ada@127.0.0.1:{free_port()}/usersdb"
    service = serve(ready=False, DATABASE_URL=url, DATABASE_WAIT_S="60")
    service.wait_for(lambda: "waiting_for_database" in service.text)
    children = psutil.Process(service.process.pid).children(recursive=True)
    service.process.kill()
    service.process.wait(10)
    _, alive = psutil.wait_procs(children, timeout=5)
    assert children
    assert not alive


def test_under_load_no_request_is_cut(serve: Callable[..., Service]) -> None:
    """Clients act like a load balancer: each request on a new connection, until the service is not ready."""
    service = serve(DRAIN_DELAY_S="1", WORKERS="2")
    turned_away, faults, served = threading.Event(), [], [0]

    def hammer() -> None:
        while not turned_away.is_set():
            try:
                response = service.get("/api/users", timeout=10)
                served[0] += 1
                if response.status != 200:
                    faults.append(response)
            except (OSError, http.client.HTTPException) as error:
                faults.append(error)

    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for thread in threads:
        thread.start()
    service.wait_for(lambda: served[0] > 50, seconds=30)
    service.process.send_signal(signal.SIGTERM)
    service.wait_for(lambda: service.get("/api/health/ready").status == 503, seconds=0.9)
    turned_away.set()
    for thread in threads:
        thread.join()
    assert service.process.wait(12) == 0
    assert faults == []


def test_a_request_that_waits_for_a_lock_is_finished_before_the_end(
    servers: Stack, serve: Callable[..., Service]
) -> None:
    service = serve(DRAIN_DELAY_S="0.5")
    user_id = service.post("/api/users", {"username": f"u-{uuid.uuid4()}"}).json["id"]
    responses = []
    with psycopg.connect(servers.postgres.url) as holder:
        holder.execute("SELECT * FROM users WHERE id = %s FOR UPDATE", (user_id,))
        thread = threading.Thread(
            target=lambda: responses.append(service("PATCH", f"/api/users/{user_id}", {"name": "x"}))
        )
        thread.start()
        time.sleep(0.3)
        service.process.send_signal(signal.SIGTERM)
        # Past the drain delay, and less than a change waits for a row lock.
        time.sleep(0.8)
    thread.join()
    assert [response.status for response in responses] == [200]
    assert service.process.wait(10) == 0


def test_an_upload_that_began_before_the_stop_is_finished(serve: Callable[..., Service]) -> None:
    service = serve(DRAIN_DELAY_S="0.5")
    body = f'{{"username": "u-{uuid.uuid4()}"}}'.encode()
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        head = "POST /api/users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body[:5])
        time.sleep(0.2)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(1.5)
        client.sendall(body[5:])
        assert client.recv(65536).startswith(b"HTTP/1.1 201")
    assert service.process.wait(10) == 0
