"""What was acknowledged is kept, whatever happens to PostgreSQL; and the service comes back by itself."""

import http.client
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.stack.compose import Stack, run, wait_until

_WRITERS = 8
_PATIENCE_S = 60


def test_data_survives_down_and_up(stack: Stack) -> None:
    kept = stack.make("survivor", name="Ада Лавлейс", attributes={"n": 1})
    stack("down")
    assert stack.container("db") == ""
    stack("up", "-d", "--wait")
    assert stack.get(f"/api/users/{kept['id']}").json == kept


def test_killing_the_database_during_writes_loses_no_acknowledged_user(stack: Stack) -> None:
    acknowledged: list[str] = []
    odd: list[object] = []
    over = threading.Event()

    def write(writer: int) -> None:
        for number in itertools.count():
            if over.is_set():
                return
            try:
                answer = stack.request("POST", "/api/users", {"username": f"kill-{writer}-{number}"})
            except (OSError, http.client.HTTPException, AssertionError) as error:
                odd.append(error)
                return
            if answer.status == 201:
                acknowledged.append(answer.json["id"])
            elif answer.status == 503:
                assert answer.headers["Retry-After"]
                time.sleep(0.05)
            else:
                odd.append((answer.status, answer.body))

    with ThreadPoolExecutor(_WRITERS) as pool:
        writers = [pool.submit(write, writer) for writer in range(_WRITERS)]
        try:
            wait_until(lambda: len(acknowledged) > 50, "users are created")
            run("docker", "kill", "-s", "KILL", stack.container("db"))
            time.sleep(1)
            before = len(acknowledged)
            stack("start", "db")
            wait_until(lambda: len(acknowledged) > before + 50, "users are created again", _PATIENCE_S)
        finally:
            over.set()
    for writer in writers:
        writer.result()
    assert odd == []
    found = set(stack.sql("SELECT id FROM users").split())
    assert set(acknowledged) <= found
    for user_id in acknowledged[:: max(1, len(acknowledged) // 100)]:
        assert stack.get(f"/api/users/{user_id}").status == 200


def test_a_database_that_dies_is_restarted_and_served_from_without_a_restart_of_web(stack: Stack) -> None:
    kept = stack.make("before-the-crash")
    web = stack.inspect("web")["State"]["StartedAt"]
    # The process that all others of PostgreSQL are children of.
    stack.sh("db", 'kill -9 "$(head -n 1 "$PGDATA/postmaster.pid")"', check=False)
    wait_until(lambda: stack.inspect("db")["RestartCount"] > 0, "the engine restarts PostgreSQL")
    wait_until(lambda: stack.get(f"/api/users/{kept['id']}/history").status == 200, "it is served from", _PATIENCE_S)
    # Each process of web finds out for itself, within a second.
    after = {"username": "after-the-crash"}
    wait_until(lambda: stack.request("POST", "/api/users", after).status == 201, "it takes writes again")
    assert stack.inspect("web")["State"]["StartedAt"] == web


def test_while_the_database_is_away_answers_are_503_with_retry_after_and_then_service_again(stack: Stack) -> None:
    kept = stack.make("patient")
    web = stack.inspect("web")["State"]["StartedAt"]
    stack("stop", "db")
    for method, path, body in (
        ("GET", "/api/users?q=patient&limit=3", None),
        ("PATCH", f"/api/users/{kept['id']}", {"name": "x"}),
        ("GET", "/api/health", None),
        ("GET", "/api/health/ready", None),
    ):
        answer = stack.request(method, path, body)
        assert (answer.status, bool(answer.headers["Retry-After"])) == (503, True), path
        assert answer.seconds < 10
    assert stack.get("/api/health").json["status"] == "down"
    assert stack.get("/api/health/live").status == 200
    stack("start", "db")
    wait_until(lambda: stack.get("/api/health/ready").status == 200, "it is ready again", _PATIENCE_S)
    wait_until(lambda: stack.get("/api/users?q=patient&limit=3").status == 200, "it serves again", _PATIENCE_S)
    path = f"/api/users/{kept['id']}"
    wait_until(lambda: stack.request("PATCH", path, {"name": "x"}).status == 200, "it takes writes again")
    # Each of the two workers finds out by itself, within a second.
    wait_until(lambda: {stack.get(path).status for _ in range(20)} == {200}, "both workers serve again")
    assert stack.get(path).json["version"] == 2
    assert stack.inspect("web")["State"]["StartedAt"] == web


def test_a_database_that_hangs_gives_503_in_bounded_time(stack: Stack) -> None:
    stack("pause", "db")
    try:
        began = time.monotonic()
        assert stack.request("POST", "/api/users", {"username": "hanging"}, timeout=30).status == 503
        assert stack.get("/api/health").json["status"] == "down"
        assert stack.get("/api/health/live").status == 200
        assert time.monotonic() - began < 30
    finally:
        stack("unpause", "db")
    stack.wait_for_health("ok")
    wait_until(lambda: stack.request("POST", "/api/users", {"username": "after"}).status == 201, "it serves again")


def test_after_a_restart_of_the_database_no_request_meets_a_dead_connection(stack: Stack) -> None:
    """Even when web was idle meanwhile, so that nothing told it."""
    user = stack.make("idle")
    for _ in range(20):
        # So that each process of web has connections in its pool.
        stack.request("PATCH", f"/api/users/{user['id']}", {"name": "warm"})
    stack("restart", "db")
    wait_until(lambda: stack.get("/api/health/ready").status == 200, "it is ready again", _PATIENCE_S)
    time.sleep(2)
    statuses = [stack.request("PATCH", f"/api/users/{user['id']}", {"name": "cold"}).status for _ in range(40)]
    assert statuses == [200] * 40
