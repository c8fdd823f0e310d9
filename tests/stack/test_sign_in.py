"""Access: each way to create the first administrator, and sessions and tokens while Redis is stopped."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stack.compose import Stack, wait_until
from tests.support.service_process import Response

HERE = Path(__file__).parent
_EMAIL, _PASSWORD = "ada@example.org", "correct $horse 'battery"
# What a browser does with the page at the root.
_FIRST = """
import sys, urllib.parse, urllib.request
assert b"first administrator" in urllib.request.urlopen("http://localhost:5000/").read()
form = urllib.parse.urlencode({"email": sys.argv[1], "password": sys.argv[2]}).encode()
urllib.request.urlopen(urllib.request.Request("http://localhost:5000/first", form, {"Origin": "http://localhost:5000"}))
"""
_LIST = """
import http.client
connection = http.client.HTTPConnection("localhost", 5000)
connection.request("GET", "/api/users")
print(connection.getresponse().status)
"""


@pytest.fixture(scope="module")
def secured(make_stack: Callable[..., Stack]) -> Iterator[Stack]:
    """A stack that other machines reach, with an administrator from its settings, signed in."""
    quoted = _PASSWORD.replace("'", "\\'")
    settings = {"ADMIN_EMAIL": _EMAIL, "ADMIN_PASSWORD": f"'{quoted}'"}
    stack = make_stack("secured", PUBLISHED_ADDRESS="0.0.0.0", **settings)  # noqa: S104 - that is what is tested
    stack.up("web")
    stack.sign_in(_EMAIL, _PASSWORD)
    yield stack
    stack.remove()


def anonymous_request(stack: Stack, method: str = "GET", path: str = "/api/users") -> Response:
    """A request without any credential."""
    kept, stack.credential = stack.credential, {}
    try:
        return stack.request(method, path)
    finally:
        stack.credential = kept


def token(stack: Stack, name: str, role: str = "editor") -> dict[str, str]:
    """A new token of the command line, as the header that carries it."""
    words = ("--name", name, "--role", role, "--user", _EMAIL, "--expires-in", "1h")
    secret = stack("exec", "-T", "web", "flask", "tokens", "create", *words).stdout
    assert re.fullmatch(r"fsa_\w{49}\n", secret)
    return {"Authorization": f"Bearer {secret.strip()}"}


def test_the_administrator_of_the_settings_signs_in_and_other_requests_are_refused(secured: Stack) -> None:
    assert secured.get("/api/session").json["user"]["role"] == "admin"
    assert secured.make("made-by-ada")["version"] == 1
    for path in ("/api/users", "/users", "/api/me", "/api/tokens", "/api/session"):
        answer = anonymous_request(secured, path=path)
        assert answer.status == 401, path
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    for path in ("/api/health", "/api/health/ready", "/api/openapi.json"):
        assert anonymous_request(secured, path=path).status == 200
    assert secured.health("web") == "healthy"


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(secured: Stack) -> None:
    cookie = secured.sign_in(_EMAIL, _PASSWORD).headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    other = secured.request("POST", "/api/users", {"username": "eve"}, {"Origin": "https://evil.example"})
    assert other.status == 403


def test_neither_password_nor_token_is_logged(secured: Stack) -> None:
    bearer = token(secured, "logged")
    kept, secured.credential = secured.credential, bearer
    try:
        assert secured.get("/api/users").status == 200
        assert secured.request("POST", "/api/session", {"email": _EMAIL, "password": "wrong-password"}).status == 401
    finally:
        secured.credential = kept
    for service in ("web", "db", "cache"):
        log = secured.log(service)
        assert _PASSWORD not in log
        assert "wrong-password" not in log
        assert "fsa_" not in log
        assert _EMAIL not in log


def test_without_redis_sessions_wait_tokens_go_on_and_setup_mode_does_not_return(secured: Stack) -> None:
    bearer, session = token(secured, "outage"), secured.credential
    assert secured.get("/api/session").json["kind"] == "session"
    secured("stop", "cache")
    try:
        for method, path in (("GET", "/api/users"), ("GET", "/api/session"), ("POST", "/api/users")):
            answer = secured.request(method, path, {"username": "late"} if method == "POST" else None)
            assert answer.status == 503
            assert "session" in answer.json["detail"].lower()
            assert int(answer.headers["Retry-After"]) >= 1
        for _ in range(20):
            assert anonymous_request(secured).status == 401
            assert anonymous_request(secured, "POST").status == 401
        forged = secured.request("GET", "/api/users", headers={"Cookie": f"fsa_session={'A' * 43}"})
        assert forged.status in (401, 503)
        secured.credential = bearer
        assert secured.get("/api/session").json["kind"] == "token"
        assert secured.make("made-without-redis")["version"] == 1
        assert secured.get("/api/users").status == 200
        secured.credential = {"Authorization": bearer["Authorization"][:-1]}
        assert secured.get("/api/users").status == 401
        secured.credential = {}
        again = secured.request("POST", "/api/session", {"email": _EMAIL, "password": _PASSWORD})
        assert again.status == 503
        assert "Set-Cookie" not in again.headers
        assert secured.get("/api/health").json["status"] == "degraded"
        assert secured.get("/api/health/ready").status == 200
    finally:
        secured.credential = session
        secured("start", "cache")
    secured.wait_for_health("ok")
    # This Redis keeps nothing over a restart: who was signed in signs in again.
    wait_until(lambda: secured.get("/api/session").status == 401, "an ended session is 401")
    wait_until(lambda: signs_in(secured), "one can sign in again")
    wait_until(lambda: all_served(secured), "each process reads sessions again")


def all_served(stack: Stack) -> bool:
    """Whether a session is served twenty times; a process that has yet to see Redis again says 503, nothing else."""
    found = {stack.get("/api/session").status for _ in range(20)}
    assert found <= {200, 503}
    return found == {200}


def signs_in(stack: Stack) -> bool:
    try:
        stack.sign_in(_EMAIL, _PASSWORD)
    except AssertionError:
        return False
    return True


def test_a_command_replaces_a_forgotten_password(secured: Stack) -> None:
    old = secured.credential
    again = "another $long 'sentence"
    words = ("exec", "-T", "web", "flask", "users", "password", _EMAIL, "--password-stdin")
    try:
        secured(*words, input=f"{again}\n")
        assert secured.get("/api/session").status == 401
        secured.sign_in(_EMAIL, again)
        assert secured.get("/api/users").status == 200
        assert secured.request("GET", "/api/users", headers=old).status == 401
    finally:
        secured(*words, input=f"{_PASSWORD}\n")
        secured.sign_in(_EMAIL, _PASSWORD)


def test_a_revoked_token_is_refused_at_once(secured: Stack) -> None:
    bearer, kept = token(secured, "revoked"), secured.credential
    row = next(line for line in secured("exec", "-T", "web", "flask", "tokens", "list").stdout.splitlines()[1:])
    try:
        secured.credential = bearer
        assert secured.get("/api/users").status == 200
        secured("exec", "-T", "web", "flask", "tokens", "revoke", row.split()[0])
        assert [secured.get("/api/users").status for _ in range(20)] == [401] * 20
    finally:
        secured.credential = kept


def test_the_first_administrator_of_the_command_line_secures_the_running_service_at_once(
    new_stack: Callable[..., Stack],
) -> None:
    stack = new_stack("setup")
    stack.up("web")
    assert [stack.get("/api/users").status for _ in range(20)] == [200] * 20
    words = ("--role", "admin", "--email", _EMAIL, "--password-stdin")
    made = stack("exec", "-T", "web", "flask", "users", "create", *words, input=f"{_PASSWORD}\n")
    # Both workers know, whichever answers.
    assert [stack.get("/api/users").status for _ in range(40)] == [401] * 40
    assert "The service is secured now" in made.stdout
    assert "secured: 1 administrator" in stack("exec", "-T", "web", "flask", "doctor").stdout
    stack.sign_in(_EMAIL, _PASSWORD)
    assert stack.get("/api/users").status == 200
    stack("restart", "web")
    stack.credential = {}
    wait_until(lambda: stack.get("/api/health/ready").status == 200, "web is back")
    assert [stack.get("/api/users").status for _ in range(20)] == [401] * 20


def test_the_first_administrator_of_the_page_secures_other_replicas_within_seconds(
    new_stack: Callable[..., Stack],
) -> None:
    stack = new_stack("securing", HERE / "twins.yml")
    stack.up("--scale", "web=2", "web")
    assert [listed_by(stack, replica) for replica in (1, 2)] == ["200", "200"]
    stack("exec", "-T", "--index", "1", "web", "python", "-c", _FIRST, _EMAIL, _PASSWORD)
    assert listed_by(stack, 1) == "401"
    wait_until(lambda: listed_by(stack, 2) == "401", "the other replica is secured", seconds=5)


def listed_by(stack: Stack, replica: int) -> str:
    """The status with which one replica answers a request without credentials."""
    return stack("exec", "-T", "--index", str(replica), "web", "python", "-c", _LIST).stdout.strip()
