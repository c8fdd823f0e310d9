"""What the compose files and .env.example say, without starting anything."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.config import Settings, load_settings
from app.errors import SettingsError
from tests.stack.compose import ROOT, SERVICES, run

OLD_NAMES = {"BIND_ADDRESS", "START_TIMEOUT_S", "WRITE_LIMIT"}
"""Settings that were renamed, which the service refuses."""
NO_ENV = ("docker", "compose", "--env-file", "/dev/null", "-f", "docker-compose.yml")

pytestmark = pytest.mark.usefixtures("engine")


def config(*words: str) -> dict[str, Any]:
    return json.loads(run(*words, "config", "--format", "json").stdout)


def production(folder: Path) -> dict[str, Any]:
    env = folder / "env"
    env.write_text(
        "POSTGRES_PASSWORD=one\nREDIS_PASSWORD=two\nADMIN_EMAIL=a@example.org\nADMIN_PASSWORD=three\n"
        "SITE_ADDRESS=users.example.org\nDATABASE_URL=postgresql://me:four@db/five\n"
    )
    files = ("-f", "docker-compose.yml", "-f", "docker-compose.prod.yml")
    return config("docker", "compose", "--env-file", str(env), "--profile", "*", *files)


def test_the_stack_has_the_services_images_ports_and_variables_of_the_exercise() -> None:
    services = config(*NO_ENV)["services"]
    assert services.keys() == set(SERVICES)
    assert services["web"]["build"]["context"] == str(ROOT / "app")
    assert [services[name].get("image") for name in SERVICES] == [None, "postgres:16", "redis:8-alpine", "adminer"]
    published = {name: [port["published"] for port in services[name].get("ports", [])] for name in SERVICES}
    assert published == {"web": ["5000"], "db": [], "cache": ["6379"], "adminer": ["8080"]}
    assert services["web"]["environment"]["DATABASE_URL"] == "postgresql://postgres:password@db:5432/usersdb"
    assert services["web"]["environment"]["REDIS_HOST"] == "cache"
    assert services["db"]["environment"] == {
        "POSTGRES_USER": "postgres",
        "POSTGRES_PASSWORD": "password",
        "POSTGRES_DB": "usersdb",
        "PGDATA": "/var/lib/postgresql/data",
    }
    (volume,) = services["db"]["volumes"]
    assert (volume["source"], volume["target"]) == ("pgdata", "/var/lib/postgresql/data")


def test_what_web_needs_is_waited_for_until_it_is_healthy() -> None:
    services = config(*NO_ENV)["services"]
    waits = {name: services[name].get("depends_on", {}) for name in SERVICES}
    assert waits["web"].keys() == {"db", "cache"}
    assert waits["adminer"].keys() == {"db"}
    assert all(each["condition"] == "service_healthy" for wait in waits.values() for each in wait.values())


def test_nothing_obsolete_or_unshareable_is_in_the_files() -> None:
    for file in ROOT.glob("docker-compose*.yml"):
        assert not re.search(r"^\s*(version|container_name):", file.read_text(), re.MULTILINE), file


def test_the_example_of_settings_holds_the_defaults() -> None:
    example = ("docker", "compose", "--env-file", ".env.example", "-f", "docker-compose.yml")
    assert config(*example) == config(*NO_ENV)


def test_the_example_of_settings_names_every_variable_of_the_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    used = set(re.findall(r"\$\{([A-Z_]+)", text)) | set(re.findall(r"^ {6}([A-Z_]+):$", text, re.MULTILINE))
    named = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert used - OLD_NAMES == named


def test_every_setting_of_the_service_can_be_given() -> None:
    # Where the stack's own services are, is not for .env to say.
    fixed = {"REDIS_URL", "REDIS_HOST", "REDIS_PORT", "LISTEN_ADDRESS", "PORT"}
    given = config(*NO_ENV)["services"]["web"]["environment"].keys()
    settings = {name.upper() for name in Settings.model_fields}
    # The library reads the other variables of OpenTelemetry itself.
    of_library = {name for name in given - settings if name.startswith("OTEL_")}
    assert settings - fixed == given - fixed - OLD_NAMES - of_library


@pytest.mark.parametrize("name", sorted(OLD_NAMES))
def test_the_old_name_of_a_setting_reaches_the_service_which_refuses_it(name: str, tmp_path: Path) -> None:
    env = tmp_path / "env"
    env.write_text(f"{name}=0.0.0.0\n")
    services = config("docker", "compose", "--env-file", str(env), "-f", "docker-compose.yml")["services"]
    assert services["web"]["environment"][name] == "0.0.0.0"  # noqa: S104 - it is refused
    assert {port["host_ip"] for port in services["web"]["ports"]} == {"127.0.0.1"}
    with pytest.raises(SettingsError, match=name):
        load_settings({name: "0.0.0.0"})  # noqa: S104 - it is refused


def test_production_publishes_caddy_alone_and_has_adminer_behind_a_profile(tmp_path: Path) -> None:
    services = production(tmp_path)["services"]
    assert services["adminer"]["profiles"] == ["admin"]
    always = {name: service.get("ports", []) for name, service in services.items() if not service.get("profiles")}
    assert {name for name, ports in always.items() if ports} == {"caddy"}
    published = {(port["published"], port["target"], port["protocol"]) for port in always["caddy"]}
    assert published == {("80", 80, "tcp"), ("443", 443, "tcp"), ("443", 443, "udp")}
    assert {port["host_ip"] for port in services["adminer"]["ports"]} == {"127.0.0.1"}


def test_production_has_its_passwords_in_files_alone(tmp_path: Path) -> None:
    for service in production(tmp_path)["services"].values():
        environment = service.get("environment", {})
        assert not {"DATABASE_URL", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "ADMIN_PASSWORD"} & environment.keys()


@pytest.mark.parametrize("missing", ["ADMIN_EMAIL", "SITE_ADDRESS"])
def test_production_names_a_missing_variable(missing: str, tmp_path: Path) -> None:
    given = {"ADMIN_EMAIL": "a@example.org", "SITE_ADDRESS": "users.example.org"}
    env = tmp_path / "env"
    env.write_text("".join(f"{name}={value}\n" for name, value in given.items() if name != missing))
    files = ("-f", "docker-compose.yml", "-f", "docker-compose.prod.yml")
    refused = run("docker", "compose", "--env-file", str(env), *files, "config", check=False)
    assert refused.returncode != 0
    assert f"required variable {missing} is missing" in refused.stderr
