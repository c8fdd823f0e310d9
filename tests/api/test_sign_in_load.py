"""Sign-ins to a real server behind a proxy: many at once, and forged addresses."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

import psutil
import pytest

from tests.support.secured_app import PASSWORD, SAME_ORIGIN
from tests.support.service_process import Service

pytestmark = pytest.mark.usefixtures("without_refusal_delay")


@pytest.fixture
def behind_proxy(serve: Callable[..., Service], new_database: str, empty: Callable[[], None]) -> Service:  # noqa: ARG001
    """A secured service that trusts the test as its proxy."""
    admin = {"ADMIN_EMAIL": "ada@example.org", "ADMIN_PASSWORD": PASSWORD}
    return serve(DATABASE_URL=new_database, TRUSTED_PROXIES="127.0.0.1", WORKERS="1", LOG_LEVEL="warning", **admin)


def request(service: Service, body: bytes, *headers: str) -> socket.socket:
    """A connection with a sign-in request whose response is not read yet."""
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=60)
    lines = [
        "POST /api/session HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    ]
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return connection


def answer_of(connection: socket.socket) -> bytes:
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_client_cannot_forge_its_address_when_the_proxy_adds_a_header_line(behind_proxy: Service) -> None:
    """Some proxies add to the client's X-Forwarded-For, others add a second one."""
    body = b'{"email": "ada@example.org", "password": "%s"}' % PASSWORD.encode()
    for headers in (
        ["X-Forwarded-For: 6.6.6.6, 203.0.113.9"],
        ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 203.0.113.9"],
        ["X-Forwarded-For: 203.0.113.9", "X_Forwarded_For: 6.6.6.6"],
    ):
        response = answer_of(request(behind_proxy, body, *headers))
        assert response.startswith(b"HTTP/1.1 201")
        assert b'"address":"203.0.113.9"' in response, headers


@pytest.mark.timeout(180)
def test_a_thousand_concurrent_sign_ins_leave_the_api_responsive(behind_proxy: Service) -> None:
    signed_in = behind_proxy.post("/api/session", {"email": "ada@example.org", "password": PASSWORD})
    cookie = signed_in.headers["Set-Cookie"].partition(";")[0]
    origin = {"Origin": SAME_ORIGIN["Origin"] + f":{behind_proxy.port}", "Host": f"localhost:{behind_proxy.port}"}
    body = {"name": "a program", "role": "admin"}
    token = behind_proxy.post("/api/tokens", body, headers={"Cookie": cookie, **origin}).json["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    process = psutil.Process(behind_proxy.process.pid)

    def memory() -> int:
        return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])

    before, highest, seen, stop = memory(), [0], Counter[int](), threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            # An overloaded worker may refuse a request that it serves a second later.
            seen[behind_proxy.send_until_admitted("GET", "/api/me", None, bearer).status] += 1
            highest[0] = max(highest[0], memory())
            time.sleep(0.02)

    beside = threading.Thread(target=go_on)
    beside.start()
    guess = b'{"email": "ada@example.org", "password": "a wrong guess"}'
    requests = [request(behind_proxy, guess, f"X-Forwarded-For: 10.0.{n // 250}.{n % 250}") for n in range(1000)]
    statuses = Counter(int(answer_of(connection)[9:12]) for connection in requests)
    stop.set()
    beside.join()
    print(f"{dict(statuses)}, {(highest[0] - before) >> 20} MiB more")  # noqa: T201 - shown by -rP
    assert sum(statuses.values()) == 1000
    assert statuses.keys() <= {401, 429, 503}
    assert statuses[401] >= 1
    assert seen.keys() == {200}
    assert highest[0] - before < 200 * 2**20
    assert behind_proxy.get("/api/me", headers=bearer).status == 200
    assert [event for event in behind_proxy.events if event["level"] == "error"] == []
