"""Two replicas behind Caddy: one that ends, restarts or is replaced costs no request."""

import json
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from load import CLIENTS, create_token, load

from tests.stack.compose import run, wait_until
from tests.stack.production_stack import REPLICAS, SITE, ProductionStack, kill_processes
from tests.support.markdown import blocks


@pytest.fixture(scope="module")
def token(production: ProductionStack) -> str:
    return create_token(production, "replicas")


@pytest.fixture(autouse=True)
def whole(production: ProductionStack) -> None:
    """Each test begins with both replicas, and Caddy sends requests to both."""
    for replica in REPLICAS:
        production.wait_for_check(replica, "healthy")
    wait_until(lambda: all(answers(production, replica) for replica in REPLICAS), "both replicas answer")


def answers(stack: ProductionStack, replica: str) -> bool:
    """Whether Caddy sends requests to the replica, which logs them, also those that it refuses."""
    asked = [stack.get("/api/me").headers["X-Request-ID"] for _ in range(4)]
    return any(request_id in stack.log(replica) for request_id in asked)


@pytest.mark.parametrize("replica", REPLICAS)
def test_killing_a_replica_loses_no_request(production: ProductionStack, token: str, replica: str) -> None:
    restarts = production.inspect(replica)["RestartCount"]
    with load(production, token, with_keys=True) as clients:
        kill_processes(production, replica)
        wait_until(lambda: production.inspect(replica)["RestartCount"] > restarts, "the engine restarts it")
        clients.wait_for_more()
        production.wait_for_check(replica, "healthy")
        wait_until(lambda: answers(production, replica), "Caddy sends requests to it again")


def test_a_request_that_a_killed_replica_may_have_executed_is_not_repeated(
    production: ProductionStack, token: str
) -> None:
    """A DELETE, which has no body. The row is locked, so a repeated one would have no response either."""
    headers = {"Authorization": f"Bearer {token}", "Host": SITE}
    user = production.request("POST", "/api/users", {"username": "locked"}, headers).json["id"]
    lock = f"BEGIN; SELECT id FROM users WHERE id = '{user}' FOR UPDATE; SELECT pg_sleep(60)"  # noqa: S608 - an id
    with ThreadPoolExecutor(1) as pool, closing(production.connection(timeout=30)) as connection:
        try:
            pool.submit(production.sql, lock)
            wait_until(lambda: sessions(production, "query LIKE '%pg_sleep(60)'"), "the row is locked")
            connection.request("DELETE", f"/api/users/{user}", headers=headers)
            (address,) = wait_until(lambda: sessions(production, "wait_event_type = 'Lock'"), "the DELETE waits")
            kill_processes(production, replica_at(production, address))
            assert connection.getresponse().status == 502
        finally:
            production.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)'")


def sessions(stack: ProductionStack, condition: str) -> list[str]:
    """The addresses of the clients of sessions of PostgreSQL, empty for a local one."""
    others = f"pg_stat_activity WHERE pid <> pg_backend_pid() AND {condition}"
    found = stack.sql(f"SELECT to_json(array(SELECT coalesce(host(client_addr), '') FROM {others}))")  # noqa: S608
    return list(json.loads(found))


def replica_at(stack: ProductionStack, address: str) -> str:
    """The replica that has the address."""
    (found,) = (
        replica
        for replica in REPLICAS
        for network in stack.inspect(replica)["NetworkSettings"]["Networks"].values()
        if network["IPAddress"] == address
    )
    return found


def test_restarting_one_replica_after_the_other_loses_no_request(production: ProductionStack, token: str) -> None:
    with load(production, token, with_keys=False) as clients:
        for replica in REPLICAS:
            production("restart", replica)
            production("up", "-d", "--wait", replica)
            clients.wait_for_more()
            wait_until(lambda one=replica: answers(production, one), "Caddy sends requests to it again")


def test_replacing_one_replica_after_the_other_loses_no_request(production: ProductionStack, token: str) -> None:
    changed = production.beside(DATABASE_WAIT_S="61")
    containers = {service: production.container(service) for service in (*REPLICAS, "db", "cache", "caddy")}
    with load(production, token, with_keys=False) as clients:
        for replica in REPLICAS:
            changed("up", "-d", "--wait", replica)
            assert production.container(replica) != containers[replica]
            clients.wait_for_more()
            wait_until(lambda one=replica: answers(production, one), "Caddy sends requests to it again")
    for service in ("db", "cache", "caddy"):
        assert production.container(service) == containers[service]
    # The next start of the whole stack replaces nothing.
    containers = {replica: production.container(replica) for replica in REPLICAS}
    changed("up", "-d", "--wait")
    assert {replica: production.container(replica) for replica in REPLICAS} == containers


@pytest.mark.parametrize("keep_alive", [True, False])
def test_loading_the_caddyfile_anew_loses_no_request(production: ProductionStack, token: str, keep_alive: bool) -> None:
    """Caddy closes each connection from which it has read no request at that moment, so a client repeats it."""
    (command,) = [block.text for block in blocks("docs/operations.md") if "caddy reload" in block.text]
    words = shlex.split(command)
    assert words[:3] == ["docker", "compose", "exec"]
    with load(production, token, with_keys=True, keep_alive=keep_alive, repeats=True) as clients:
        # Without --force, Caddy would not load the same file again.
        production(*words[2:], "--force")
        clients.wait_for_more()
    # A client had one request at that moment.
    assert len(clients.repeated) <= CLIENTS


def test_a_replica_that_hangs_gets_no_more_requests(production: ProductionStack, token: str) -> None:
    run("docker", "pause", production.container("web2"))
    try:
        began = time.monotonic()
        wait_until(lambda: production.get("/api/health", timeout=5).status == 200, "the other replica answers")
        headers = {"Authorization": f"Bearer {token}"}
        wait_until(lambda: all(production.get("/api/users", headers=headers, timeout=1) for _ in range(20)), "it alone")
        assert time.monotonic() - began < 30
    finally:
        run("docker", "unpause", production.container("web2"))


def test_without_postgresql_the_service_itself_says_so(production: ProductionStack) -> None:
    production("stop", "db")
    try:
        for replica in REPLICAS:
            production.wait_for_check(replica, "unhealthy")
        answer = production.get("/api/health")
        assert (answer.status, answer.json["status"]) == (503, "down")
        assert answer.headers["Retry-After"]
        assert production.get("/api/health/live").status == 200
    finally:
        production("start", "db")
    wait_until(lambda: production.get("/api/health/ready").status == 200, "it is ready again")


def test_without_a_replica_caddy_answers_at_once(production: ProductionStack) -> None:
    production("stop", *REPLICAS)
    try:
        began = time.monotonic()
        assert production.raw("GET", "/api/users")[0] == 503
        assert time.monotonic() - began < 5
    finally:
        production("start", *REPLICAS)
