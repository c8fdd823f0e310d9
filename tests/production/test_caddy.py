"""Caddy in front of web: what is published, certificates, versions of HTTP, compression, slow clients."""

import gzip
import http.client
import json
import re
import socket
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from load import create_token

from embedded import processes
from embedded.ports import free_port
from tests.attack import proxy
from tests.stack.compose import run, wait_until
from tests.stack.production_stack import ADMIN, REPLICAS, SECRETS, SITE, ProductionStack, SiteConnection
from tests.support.service_process import Response


@pytest.fixture(scope="module")
def token(production: ProductionStack) -> str:
    """The secret of an API token of an administrator."""
    return create_token(production, "caddy")


def ask(stack: ProductionStack, token: str, method: str, path: str, body: object = None, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return stack.request(method, path, body, {"Authorization": f"Bearer {token}", **named})


def test_only_ports_80_and_443_are_published(production: ProductionStack) -> None:
    published = production.published_ports()
    assert published.pop("caddy") == {"80/tcp", "443/tcp", "443/udp"}
    assert published.keys() >= {"web", "web2", "db", "cache"}
    assert not any(published.values())


def test_a_client_that_trusts_the_authority_is_served_over_https(production: ProductionStack, token: str) -> None:
    assert production.get("/api/health").json["status"] == "ok"
    assert ask(production, token, "GET", "/api/users").status == 200
    assert production.get("/api/users").status == 401


def test_another_authority_or_name_is_refused_by_the_client(production: ProductionStack) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        SiteConnection(production.https_port, ssl.create_default_context(), 15).connect()
    plain = socket.create_connection(("127.0.0.1", production.https_port), 15)
    with plain, pytest.raises(ssl.SSLError):
        production.tls().wrap_socket(plain, server_hostname="other.example.test")


def test_plain_http_is_redirected(production: ProductionStack) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", int(production.settings["HTTP_PORT"]), timeout=15)) as plain:
        plain.request("GET", "/users?q=x", headers={"Host": SITE})
        response = plain.getresponse()
        assert (response.status, response.headers["Location"]) == (308, f"https://{SITE}/users?q=x")


def test_browsers_remember_https(production: ProductionStack) -> None:
    for path in ("/", "/api/health", "/nowhere"):
        _, headers, _ = production.raw("GET", path)
        assert headers.get_all("Strict-Transport-Security") == ["max-age=31536000"], path


def test_http_2_and_http_3_are_spoken(production: ProductionStack, tmp_path: Path) -> None:
    place = f"{SITE}:{production.https_port}"
    words = ("--resolve", f"{place}:127.0.0.1", "--cacert", str(production.authority()), f"https://{place}/api/health")
    assert run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", *words).stdout == "2 200"
    assert 'h3=":443"' in production.get("/api/health").headers["Alt-Svc"]
    port = free_port()
    with over_http_3(tmp_path, port, production), closing(http.client.HTTPConnection("127.0.0.1", port)) as client:
        client.request("GET", "/api/health")
        assert client.getresponse().status == 200


@contextmanager
def over_http_3(folder: Path, port: int, stack: ProductionStack) -> Iterator[None]:
    """Run a Caddy at `port` that asks this one by HTTP/3 alone."""
    program = proxy.program()
    assert program is not None, proxy.MISSING
    (folder / "Caddyfile").write_text(
        "{\n admin off\n auto_https off\n persist_config off\n}\n"
        f"http://:{port} {{\n bind 127.0.0.1\n reverse_proxy https://127.0.0.1:{stack.https_port} {{\n"
        f"  header_up Host {SITE}\n  transport http {{\n   versions 3\n   tls_server_name {SITE}\n"
        f"   tls_trust_pool file {stack.authority()}\n  }}\n }}\n}}\n"
    )
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    command = [str(Path(program).resolve()), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    with (folder / "caddy.log").open("wb") as log:
        process = processes.spawn(command, death_signal=9, env=home, output=log)
    try:
        wait_until(lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None, "the other Caddy listens")
        yield
    finally:
        process.kill()
        process.wait()


def test_only_responses_to_requests_without_a_cookie_are_compressed(production: ProductionStack) -> None:
    _, _, plain = production.raw("GET", "/api/openapi.json")
    for accepted, encoding in (("gzip", "gzip"), ("gzip, zstd", "zstd")):
        _, headers, small = production.raw("GET", "/api/openapi.json", {"Accept-Encoding": accepted})
        assert headers["Content-Encoding"] == encoding
        assert len(small) < len(plain) / 3
        assert encoding == "zstd" or gzip.decompress(small) == plain
    cookie = {"Accept-Encoding": "gzip", "Cookie": "theme=dark"}
    _, headers, same = production.raw("GET", "/api/openapi.json", cookie)
    assert "Content-Encoding" not in headers
    assert same == plain


def test_the_etag_of_a_compressed_user_is_accepted_in_conditions(production: ProductionStack, token: str) -> None:
    made = ask(production, token, "POST", "/api/users", {"username": "compressed", "attributes": {"note": "x" * 2000}})
    path = f"/api/users/{made.json['id']}"
    asked = {"Authorization": f"Bearer {token}", "Accept-Encoding": "gzip"}
    _, headers, _ = production.raw("GET", path, asked)
    assert headers["Content-Encoding"] == "gzip"
    etag = headers["ETag"]
    assert production.raw("GET", path, asked | {"If-None-Match": etag})[0] == 304
    assert ask(production, token, "PATCH", path, {"name": "One"}, If_Match=etag).status == 200
    assert ask(production, token, "PATCH", path, {"name": "Two"}, If_Match=etag).status == 412


def test_a_container_beside_caddy_is_no_trusted_proxy(production: ProductionStack) -> None:
    network = f"{production.name}_default"
    subnet = json.loads(run("docker", "network", "inspect", f"{production.name}_proxy").stdout)[0]["IPAM"]["Config"]
    assert [each["Subnet"] for each in subnet] == [production.settings["PROXY_SUBNET"]]
    body = json.dumps({"email": ADMIN, "password": SECRETS["admin_password"]})
    script = (
        "import http.client, sys\n"
        "c = http.client.HTTPConnection('web', 5000, timeout=10)\n"
        "c.request('POST', '/api/session', sys.argv[1], {'Content-Type': 'application/json', 'Origin': 'http://web:5000',"
        " 'X-Forwarded-For': '203.0.113.9'})\n"
        "print(c.getresponse().read().decode())"
    )
    image = production.settings["WEB_IMAGE"]
    printed = run("docker", "run", "--rm", "--network", network, image, "python", "-c", script, body).stdout
    assert re.fullmatch(r"\d+\.\d+\.\d+\.\d+", json.loads(printed)["session"]["address"])
    assert "203.0.113.9" not in printed


def test_a_body_that_arrives_slowly_reaches_no_replica(production: ProductionStack, token: str) -> None:
    head = (
        f"POST /api/users HTTP/1.1\r\nHost: {SITE}\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    )
    bodies = [json.dumps({"username": f"slow-{number}", "name": "s" * 100}).encode() for number in range(40)]
    with ExitStack() as clients:
        sockets = []
        for body in bodies:
            connection = production.connection()
            connection.connect()
            sockets.append(clients.enter_context(connection.sock))
            sockets[-1].sendall((head % len(body)).encode() + body[:50])
        # Requests of others pass meanwhile, so Caddy has read what was sent before.
        for _ in range(20):
            assert ask(production, token, "GET", "/api/users").status == 200
        assert sum(busy_connections(production, replica) for replica in REPLICAS) < len(bodies) / 2
        for sock, body in zip(sockets, bodies, strict=True):
            sock.sendall(body[50:])
        answers = [sock.recv(12) for sock in sockets]
    assert set(answers) == {b"HTTP/1.1 201"}


def busy_connections(stack: ProductionStack, replica: str) -> int:
    """The established connections of Caddy to a replica."""
    table = stack.sh(replica, "cat /proc/net/tcp").stdout
    port, established = f"{5000:04X}", "01"
    rows = [line.split() for line in table.splitlines()[1:]]
    return sum(row[1].endswith(f":{port}") and row[3] == established for row in rows)


@pytest.mark.parametrize(
    ("sent", "least_s", "most_s"),
    [
        (f"GET / HTTP/1.1\r\nHost: {SITE}\r\n", 5, 20),
        (f"POST /api/users HTTP/1.1\r\nHost: {SITE}\r\nContent-Length: 100\r\n\r\n{{", 20, 45),
    ],
    ids=["headers", "body"],
)
def test_a_request_that_stops_arriving_ends_the_connection(
    production: ProductionStack, sent: str, least_s: float, most_s: float
) -> None:
    with closing(production.connection(timeout=60)) as connection:
        connection.connect()
        began = time.monotonic()
        connection.sock.sendall(sent.encode())
        while connection.sock.recv(4096):
            pass
    assert least_s < time.monotonic() - began < most_s


def test_a_body_of_the_maximum_size_passes_and_a_longer_one_is_refused_by_web(
    production: ProductionStack, token: str
) -> None:
    fitting = json.dumps({"username": "long", "name": "x"}).encode()
    fitting += b" " * (2**20 - len(fitting))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    assert production.request("POST", "/api/users", fitting, headers).status == 201
    longer = production.request("POST", "/api/users", fitting + b" ", headers)
    assert (longer.status, longer.headers["Content-Type"]) == (413, "application/problem+json")


@pytest.mark.parametrize(
    "sent",
    [
        f"POST /api/users HTTP/1.1\r\nHost: {SITE}\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
        f"GET /api/users HTTP/1.1\r\nHost: {SITE}\r\nContent-Length: {2**20}\r\n\r\n" + " " * 2**20,
    ],
    ids=["malformed chunks", "GET with a body"],
)
def test_an_unusual_body_stops_no_request_of_others(production: ProductionStack, token: str, sent: str) -> None:
    """Caddy took the replica for dead, so two of them stopped the service for ten seconds."""
    for _ in range(10):
        with closing(production.connection()) as connection:
            connection.connect()
            connection.sock.sendall(sent.encode())
            connection.sock.recv(12)
        require_served(production, token)


def test_a_body_over_http_2_that_is_shorter_than_announced_stops_no_request_of_others(
    production: ProductionStack, token: str
) -> None:
    place = f"{SITE}:{production.https_port}"
    words = ("--resolve", f"{place}:127.0.0.1", "--cacert", str(production.authority()), f"https://{place}/api/users")
    for _ in range(4):
        sent = run(
            "curl", "-sS", "-H", "Content-Length: 9", "-d", "short", "-w", "%{http_version}", *words, check=False
        )
        assert sent.stdout.endswith("2"), sent
        require_served(production, token)


def require_served(stack: ProductionStack, token: str) -> None:
    """Create a user, whose name is new."""
    assert ask(stack, token, "POST", "/api/users", {"username": f"beside-{uuid.uuid4().hex}"}).status == 201


def test_containers_have_no_more_rights_than_they_need(production: ProductionStack) -> None:
    for service in ("caddy", *REPLICAS, "db", "cache", "check-secrets", "own-database"):
        host = production.inspect(service)["HostConfig"]
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert "no-new-privileges:true" in host["SecurityOpt"], service
        assert 0 < host["PidsLimit"] <= 512, service
        assert 0 < host["Memory"] <= 2 * 2**30, service
        added = {"caddy": ["NET_BIND_SERVICE"], "check-secrets": ["DAC_READ_SEARCH"]}
        assert (host["CapAdd"] or []) == added.get(service, []), service


def test_only_data_certificates_and_the_state_of_backups_are_in_volumes(production: ProductionStack) -> None:
    volumes = run("docker", "volume", "ls", "-q", "--filter", f"label=com.docker.compose.project={production.name}")
    names = ("pgdata", "caddy_data", "backup_status")
    assert set(volumes.stdout.split()) == {f"{production.name}_{name}" for name in names}
    for service in ("caddy", *REPLICAS, "db", "cache", "check-secrets", "own-database"):
        mounted = {mount["Name"] for mount in production.inspect(service)["Mounts"] if mount["Type"] == "volume"}
        assert mounted <= set(volumes.stdout.split()), service


def test_the_lines_of_caddy_contain_no_request(production: ProductionStack) -> None:
    # Caddy itself ends the second request, whose client sends no complete body, and the third one has another Host.
    production.raw("GET", "/api/users?q=ada.lovelace%40example.org")
    with closing(production.connection()) as connection:
        connection.connect()
        head = f"POST /api/users?q=ada.lovelace HTTP/1.1\r\nHost: {SITE}\r\nContent-Length: 9\r\n\r\nshort"
        connection.sock.sendall(head.encode())
    production.raw("GET", "/api/users?q=ada.lovelace", {"Host": "other.example.test"})
    log = production.log("caddy")
    assert "ada.lovelace" not in log
    assert "remote_ip" not in log
