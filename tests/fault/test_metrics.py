"""Metrics: each of docs/operations.md exists, and moves by what moves it."""

import re
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from embedded import Stack
from embedded.ports import free_port
from tests.support.backup_files import write_status
from tests.support.empty_tables import Cleaner
from tests.support.monitoring_files import metrics_of, queries, rules
from tests.support.scraping import Scrape, ask, metrics_port, scrape, wait_for_metrics
from tests.support.service_process import Service, first_administrator

OPERATIONS = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()
SECTION = OPERATIONS[OPERATIONS.index("## Metrics\n") :]
DOCUMENTED = set(re.findall(r"`((?:fullstack_app|process)_\w+)`", SECTION[: SECTION.index("\n## ")]))
PASSWORD = "correct horse battery"
BACKUP = re.compile(r"fullstack_app_backup_\w+")


class Site:
    """A service of two workers with an administrator, and its metrics."""

    def __init__(self, service: Service, port: str, headers: dict[str, str]) -> None:
        self.service, self.port, self.headers = service, port, headers

    def scrape(self) -> Scrape:
        return scrape(self.port)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> int:
        return self.service(method, path, body, {**self.headers, **headers}).status

    def create_user(self) -> str:
        created = self.service.post("/api/users", {"username": secrets.token_hex(8)}, headers=self.headers)
        assert created.status == 201, created.body
        return str(created.json["id"])


@pytest.fixture(scope="module")
def site(serve_all: Callable[..., Service], cleaner: Cleaner) -> Site:
    port = metrics_port()
    cleaner.empty()
    service = serve_all(
        WORKERS="2", WRITE_RATE_PER_MINUTE="100", DATABASE_POOL_SIZE="7", REDIS_TIMEOUT_MS="500", **port
    )
    wait_for_metrics(service, port["METRICS_PORT"])
    return Site(service, port["METRICS_PORT"], first_administrator(service))


def test_the_documented_metrics_are_those_that_exist(site: Site) -> None:
    documented = {name for name in DOCUMENTED if not BACKUP.fullmatch(name)}
    assert documented == site.scrape().types.keys()


def test_the_alerts_and_the_dashboard_use_metrics_that_exist() -> None:
    queried = set().union(*map(metrics_of, (*rules().values(), *(query for _, query in queries()))))
    own = {name for name in queried if name.startswith("fullstack_app_")}
    assert own
    assert {name.removesuffix("_bucket") for name in own} <= DOCUMENTED


def test_every_response_is_counted_by_both_workers_with_cached_ones(site: Site) -> None:
    path = f"/api/users/{site.create_user()}"
    before = site.scrape()
    for _ in range(200):
        assert site.ask("GET", path) == 200
    after = site.scrape()
    changes = {
        tuple(sample.labels[name] for name in ("interface", "method", "route", "status", "cached")): change
        for sample in after.find("http_requests_total")
        if (change := sample.value - before.count("http_requests_total", **sample.labels))
    }
    kind = ("api", "GET", "/api/users/<user_id>", "200")
    assert changes.keys() == {(*kind, "true"), (*kind, "false")}
    assert sum(changes.values()) == 200
    hits = changes[*kind, "true"]
    assert hits >= 150
    durations = "http_request_duration_seconds_count"
    assert after.total(durations) - before.total(durations) == 200
    of_hits = {"cache": "response", "result": "hit"}
    assert after.total("cache_reads_total", **of_hits) - before.total("cache_reads_total", **of_hits) == hits


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/api/health/ready", {"interface": "health", "route": "/api/health/ready", "status": "200"}),
        ("GET", "/health", {"interface": "health", "route": "/health", "status": "200"}),
        ("GET", "/users", {"interface": "api", "route": "/users", "status": "200"}),
        ("GET", "/people", {"interface": "console", "route": "/people"}),
        ("GET", "/api/{random}", {"interface": "api", "route": "", "status": "404"}),
        ("GET", "/{random}", {"interface": "console", "route": "", "status": "404"}),
        ("BREW", "/api/{random}", {"interface": "api", "route": "", "method": "other"}),
        ("DELETE", "/api/users", {"interface": "api", "route": "", "status": "405", "method": "DELETE"}),
        ("POST", "/api/users", {"interface": "api", "route": "/api/users", "status": "400", "method": "POST"}),
        ("OPTIONS", "/api/users", {"interface": "api", "route": "/api/users", "method": "OPTIONS"}),
        ("HEAD", "/api/users", {"interface": "api", "route": "/api/users", "status": "200", "method": "HEAD"}),
    ],
)
def test_a_response_has_known_labels(site: Site, method: str, path: str, labels: dict[str, str]) -> None:
    before = site.scrape()
    path = path.format(random=secrets.token_hex(8))
    if path == "/people":
        ask(site.service.port, method, path)
    else:
        site.ask(method, path, b"{" if method == "POST" else None, **{"Content-Type": "application/json"})
    after = site.scrape()
    given = {"method": method, "cached": "false", **labels}
    assert after.total("http_requests_total", **given) - before.count("http_requests_total", **given) == 1
    assert after.total("http_requests_total") - before.total("http_requests_total") == 1
    assert path in ("/api/users", "/users", "/people", "/health", "/api/health/ready") or path not in after.text


def test_labels_have_no_values_of_clients(site: Site) -> None:
    for number in range(30):
        site.ask(f"M{number}", f"/api/{secrets.token_hex(4)}")
        site.ask("GET", f"/{secrets.token_hex(4)}")
    first = len(site.scrape().samples)
    for number in range(30, 60):
        site.ask(f"M{number}", f"/api/{secrets.token_hex(4)}")
        site.ask("GET", f"/{secrets.token_hex(4)}")
    assert len(site.scrape().samples) == first


def test_transactions_and_errors_of_the_database_are_counted(site: Site) -> None:
    before = site.scrape()
    name = secrets.token_hex(8)
    assert site.ask("POST", "/api/users", {"username": name}) == 201
    assert site.ask("POST", "/api/users", {"username": name}) == 409
    after = site.scrape()
    for metric, labels in (
        ("database_transactions_total", {"result": "committed"}),
        ("database_transactions_total", {"result": "rolled_back"}),
        ("database_errors_total", {"kind": "constraint"}),
    ):
        assert after.total(metric, **labels) > before.total(metric, **labels), (metric, labels)
    assert after.total("database_connections_in_use") == 0
    assert after.total("database_connections_limit") == 14


def test_sign_ins_and_limits_are_counted(site: Site) -> None:
    email = f"{secrets.token_hex(8)}@example.com"
    user = {"username": secrets.token_hex(8), "email": email, "password": PASSWORD}
    assert site.ask("POST", "/api/users", user) == 201
    origin = {"Origin": f"http://127.0.0.1:{site.service.port}"}
    before = site.scrape()
    signed_in = site.service.post("/api/session", {"email": email, "password": PASSWORD}, headers=origin)
    assert signed_in.status == 201
    statuses = [
        site.service.post("/api/session", {"email": email, "password": "wrong"}, headers=origin).status
        for _ in range(7)
    ]
    refused, limited = statuses.count(401), statuses.count(429)
    assert refused >= 1 <= limited
    after = site.scrape()
    changes = {
        result: after.total("sign_ins_total", result=result) - before.total("sign_ins_total", result=result)
        for result in ("succeeded", "refused", "limited")
    }
    assert changes == {"succeeded": 1, "refused": refused, "limited": limited}
    limits = [one.total("rate_limited_total", limit="sign-in") for one in (before, after)]
    assert limits[1] - limits[0] == limited
    assert after.total("sessions") == before.total("sessions") + 1


def test_writes_above_the_limit_are_counted(site: Site) -> None:
    user = site.create_user()
    token = site.service.post(
        "/api/tokens", {"name": "limited", "user_id": user, "role": "member"}, headers=site.headers
    ).json["token"]
    own = {"Authorization": f"Bearer {token}"}
    statuses = [site.ask("PATCH", f"/api/users/{user}", {"name": str(number)}, **own) for number in range(130)]
    assert 429 in statuses
    assert site.scrape().total("rate_limited_total", limit="writes") == statuses.count(429)


def test_reads_of_caches_are_counted(site: Site) -> None:
    before = site.scrape()
    for _ in range(2):
        site.ask("POST", "/api/users", {"username": secrets.token_hex(8)})
        for _ in range(8):
            site.ask("GET", "/api/users?q=maria")
    after = site.scrape()
    for cache, result in (
        *(("response", result) for result in ("hit", "miss", "bypass")),
        *(("local", result) for result in ("hit", "miss")),
    ):
        labels = {"cache": cache, "result": result}
        assert after.total("cache_reads_total", **labels) > before.total("cache_reads_total", **labels), labels


def test_reads_of_redis_are_counted(site: Site) -> None:
    path = f"/api/users?q={secrets.token_hex(4)}&limit=1"
    before = site.scrape()
    for _ in range(4):
        # Not a response of the response cache: the count of matches is read from Redis.
        assert site.ask("GET", path, Prefer="count=exact") == 200
    after = site.scrape()
    changes = {
        result: after.total("cache_reads_total", cache="redis", result=result)
        - before.total("cache_reads_total", cache="redis", result=result)
        for result in ("hit", "miss", "bypass")
    }
    assert changes["miss"] >= 1
    assert changes["hit"] >= 3
    assert changes["bypass"] == 0


def test_a_response_that_is_cached_for_one_user_is_one_read(site: Site) -> None:
    """Such a response is looked for under the role first."""
    for _ in range(50):
        assert site.ask("GET", "/api/me") == 200
    before = site.scrape()
    for _ in range(50):
        assert site.ask("GET", "/api/me") == 200
    after = site.scrape()
    for cache, result, change in (("response", "hit", 50), ("local", "hit", 100), ("local", "miss", 0)):
        labels = {"cache": cache, "result": result}
        found = after.total("cache_reads_total", **labels) - before.total("cache_reads_total", **labels)
        assert found == change, labels


def test_errors_of_a_route_begin_at_zero(site: Site) -> None:
    """Before its first request: rate() does not see the first value of a new series."""
    found = site.scrape()
    for method, route in (("DELETE", "/api/tokens/<token_id>"), ("POST", "/people/<user_id>/purge"), ("PUT", "")):
        statuses = {
            (one.labels["status"], one.value) for one in found.find("http_requests_total", method=method, route=route)
        }
        assert statuses == {("500", 0), ("503", 0)}, route


def test_the_state_of_the_service_is_seen(site: Site, servers: Stack) -> None:
    site.service.wait_for(
        lambda: site.ask("GET", "/api/users") and site.scrape().total("change_poller_lag_seconds") < 1
    )
    found = site.scrape()
    for service in ("database", "cache"):
        assert found.total("dependency_up", service=service) == 1
    assert {one.labels["name"]: one.value for one in found.find("circuit_breaker_open")} == dict.fromkeys(
        ("database", "cache", "sessions", "rate limits"), 0
    )
    (build,) = found.find("build_info")
    assert set(build.labels) == {"version", "python"}
    (migration,) = found.find("migration_info")
    with psycopg.connect(servers.postgres.url) as connection:
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchall()[0][0]
    assert migration.labels == {"revision": revision, "newest": revision}
    assert found.total("http_requests_in_flight") == 0
    assert found.total("http_requests_overloaded_total") == 0


def test_figures_of_processes_are_sums(site: Site) -> None:
    launcher = psutil.Process(site.service.process.pid)
    everyone = [launcher, *launcher.children()]
    assert len(everyone) == 5
    found = site.scrape()
    memory = sum(process.memory_info().rss for process in everyone)
    assert found.total("process_resident_memory_bytes") == pytest.approx(memory, rel=0.2)
    assert found.total("process_open_fds") == pytest.approx(sum(one.num_fds() for one in everyone), abs=12)
    assert found.total("process_start_time_seconds") == pytest.approx(launcher.create_time(), abs=2)
    cpu = sum(sum(one.cpu_times()[:2]) for one in everyone) + sum(launcher.cpu_times()[2:4])
    assert found.total("process_cpu_seconds_total") == pytest.approx(cpu, abs=0.5)


def test_the_state_of_the_backups_is_seen(serve: Callable[..., Service], tmp_path: Path) -> None:
    file, port = tmp_path / "status", metrics_port()
    service = serve(WORKERS="1", BACKUP_STATUS_FILE=str(file), **port)
    found = wait_for_metrics(service, port["METRICS_PORT"])
    assert found.total("backup_failed") == 1
    assert found.find("backup_last_success_timestamp_seconds") == []
    write_status(file)
    found = scrape(port["METRICS_PORT"])
    assert found.total("backup_failed") == 0
    hours = {"last_success": 4, "last_proof": 3, "archived_until": 0}
    for name, age_h in hours.items():
        moment = found.total(f"backup_{name}_timestamp_seconds")
        assert moment == pytest.approx(time.time() - 3600 * age_h, abs=60)
    assert {name for name in DOCUMENTED if BACKUP.fullmatch(name)} == {
        name for name in found.types if BACKUP.fullmatch(name)
    }


def test_only_the_metrics_are_served(site: Site) -> None:
    for method, path in (("GET", "/"), ("GET", "/api/users"), ("POST", "/metrics"), ("HEAD", "/metrics")):
        assert ask(site.port, method, path)[0] == 404
    assert site.ask("GET", "/metrics") == 404


def test_without_the_setting_there_is_no_metrics_process(serve: Callable[..., Service]) -> None:
    service = serve(WORKERS="1")
    children = psutil.Process(service.process.pid).children()
    assert len(children) == 2
    ports = {
        one.laddr.port
        for process in (psutil.Process(service.process.pid), *children)
        for one in process.net_connections("tcp")
        if one.status == "LISTEN"
    }
    assert ports == {service.port}


def test_a_metrics_port_that_is_in_use_is_refused(serve: Callable[..., Service]) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as other:
        port = other.getsockname()[1]
        service = serve(ready=False, METRICS_PORT=str(port))
        assert service.process.wait(15) == 1
    (refused,) = [event for event in service.events if event["event"] == "start_refused"]
    assert f"port {port} (LISTEN_ADDRESS, METRICS_PORT)" in refused["cause"]
