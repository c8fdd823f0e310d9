"""The ten steps of the exercise, as printed there but for the ports, which are ours."""

import http.cookiejar
import os
import pty
import re
import select
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Self

from tests.stack.compose import ENVIRON, ROOT, SERVICES, Stack, run

_ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[A-Za-z]|[=>])")


def test_steps_1_to_3_the_files_have_their_names() -> None:
    for name in ("__init__.py", "models.py", "routes.py", "requirements.txt"):
        assert (ROOT / "app" / name).is_file()
    assert (ROOT / "docker-compose.yml").is_file()


def test_step_2_users_are_created_read_changed_and_deleted(stack: Stack) -> None:
    created = stack.request("POST", "/users", {"email": "step2@example.org", "name": "Zoë"})
    assert created.status == 201
    path = f"/users/{created.json['id']}"
    assert any(user["id"] == created.json["id"] for user in stack.get("/users?sort=-created_at").json)
    assert stack.request("PATCH", path, {"name": "Zoé"}).json["name"] == "Zoé"
    assert stack.request("PUT", path, {"email": "step2@example.org"}).json["version"] == 3
    assert stack.get(path).json["name"] == "step2@example.org"
    assert stack.request("DELETE", path).status == 204
    assert stack.get(path).status == 404


def test_step_3_the_health_check_of_the_exercise_passes_from_outside(stack: Stack) -> None:
    address = f"http://localhost:{stack.settings['WEB_PORT']}/api/health"
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.status == 200


def test_steps_4_and_5_the_data_is_in_the_volume_of_the_right_database(stack: Stack) -> None:
    stack.make("kept-in-the-volume")
    assert stack.sql("SHOW data_directory") == "/var/lib/postgresql/data"
    assert stack.sql("SELECT current_user || '@' || current_database()") == "postgres@usersdb"
    assert stack.sql("SELECT count(*) FROM users WHERE username = 'kept-in-the-volume'") == "1"
    mounts = {mount["Destination"]: mount["Name"] for mount in stack.inspect("db")["Mounts"]}
    assert mounts["/var/lib/postgresql/data"] == f"{stack.name}_pgdata"


def test_steps_6_and_7_up_finds_everything_running(stack: Stack) -> None:
    done = run(*stack.command("up", "-d", program=_program()))
    assert done.stderr.count("Running") + done.stderr.count("Healthy") >= len(SERVICES)


def test_step_8_typed_in_a_terminal_answers_as_in_the_exercise(stack: Stack) -> None:
    with Terminal(*stack.command("exec", "web", "python", program=_program())) as terminal:
        terminal.read_to(">>> ")
        assert terminal.type("from app import db, cache") == ""
        assert "CursorResult" in terminal.type("db.session.execute('SELECT 1')")
        assert terminal.type("cache.ping()") == "True"


def test_step_8_in_the_shell_of_flask_has_the_models_too(stack: Stack) -> None:
    lines = "db.session.execute('SELECT 1').scalar()\ncache.ping()\nUser.query.count() >= 0\n"
    shell = stack("exec", "-T", "web", "flask", "shell", input=lines)
    answers = [line for line in re.sub(r"^(>>> )+", "", shell.stdout, flags=re.MULTILINE).splitlines() if line]
    assert answers[-3:] == ["1", "True", "True"] or answers[-4:-1] == ["1", "True", "True"]
    assert "Error" not in shell.stderr


def test_step_8_the_doctor_finds_the_stack_in_good_health(stack: Stack) -> None:
    table = stack("exec", "-T", "web", "flask", "doctor").stdout
    for name in ("database", "cache", "migrations"):
        assert re.search(rf"^{name} +ok ", table, re.MULTILINE), table


def test_step_9_adminer_shows_the_table_of_users(stack: Stack) -> None:
    base = f"http://localhost:{stack.settings['ADMINER_PORT']}/"
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    login = {"driver": "pgsql", "server": "db", "username": "postgres", "password": "password", "db": "usersdb"}
    form = urllib.parse.urlencode({f"auth[{name}]": value for name, value in login.items()}).encode()
    with browser.open(base, timeout=10) as page:
        assert "auth[password]" in page.read().decode()
    with browser.open(base, form, timeout=10) as page:
        tables = page.read().decode()
    assert "table=users" in tables or "select=users" in tables


def test_step_10_the_health_of_each_service_is_shown(stack: Stack) -> None:
    table = run(*stack.command("ps", program=_program())).stdout
    assert table.count("(healthy)") == len(SERVICES)
    for service in SERVICES:
        name = f"{stack.name}-{service}-1"
        assert '"Health": {' in run("sh", "-c", f"docker inspect {name} | grep Health").stdout


class Terminal:
    """A program on a terminal of its own, typed at as a person would."""

    def __init__(self, *words: str, folder: Path = ROOT) -> None:
        self._fd, theirs = pty.openpty()
        self._process = subprocess.Popen(
            words, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env={**ENVIRON, "TERM": "xterm"}
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._fd, b"\x04")
        try:
            self._process.wait(15)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._fd)

    def type(self, line: str) -> str:
        """Type a line and return what was answered before the next prompt."""
        os.write(self._fd, line.encode() + b"\r")
        # A prompt of Python 3.13 is painted anew with each key, so what it echoes comes first.
        self.read_to("\n")
        return self.read_to(">>> ").removesuffix(">>> ").strip()

    def read_to(self, end: str, seconds: float = 30) -> str:
        seen, deadline = b"", time.monotonic() + seconds
        while not (text := _ESCAPES.sub(b"", seen).decode(errors="replace")).endswith(end):
            assert time.monotonic() < deadline, text
            if select.select([self._fd], [], [], 0.5)[0]:
                seen += os.read(self._fd, 1 if end == "\n" else 4096)
        return text


def _program() -> tuple[str, ...]:
    """`docker-compose`, as the exercise has it, where the machine knows it by that name."""
    return ("docker-compose",) if shutil.which("docker-compose") else ("docker", "compose")
