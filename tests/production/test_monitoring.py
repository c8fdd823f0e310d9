"""docker-compose.monitoring.yml, started: what Prometheus reads, and alerts that fire, end and reach their receiver.

Intervals and durations are seconds instead of minutes. Grafana is left out: its image is not to be had here.
"""

import json
import re
import shutil
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from monitoring_images import IMAGES, build_images

from tests.stack.compose import Stack, run, wait_until
from tests.stack.production_stack import ADMIN, SECRETS, ProductionStack, write_secrets
from tests.support.backup_files import good_status
from tests.support.monitoring_files import FOLDER, OVERLAY, metrics_of, queries, rules

_SECRETS = {
    **SECRETS,
    "alert_secret": "http://receiver:8000/a-secret-path",
    "monitoring_password": "4f1b0c3a2d5e6f708192a3b4",
    "grafana_password": "a password of grafana",
}
_RECEIVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        print("got", self.path, body, flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""
_SUFFIX = re.compile(r"_(bucket|sum|count)$")


def faster(folder: Path) -> Path:
    """The files of Prometheus with intervals and durations of seconds, and an overlay that uses them."""
    shutil.copytree(FOLDER / "prometheus", folder / "prometheus")
    settings, alerts = folder / "prometheus" / "prometheus.yml", folder / "prometheus" / "rules.yml"
    settings.write_text(re.sub(r"_(interval|timeout): \d+s", r"_\1: 2s", settings.read_text()))
    alerts.write_text(re.sub(r"\[\d+[mhd]\]", "[20s]", re.sub(r"\bfor: \d+[mh]\b", "for: 2s", alerts.read_text())))
    for path in (folder, folder / "prometheus", folder / "prometheus" / "hosts"):
        path.chmod(0o755)
    (folder / "receiver.py").write_text(_RECEIVER)
    overlay = folder / "faster.yml"
    overlay.write_text(f"""
services:
  prometheus:
    volumes:
      - {{type: bind, source: {folder}/prometheus, target: /etc/prometheus, read_only: true}}
  node-exporter:
    # The root of this machine may be a private mount.
    volumes: !override
      - {{type: bind, source: /, target: /host, read_only: true}}
  blackbox-exporter:
    # The authority of the Caddy of this project.
    volumes:
      - {{type: bind, source: {folder}/authorities, target: /etc/authorities, read_only: true}}
  grafana:
    profiles: [never]
  receiver:
    image: python:3.13-slim
    init: true
    command: [python, /receiver.py]
    volumes:
      - {{type: bind, source: {folder}/receiver.py, target: /receiver.py, read_only: true}}
    networks: [alerts]
""")
    return overlay


@pytest.fixture(scope="module")
def stack(
    make_stack: Callable[..., Stack],
    caddy_image: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> ProductionStack:
    build_images()
    folder = tmp_path_factory.mktemp("monitoring")
    (folder / "authorities").mkdir(mode=0o755)
    stack = make_stack(
        *("monitoring", OVERLAY, faster(folder)),
        of=ProductionStack,
        SECRETS_DIR=str(write_secrets(folder / "secrets", _SECRETS)),
        ALERT_RECEIVER="webhook",
        ALERT_GROUP_WAIT="1s",
        ALERT_GROUP_INTERVAL="1s",
        **IMAGES,
    )
    assert isinstance(stack, ProductionStack)
    stack.up()
    shutil.copy(stack.authority(), folder / "authorities" / "caddy.crt")
    # It reads authorities when it starts.
    stack("restart", "blackbox-exporter")
    stack.sql("SELECT pg_create_physical_replication_slot('backup', true)")
    stack.sign_in(ADMIN, SECRETS["admin_password"])
    return stack


@pytest.fixture(autouse=True)
def whole(stack: ProductionStack) -> None:
    """Each test begins with all services, also after one that failed."""
    run("docker", "start", *(stack.container(name) for name in ("db", "cache", "web2", "caddy")))
    run("docker", "start", *(stack.container(name) for name in ("redis-exporter", "node-exporter")))


def prometheus(stack: Stack, path: str, **parameters: str) -> Any:
    """A response of the API of Prometheus, asked from its own container."""
    address = f"http://127.0.0.1:9090/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    answer = json.loads(stack("exec", "-T", "prometheus", "wget", "-q", "-O", "-", address).stdout)
    assert answer["status"] == "success", answer
    return answer["data"]


def query(stack: Stack, expression: str) -> list[dict[str, Any]]:
    return prometheus(stack, "query", query=expression)["result"]


def messages(stack: Stack, name: str, state: str) -> list[dict[str, Any]]:
    """The alerts of this name and state (firing, resolved) that have reached the receiver."""
    sent = [line.partition("{") for line in stack.log("receiver").splitlines() if line.startswith("got ")]
    assert all(path == "got /a-secret-path " for path, _, _ in sent)
    alerts = [alert for _, brace, rest in sent for alert in json.loads(brace + rest)["alerts"]]
    return [alert for alert in alerts if alert["labels"]["alertname"] == name and alert["status"] == state]


def wait_message(stack: Stack, name: str, state: str, before: int = 0) -> dict[str, Any]:
    what = f"the alert {name} is {state} at its receiver"
    return wait_until(lambda: messages(stack, name, state)[before:], what, 90)[-1]


@contextmanager
def expected(stack: Stack, *names: str) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Within the block these alerts fire, and after it they end. Yields what waits until one of them fires."""
    fired, ended = ({name: len(messages(stack, name, state)) for name in names} for state in ("firing", "resolved"))
    yield lambda name: wait_message(stack, name, "firing", fired[name])
    for name in names:
        wait_message(stack, name, "resolved", ended[name])


def write_status(stack: Stack, **sections: Any) -> None:
    """Write a status of the backups, as the service `backup` does."""
    volume = ("-v", f"{stack.name}_backup_status:/status", "--entrypoint", "sh", "postgres:16")
    script = "cat >/status/new && mv /status/new /status/backup.json"
    run(
        "docker",
        "run",
        "--rm",
        "-i",
        "--user",
        "root",
        *volume,
        "-c",
        script,
        input=json.dumps(good_status(**sections)),
    )


def test_prometheus_reads_each_target(stack: ProductionStack) -> None:
    def all_up() -> bool:
        found = {(one["metric"]["job"], one["metric"]["instance"]): one["value"][1] for one in query(stack, "up")}
        jobs = {job for job, _ in found}
        assert jobs == {"fullstack-app", "postgres", "redis", "node", "site", "prometheus", "alertmanager"}
        return set(found.values()) == {"1"}

    wait_until(all_up, "all targets are up")
    assert len(query(stack, 'up{job="fullstack-app"}')) == 2
    wait_until(lambda: query(stack, 'probe_success{job="site"} == 1'), "the site is probed over https")
    assert query(stack, "pg_up == 1")
    assert query(stack, "redis_up == 1")


def test_metrics_are_not_reachable_from_outside(stack: ProductionStack) -> None:
    published = stack.published_ports()
    assert published.pop("caddy") == {"80/tcp", "443/tcp", "443/udp"}
    assert published.keys() >= {"web", "web2", "prometheus", "alertmanager", "node-exporter"}
    assert not any(published.values())
    for path in ("/metrics", "/api/metrics"):
        assert stack.get(path, headers={"Cookie": ""}).status in (401, 404)


def test_the_role_of_the_exporter_reads_statistics_and_no_tables(stack: ProductionStack) -> None:
    attributes = "rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
    assert stack.sql(f"SELECT {attributes} FROM pg_roles WHERE rolname = 'monitoring'") == "f|f|f|f|f"  # noqa: S608
    assert stack.sql("SELECT pg_has_role('monitoring', 'pg_monitor', 'member')") == "t"
    for table in ("users", "tokens", "history"):
        assert stack.sql(f"SELECT has_table_privilege('monitoring', '{table}', 'SELECT')") == "f"


def test_each_query_of_alerts_and_dashboard_finds_its_metrics(stack: ProductionStack) -> None:
    write_status(stack)
    wait_until(lambda: query(stack, "fullstack_app_backup_failed == 0"), "the status of the backups is read")
    wait_until(lambda: query(stack, "pg_replication_slots_active"), "the slot is seen")
    # A family without a sample, such as refused requests, has metadata.
    known = {*prometheus(stack, "label/__name__/values"), *prometheus(stack, "metadata")}
    asked = [*rules().items(), *((title, text.replace("$__rate_interval", "1m")) for title, text in queries())]
    missing: dict[str, set[str]] = {}
    for title, expression in asked:
        prometheus(stack, "query", query=expression)
        used = {_SUFFIX.sub("", name) if _SUFFIX.sub("", name) in known else name for name in metrics_of(expression)}
        if used - known:
            missing[title] = used - known
    assert missing == {}


def test_the_watchdog_reaches_the_receiver(stack: ProductionStack) -> None:
    alert = wait_message(stack, "Watchdog", "firing")
    assert alert["annotations"]["runbook_url"] == "docs/operations.md#watchdog"
    assert not messages(stack, "Watchdog", "resolved")
    assert "a-secret-path" not in stack.log("alertmanager")
    assert "a-secret-path" not in json.dumps(stack.inspect("alertmanager"))


def test_a_replica_that_is_gone(stack: ProductionStack) -> None:
    with expected(stack, "ReplicaDown") as fires:
        stack("stop", "web2")
        alert = fires("ReplicaDown")
        assert alert["annotations"]["summary"] == "The replica web2:9464 is gone"
        stack("start", "web2")


def test_an_exporter_and_a_host_that_are_gone(stack: ProductionStack) -> None:
    with expected(stack, "ExporterDown", "HostDown") as fires:
        stack("stop", "redis-exporter", "node-exporter")
        fires("ExporterDown")
        fires("HostDown")
        stack("start", "redis-exporter", "node-exporter")


def test_redis_that_is_down(stack: ProductionStack) -> None:
    with expected(stack, "RedisDown", "DependencyDown") as fires:
        stack("stop", "cache")
        fires("RedisDown")
        fires("DependencyDown")
        stack("start", "cache")


def test_postgresql_that_is_down_and_the_errors_of_the_service(stack: ProductionStack) -> None:
    # The session of before ended with Redis.
    stack.sign_in(ADMIN, SECRETS["admin_password"])
    with expected(stack, "DatabaseDown", "HighErrorRate", "CircuitBreakerOpen") as fires:
        stack("stop", "db")
        # Requests that need the database.
        asked = {"DatabaseDown": 0, "HighErrorRate": 20, "CircuitBreakerOpen": 20}
        for name, count in asked.items():
            assert all(stack.get(f"/api/users?q={name}-{number}").status == 503 for number in range(count))
            fires(name)
        stack("start", "db")
        stack.wait_for_check("db", "healthy")
        wait_until(lambda: stack.get("/api/users").status in (200, 401), "the service answers again")


def test_a_site_that_does_not_answer(stack: ProductionStack) -> None:
    with expected(stack, "SiteDown") as fires:
        stack("stop", "caddy")
        fires("SiteDown")
        stack("start", "caddy")


def test_a_replication_slot_that_nobody_reads(stack: ProductionStack) -> None:
    ended = len(messages(stack, "ReplicationSlotInactive", "resolved"))
    stack.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    wait_message(stack, "ReplicationSlotInactive", "resolved", ended)
    with expected(stack, "ReplicationSlotInactive") as fires:
        stack.sql("SELECT pg_create_physical_replication_slot('again', true)")
        assert fires("ReplicationSlotInactive")["labels"]["slot_name"] == "again"
        stack.sql("SELECT pg_drop_replication_slot('again')")


def test_a_backup_that_fails_or_is_old(stack: ProductionStack) -> None:
    # The status of an earlier test is too old by now, so the alert fires.
    write_status(stack)
    wait_until(lambda: not query(stack, 'ALERTS{alertname="BackupFailed"}'), "the backups are good")
    with expected(stack, "BackupFailed") as fires:
        old = {"id": "a", "finished_at": "2026-01-01T00:00:00+00:00", "bytes": 9, "duration_s": 1.0}
        write_status(stack, failure={"at": "2026-01-02T00:00:00+00:00", "reason": "a reason"}, full=old)
        fires("BackupFailed")
        write_status(stack)


def test_a_certificate_that_expires_soon(stack: ProductionStack) -> None:
    # Caddy's own authority issues it for 12 hours. Here the time in which it may be renewed is 20 s, not a day.
    alert = wait_message(stack, "CertificateExpiresSoon", "firing")
    assert alert["labels"]["severity"] == "critical"
