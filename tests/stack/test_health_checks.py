"""Each of the four health checks is seen to fail when its service is broken, and to recover."""

from typing import Any

from tests.stack.compose import Stack, wait_until

# Of the server itself, which is not process 1: that is the init which the engine puts before it.
_STOP_POSTGRES = 'kill -STOP "$(head -n 1 "$PGDATA/postmaster.pid")"'
_FIND_PHP = 'for p in /proc/[0-9]*; do if grep -qa "^php" "$p/cmdline"; then kill -{} "${{p#/proc/}}"; fi; done'


def test_the_check_of_web_fails_while_it_can_not_serve(stack: Stack) -> None:
    stack("stop", "db")
    stack.wait_for_check("web", "unhealthy")
    stack("start", "db")
    stack.wait_for_check("web", "healthy")


def test_the_check_of_web_stays_good_without_the_cache(stack: Stack) -> None:
    stack("stop", "cache")
    stack.wait_for_health("degraded")
    before = last_check(stack)["Start"]
    wait_until(lambda: last_check(stack)["Start"] > before, "web is checked once more")
    assert last_check(stack)["ExitCode"] == 0
    assert stack.health("web") == "healthy"


def test_the_check_of_web_fails_when_its_processes_hang(stack: Stack) -> None:
    # It must be its children too, which do the serving; the shell that does this goes on.
    hold = 'for p in /proc/[0-9]*; do if grep -qa "^python" "$p/cmdline"; then kill -{} "${{p#/proc/}}"; fi; done'
    stack.sh("web", hold.format("STOP"))
    try:
        stack.wait_for_check("web", "unhealthy")
    finally:
        stack.sh("web", hold.format("CONT"))
    stack.wait_for_check("web", "healthy")


def test_the_check_of_db_fails_when_postgresql_hangs(stack: Stack) -> None:
    stack.sh("db", _STOP_POSTGRES)
    try:
        stack.wait_for_check("db", "unhealthy")
    finally:
        stack.sh("db", _STOP_POSTGRES.replace("STOP", "CONT"))
    stack.wait_for_check("db", "healthy")


def test_the_check_of_db_asks_over_tcp(stack: Stack) -> None:
    """During initdb a server listens on the socket alone: such a one is not there yet."""
    words = " ".join(stack.inspect("db")["Config"]["Healthcheck"]["Test"])
    elsewhere = words.removeprefix("CMD-SHELL ").replace("127.0.0.1", "127.0.0.1 -p 5433")
    assert stack.sh("db", elsewhere, check=False).returncode != 0
    assert stack.sh("db", "pg_isready").returncode == 0


def test_the_check_of_cache_fails_on_an_answer_that_is_no_pong(stack: Stack) -> None:
    stack.sh("cache", "redis-cli CONFIG SET requirepass other")
    try:
        stack.wait_for_check("cache", "unhealthy")
        assert stack.sh("cache", "redis-cli ping").returncode == 0
    finally:
        stack.sh("cache", "REDISCLI_AUTH=other redis-cli CONFIG SET requirepass ''")
    stack.wait_for_check("cache", "healthy")


def test_the_check_of_cache_fails_when_redis_hangs(stack: Stack) -> None:
    stack.sh("cache", "redis-cli CLIENT PAUSE 15000 ALL")
    stack.wait_for_check("cache", "unhealthy")
    stack.wait_for_check("cache", "healthy")


def test_the_check_of_adminer_fails_when_its_server_hangs(stack: Stack) -> None:
    stack.sh("adminer", _FIND_PHP.format("STOP"))
    try:
        stack.wait_for_check("adminer", "unhealthy")
    finally:
        stack.sh("adminer", _FIND_PHP.format("CONT"))
    stack.wait_for_check("adminer", "healthy")


def test_the_check_of_adminer_fails_when_adminer_itself_is_broken(stack: Stack) -> None:
    words = stack.inspect("adminer")["Config"]["Healthcheck"]["Test"][1]
    assert stack.sh("adminer", words).returncode == 0
    missing = words.replace("8080/", "8081/")
    start = "cd /tmp && echo '<?php http_response_code(500);' > index.php && (php -S 127.0.0.1:8081 >/dev/null 2>&1 &)"
    stack.sh("adminer", start)
    try:
        assert stack.sh("adminer", f"sleep 1; {missing}", check=False).returncode != 0
    finally:
        stack("restart", "adminer")


def last_check(stack: Stack) -> dict[str, Any]:
    """The newest line of the engine's record of checks of web."""
    return stack.inspect("web")["State"]["Health"]["Log"][-1]
