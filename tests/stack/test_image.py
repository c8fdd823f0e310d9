"""What the image holds, and how little each container may do."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.stack.compose import ROOT, SERVICES, Stack, run

_BASE = "python:3.13-slim"
_MIB = 2**20


def image(name: str) -> dict[str, Any]:
    return json.loads(run("docker", "image", "inspect", name).stdout)[0]


def inside(stack: Stack, script: str) -> str:
    """What a line of shell prints in a fresh container of the image, as root."""
    name = stack.inspect("web")["Image"]
    return run("docker", "run", "--rm", "--network", "none", "--user", "0", name, "sh", "-c", script).stdout


def test_the_image_is_less_than_200_mb_over_its_base(stack: Stack) -> None:
    over = image(stack.inspect("web")["Image"])["Size"] - image(_BASE)["Size"]
    assert 0 < over < 200e6


def test_the_image_runs_as_a_numbered_user_and_gets_signals_itself(stack: Stack) -> None:
    config = image(stack.inspect("web")["Image"])["Config"]
    user, group = config["User"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert config["Cmd"] == ["python", "-m", "app"]
    assert not config.get("Entrypoint")
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT"


def test_no_compiler_no_pip_cache_and_no_pip_of_its_own_is_in_the_image(stack: Stack) -> None:
    assert inside(stack, "command -v cc gcc c++ g++ clang make ld; true") == ""
    assert inside(stack, "ls -d /root/.cache/pip /tmp/pip* /opt/venv/bin/pip* 2>/dev/null; true") == ""
    # Debian's pip for the system's Python is the base's own.
    assert inside(stack, "find /opt /srv -name '*.whl' -o -name '*.tar.gz'") == ""


def test_only_what_serves_is_in_the_image(stack: Stack) -> None:
    there = set(inside(stack, "cd /srv/app && find . -type f -not -name '*.pyc'").split())
    assert {"./__main__.py", "./migrations/env.py", "./migrations/script.py.mako"} <= there
    tracked = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT / "app").stdout.split()
    assert there <= {f"./{name}" for name in tracked}
    assert not {"./Dockerfile", "./.dockerignore", "./requirements.in"} & there


def test_all_is_compiled_at_build(stack: Stack) -> None:
    script = "find /srv/app -name '*.py' | wc -l; find /srv/app -name '*.pyc' | wc -l"
    sources, compiled = inside(stack, script).split()
    assert sources == compiled


def test_a_change_of_the_source_leaves_the_layer_of_the_packages_as_it_is(stack: Stack, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "app" / "version.py").open("a") as source:
        source.write("# changed\n")
    tag = f"{stack.name}-changed"
    run("docker", "build", "-q", "-t", tag, str(tmp_path / "app"), timeout=600)
    try:
        changed = image(tag)["RootFS"]["Layers"]
    finally:
        run("docker", "image", "rm", tag)
    layers, base = image(stack.inspect("web")["Image"])["RootFS"]["Layers"], image(_BASE)["RootFS"]["Layers"]
    # The base, the user and the packages.
    same = len(base) + 2
    assert changed[:same] == layers[:same]
    assert changed != layers


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_has_the_least_it_can_live_with(stack: Stack, service: str) -> None:
    inspected = stack.inspect(service)
    host = inspected["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Init"] is True
    assert 0 < host["Memory"] <= 1024 * _MIB
    assert host["PidsLimit"] > 0
    assert host["LogConfig"]["Config"].keys() == {"max-size", "max-file"}
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    lines = stack.sh(service, "cat /proc/1/status").stdout.splitlines()
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    assert 0 not in [int(uid) for uid in status["Uid"].split()]
    assert 0 not in [int(gid) for gid in status["Gid"].split()]
    assert [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")] == [0, 0, 0, 0]
    assert status["NoNewPrivs"].strip() == "1"
    assert stack.sh(service, "touch /here", check=False).returncode != 0
    assert stack.sh(service, "touch /usr/here", check=False).returncode != 0


def test_all_is_published_on_loopback_and_the_database_not_at_all(stack: Stack) -> None:
    bindings = {service: stack.inspect(service)["NetworkSettings"]["Ports"] for service in SERVICES}
    hosts = {
        service: [one["HostIp"] for ports in bound.values() for one in ports or []]
        for service, bound in bindings.items()
    }
    assert hosts == {"web": ["127.0.0.1"], "db": [], "cache": ["127.0.0.1"], "adminer": ["127.0.0.1"]}


def test_only_who_needs_a_service_is_on_a_network_with_it(stack: Stack) -> None:
    networks = {service: set(stack.inspect(service)["NetworkSettings"]["Networks"]) for service in SERVICES}
    neighbours = {one: {other for other in SERVICES if networks[one] & networks[other]} - {one} for one in SERVICES}
    assert neighbours == {
        "web": {"db", "cache", "adminer"},
        "db": {"web", "adminer"},
        "cache": {"web"},
        "adminer": {"db", "web"},
    }
    assert json.loads(run("docker", "network", "inspect", f"{stack.name}_database").stdout)[0]["Internal"] is True


def test_web_has_more_time_to_stop_than_it_takes(stack: Stack) -> None:
    assert stack.inspect("web")["Config"]["StopTimeout"] > 10
    assert stack.inspect("db")["Config"]["StopTimeout"] >= 30
