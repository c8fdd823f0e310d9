"""`make run` and `make demo`, with a substitute for the service."""

import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from witness import ROOT, Script, wait_until_none_is_left

from embedded.ports import free_port

# It serves what the launcher asks for, ends at SIGTERM and says what it was given.
SERVICE = """
import http.server, os, signal, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health/ready" else 404)
        self.end_headers()
    def log_message(self, *words): pass
def end(*_):
    print("drained", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
assert os.environ["FLASK_APP"] == "app" and os.environ["PUBLISHED_ADDRESS"] == "127.0.0.1"
assert "REDIS_HOST" not in os.environ
print("given", os.environ["DATABASE_URL"], os.environ["REDIS_URL"], flush=True)
address = os.environ["LISTEN_ADDRESS"], int(os.environ["PORT"])
http.server.ThreadingHTTPServer(address, Ready).serve_forever()
"""
FLASK = "import os, sys; print('flask', os.environ['DATABASE_URL'], *sys.argv[1:])"
READER = "import os, sys; print(os.environ['DATABASE_URL'], sys.argv[1:], sys.stdin.read()); sys.exit(4)"
MAIN = """
import sys
from embedded import run, service
folder, service_text, flask_text, *rest = sys.argv[1:]
service.STOP_S = 1.0
sys.exit(run.main(
    ["--data", folder, *rest],
    service=[sys.executable, "-c", service_text],
    flask=[sys.executable, "-c", flask_text],
))
"""


@pytest.fixture
def run(script: Callable[..., Script], tmp_path: Path) -> Callable[..., Script]:
    """Start the Python part of `make run` in a folder of this test."""

    def start(*arguments: str, service: str = SERVICE, port: str = "", flask: str = FLASK) -> Script:
        env = {"PORT": port or str(free_port()), "REDIS_HOST": "elsewhere"}
        return script(MAIN, str(tmp_path / "data"), service, flask, *arguments, env=env)

    return start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_make_run_serves_until_it_is_stopped_and_leaves_no_process(
    tmp_path: Path, run: Callable[..., Script], number: signal.Signals
) -> None:
    port = str(free_port())
    running = run(port=port)
    running.line_with("Ready")
    for path in ("/", "/api/docs", "/api/users", "/api/health"):
        assert f"http://localhost:{port}{path} " in running.line_with("http://")
    addresses = tmp_path / "data" / "stack.json"
    assert addresses.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data" / ".gitignore").read_text() == "*\n"
    assert running.end(number) == 0
    printed = "\n".join(running.printed)
    assert printed.index("drained") < printed.index("Stopping PostgreSQL and Redis")
    assert "Traceback" not in printed
    assert not addresses.exists()
    wait_until_none_is_left(tmp_path)


def test_the_second_start_takes_less_than_three_seconds(run: Callable[..., Script]) -> None:
    first = run()
    first.line_with("Ready")
    first.end(signal.SIGINT)
    began = time.monotonic()
    second = run()
    second.line_with("Ready")
    assert time.monotonic() - began < 3
    assert "with a new database" in "\n".join(first.printed)
    assert "with a new database" not in "\n".join(second.printed)


def test_a_taken_port_is_named_with_the_way_out(run: Callable[..., Script]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = run(port=str(port))
        printed = refused.rest()
    assert printed.startswith(f"Error: port {port} is taken by another program")
    assert f"PORT={port + 1} make run" in printed
    assert refused.process.returncode == 1


@pytest.mark.parametrize("port", ["zero", "0", "-1", "65536", "\u0665\u0660\u0660\u0660"])
def test_an_invalid_port_is_refused(run: Callable[..., Script], port: str) -> None:
    refused = run(port=port)
    assert "must be a number from 1 to 65535" in refused.rest()
    assert refused.process.returncode == 1


def test_a_second_run_reports_the_running_one(run: Callable[..., Script]) -> None:
    first = run()
    first.line_with("Ready")
    second = run()
    assert "already running from" in second.rest()
    assert f"as process {first.process.pid}" in second.rest()
    assert second.process.returncode == 1
    assert first.end(signal.SIGINT) == 0


def test_when_the_service_exits_make_run_stops_the_servers_and_returns_its_exit_code(
    tmp_path: Path, run: Callable[..., Script]
) -> None:
    ended = run(service="raise SystemExit(7)")
    assert "The service ended by itself with code 7" in ended.rest()
    assert ended.process.returncode == 7
    wait_until_none_is_left(tmp_path)


def test_a_service_that_does_not_end_is_ended(tmp_path: Path, run: Callable[..., Script]) -> None:
    deaf = SERVICE.replace("signal.signal(signal.SIGTERM, end)", "signal.signal(15, signal.SIG_IGN)")
    running = run(service=deaf)
    running.line_with("Ready")
    assert running.end(signal.SIGINT) == 0
    wait_until_none_is_left(tmp_path)


def test_a_killed_run_leaves_nothing_and_the_next_one_starts(tmp_path: Path, run: Callable[..., Script]) -> None:
    port = str(free_port())
    running = run(port=port)
    url = running.line_with("given").split()[1]
    running.line_with("Ready")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
    running.process.kill()
    wait_until_none_is_left(tmp_path)
    _wait_closed(port)
    again = run(port=port)
    with psycopg.connect(again.line_with("given").split()[1]) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (1,)
    again.line_with("Ready")
    assert again.end(signal.SIGINT) == 0


def test_demo_uses_the_running_stack(run: Callable[..., Script]) -> None:
    running = run()
    url = running.line_with("given").split()[1]
    running.line_with("Ready")
    demo = run("--demo", "12")
    printed = demo.rest()
    assert f"flask {url} db upgrade" in printed
    assert f"flask {url} users demo --count 12" in printed
    assert "Stopping" not in printed
    assert demo.process.returncode == 0
    assert running.process.poll() is None


def test_demo_alone_starts_the_servers_and_stops_them(tmp_path: Path, run: Callable[..., Script]) -> None:
    demo = run("--demo", "3")
    printed = demo.rest()
    assert "users demo --count 3" in printed
    assert demo.process.returncode == 0
    wait_until_none_is_left(tmp_path)


def test_demo_returns_the_exit_code_of_the_failed_command(run: Callable[..., Script]) -> None:
    demo = run("--demo", "3", flask="raise SystemExit(5)")
    demo.rest()
    assert demo.process.returncode == 5


def test_a_command_uses_the_running_stack_and_prints_only_its_own_output(
    tmp_path: Path, run: Callable[..., Script]
) -> None:
    running = run()
    url = running.line_with("given").split()[1]
    running.line_with("Ready")
    words = ["--flask", "users", "create", "--name", "Ada Lovelace"]
    arguments = [sys.executable, "-c", MAIN, str(tmp_path / "data"), SERVICE, READER, *words]
    done = subprocess.run(arguments, cwd=ROOT, input="typed", capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == f"{url} ['users', 'create', '--name', 'Ada Lovelace'] typed\n"
    assert done.returncode == 4
    assert running.process.poll() is None


def test_a_command_alone_starts_the_servers_and_stops_them(tmp_path: Path, run: Callable[..., Script]) -> None:
    command = run("--flask", "tokens", "list")
    assert "tokens list" in command.rest()
    assert command.process.returncode == 0
    wait_until_none_is_left(tmp_path)


def _wait_closed(port: str) -> None:
    deadline = time.monotonic() + 5
    while True:
        client = http.client.HTTPConnection("127.0.0.1", int(port), timeout=1)
        try:
            client.connect()
        except ConnectionRefusedError:
            return
        finally:
            client.close()
        assert time.monotonic() < deadline
        time.sleep(0.05)
