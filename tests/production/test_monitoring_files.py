"""The alerts by promtool, the receiver of alerts, and what docker-compose.monitoring.yml publishes and demands."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from monitoring_images import IMAGES, build_images, promtool

from tests.stack.compose import ENVIRON, ROOT, run
from tests.support.monitoring_files import FOLDER, OVERLAY

_REQUIRED = {"SITE_ADDRESS": "users.example.org", "ADMIN_EMAIL": "a@example.org", "ALERT_RECEIVER": "webhook"}
_URL = "https://hooks.example.org/services/secret"
_READ_SECRET = ("-v", f"{ROOT}/deploy/read-secret:/usr/local/bin/read-secret:ro")


@pytest.fixture(scope="module", autouse=True)
def images(engine: None) -> None:  # noqa: ARG001
    build_images()


# --- rules ------------------------------------------------------------------------------------------------------------


def test_each_alert_fires_and_ends() -> None:
    promtool("check", "rules", "/etc/prometheus/rules.yml")
    promtool("test", "rules", "/etc/prometheus/rules.test.yml")


def test_the_configuration_of_prometheus_is_valid() -> None:
    promtool("check", "config", "/etc/prometheus/prometheus.yml")


# --- the receiver of alerts -------------------------------------------------------------------------------------------


def start(folder: Path, secret: bytes, watchdog: bytes = b"", **settings: str) -> subprocess.CompletedProcess[str]:
    """Check the settings as check-alerts does, and print the configuration."""
    (folder / "alert_secret").write_bytes(secret)
    (folder / "alert_watchdog").write_bytes(watchdog)
    folder.chmod(0o755)
    mounts = ("-v", f"{FOLDER}/alertmanager:/etc/alertmanager:ro", "-v", f"{folder}:/run/secrets:ro", "--tmpfs", "/tmp")  # noqa: S108
    environ = [word for name, value in settings.items() for word in ("-e", f"{name}={value}")]
    script = "sh /etc/alertmanager/start check && cat /tmp/alertmanager/alertmanager.yml"
    words = (
        "--network",
        "none",
        "--read-only",
        *_READ_SECRET,
        *mounts,
        *environ,
        "--entrypoint",
        "sh",
        IMAGES["ALERTMANAGER_IMAGE"],
    )
    return run("docker", "run", "--rm", *words, "-c", script, check=False)


@pytest.mark.parametrize("secret", [f"{_URL}\n".encode(), b"\xef\xbb\xbf" + f"{_URL}\r\n".encode()])
def test_alerts_are_sent_to_a_webhook_whose_url_stays_in_a_file(tmp_path: Path, secret: bytes) -> None:
    done = start(tmp_path, secret, ALERT_RECEIVER="webhook")
    assert done.returncode == 0, done.stderr
    assert "url_file: /tmp/alertmanager/receiver" in done.stdout
    assert "hooks.example.org" not in done.stdout


def test_alerts_are_sent_by_email(tmp_path: Path) -> None:
    settings = {"ALERT_RECEIVER": "o'hara@example.org", "ALERT_SMTP": "mail.example.org:587"}
    done = start(tmp_path, b"the 'password'\n", **settings)
    assert done.returncode == 0, done.stderr
    assert "to: 'o''hara@example.org'" in done.stdout
    assert "smarthost: 'mail.example.org:587'" in done.stdout
    assert "auth_username: 'o''hara@example.org'" in done.stdout
    assert "password'" not in done.stdout


def test_the_watchdog_is_sent_to_a_url_of_its_own(tmp_path: Path) -> None:
    done = start(tmp_path, _URL.encode(), b"https://alive.example.org/secret\n", ALERT_RECEIVER="webhook")
    assert done.returncode == 0, done.stderr
    assert "url_file: /tmp/alertmanager/watchdog" in done.stdout
    assert "alive.example.org" not in done.stdout


@pytest.mark.parametrize(
    ("settings", "secret", "problem"),
    [
        ({}, _URL, "ALERT_RECEIVER must be an email address, or webhook"),
        ({"ALERT_RECEIVER": "pager"}, _URL, "ALERT_RECEIVER must be an email address, or webhook"),
        ({"ALERT_RECEIVER": "webhook"}, "", "the secret alert_secret is empty"),
        ({"ALERT_RECEIVER": "webhook"}, "hooks.example.org", "alert_secret must be the URL of the webhook"),
        ({"ALERT_RECEIVER": "ops@example.org"}, "password", "ALERT_SMTP is missing"),
        ({"ALERT_RECEIVER": "ops@example.org", "ALERT_SMTP": "mail.example.org"}, "password", "missing port"),
    ],
)
def test_without_a_receiver_the_start_is_refused(
    tmp_path: Path, settings: Mapping[str, str], secret: str, problem: str
) -> None:
    done = start(tmp_path, secret.encode(), **settings)
    assert done.returncode == 1
    assert problem in done.stderr
    assert "hooks.example.org" not in done.stderr


@pytest.mark.parametrize("password", ["with a 'blank'\n", "\N{ZERO WIDTH NO-BREAK SPACE}blank\r\n"])
def test_a_password_that_the_exporter_misreads_is_refused(tmp_path: Path, password: str) -> None:
    (tmp_path / "postgres_password").write_text("unused\n")
    (tmp_path / "monitoring_password").write_text(password, newline="")
    tmp_path.chmod(0o755)
    mounts = ("-v", f"{FOLDER}/role:/role:ro", "-v", f"{tmp_path}:/run/secrets:ro", "-e", "POSTGRES_USER=x")
    done = run(
        "docker", "run", "--rm", *_READ_SECRET, *mounts, "--entrypoint", "bash", "postgres:16", "/role", check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Refused: the secret monitoring_password must have letters, digits")
    assert "blank" not in done.stderr


# --- the overlay ------------------------------------------------------------------------------------------------------


def config(environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    files = [part for name in ("", ".prod", ".monitoring") for part in ("-f", f"docker-compose{name}.yml")]
    words = ("docker", "compose", "--env-file", "/dev/null", "--profile", "*", *files, "config", "--format", "json")
    return subprocess.run(words, cwd=ROOT, env=ENVIRON | environ, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    done = config(_REQUIRED)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]


def test_a_missing_receiver_is_named() -> None:
    done = config({**_REQUIRED, "ALERT_RECEIVER": ""})
    assert done.returncode != 0
    assert "ALERT_RECEIVER" in done.stderr
    assert "must be an email address, or webhook" in done.stderr


def test_only_grafana_is_published_and_only_on_this_machine(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if service.get("ports")}
    assert {port["published"] for port in published.pop("caddy")} == {"80", "443"}
    (grafana,) = published.pop("grafana")
    assert (grafana["host_ip"], grafana["published"], grafana["target"]) == ("127.0.0.1", "3000", 3000)
    # On demand.
    assert published.keys() == {"adminer"}


def test_each_container_is_hardened_and_limited(services: dict[str, Any]) -> None:
    ours = set(re.findall(r"^  ([a-z-]+):\n    <<:", OVERLAY.read_text(), re.MULTILINE))
    assert ours >= {name.lower().removesuffix("_image").replace("_", "-") for name in IMAGES} | {"grafana"}
    for name in ours:
        service = services[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["pids_limit"], name
        assert service["mem_limit"], name
        assert service["restart"] == "no" or service["healthcheck"]["test"], name
        assert service["restart"] == "no" or service["logging"]["options"]["max-size"] == "10m", name


def test_each_secret_is_checked_before_the_start(services: dict[str, Any]) -> None:
    used = {secret["source"] for name in services for secret in services[name].get("secrets", [])}
    # Those of the profile for backups are checked if they are there. The file of the watchdog may be empty.
    elsewhere = {"backup_key", "backup_password", "alert_watchdog"}
    assert used - elsewhere == set(services["check-secrets"]["command"])


def test_no_secret_is_in_an_environment(services: dict[str, Any]) -> None:
    ours = set(re.findall(r"^  ([a-z-]+):\n    <<:", OVERLAY.read_text(), re.MULTILINE))
    named = {name for service in ours for name in services[service].get("environment", {})}
    assert {name for name in named if re.search("PASS|SECRET|TOKEN|URL", name)} == {
        "DATA_SOURCE_PASS_FILE",
        "GF_SECURITY_ADMIN_PASSWORD__FILE",
    }


def test_web_serves_its_metrics_to_the_internal_network(services: dict[str, Any]) -> None:
    for name in ("web", "web2"):
        assert services[name]["environment"]["METRICS_PORT"] == "9464"
        assert {"monitoring", "proxy", "database"} <= services[name]["networks"].keys()
    # Caddy reaches web only from the network whose addresses web trusts.
    assert services["caddy"]["networks"].keys() == {"proxy", "probe"}
    assert "probe" not in services["web"]["networks"]
