"""SIGTERM: the service says that it drains, and cuts no request."""

import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.stack.compose import Stack, wait_until

_CLIENTS = 8


def test_a_stop_under_load_cuts_no_request_and_ends_within_ten_seconds(stack: Stack) -> None:
    """Clients behave as behind a balancer: they send while ready says 200."""
    # Past the proxy of the published port, which takes a connection before it knows whether web does.
    address = next(iter(stack.inspect("web")["NetworkSettings"]["Networks"].values()))["IPAddress"]
    turned_away = threading.Event()
    cut: list[object] = []
    statuses: list[int] = []

    def watch() -> None:
        while not turned_away.is_set():
            if ask(address, "GET", "/api/health/ready") != 200:
                turned_away.set()
            time.sleep(0.05)

    def send(client: int) -> None:
        number = 0
        while not turned_away.is_set():
            number += 1
            try:
                statuses.append(ask(address, "POST", "/api/users", {"username": f"stop-{client}-{number}"}))
                statuses.append(ask(address, "GET", "/api/users?limit=200"))
            except (OSError, http.client.HTTPException) as error:
                cut.append(error)

    with ThreadPoolExecutor(_CLIENTS + 2) as pool:
        senders = [pool.submit(send, client) for client in range(_CLIENTS)]
        watcher = pool.submit(watch)
        slow = pool.submit(slow_upload, address, turned_away)
        try:
            wait_until(lambda: len(statuses) > 100, "requests are answered")
            began = time.monotonic()
            stack("stop", "web")
            seconds = time.monotonic() - began
        finally:
            stopped_by_readiness = turned_away.is_set()
            turned_away.set()
        for task in (*senders, watcher):
            task.result(30)
        uploaded = slow.result(30)
    assert stopped_by_readiness, "ready never said that it drains"
    assert cut == []
    assert set(statuses) <= {200, 201}
    assert uploaded == 201
    assert seconds < 10
    assert stack.inspect("web")["State"]["ExitCode"] == 0
    assert '"event":"draining"' in stack.log("web")


def slow_upload(address: str, draining: threading.Event) -> int:
    """Begin a request, and end its body only while the service is draining. Returns the status."""
    body = json.dumps({"username": "slow-upload"}).encode()
    head = (
        "POST /api/users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((address, 5000), timeout=30) as connection:
        connection.sendall(head.encode() + body[:5])
        draining.wait(60)
        time.sleep(2)
        connection.sendall(body[5:])
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    return int(answer.split()[1])


def ask(address: str, method: str, path: str, body: object = None) -> int:
    """One request on a connection of its own, read to its end. Returns the status."""
    connection = http.client.HTTPConnection(address, 5000, timeout=30)
    headers = {"Host": "localhost", "Content-Type": "application/json"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()
