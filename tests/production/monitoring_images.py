"""The images that stand in for those of docker-compose.monitoring.yml."""

from pathlib import Path
from typing import Any

from tests.stack.compose import ROOT, run
from tests.support.monitoring_files import FOLDER

PROGRAMS = ("prometheus", "alertmanager", "postgres-exporter", "redis-exporter", "node-exporter", "blackbox-exporter")
IMAGES = {f"{name.upper().replace('-', '_')}_IMAGE": f"fullstack-app-test-{name}" for name in PROGRAMS}
"""Debian has no package of Grafana, so its container is never started by the tests."""
_PROMETHEUS = IMAGES["PROMETHEUS_IMAGE"]


def build_images() -> None:
    context = str(ROOT / "tests" / "production" / "images" / "monitoring")
    for name in PROGRAMS:
        run("docker", "build", "-q", "-t", f"fullstack-app-test-{name}", "--target", name, context, timeout=900)


def promtool(*words: str, folder: Path = FOLDER / "prometheus", **kwargs: Any) -> Any:
    """Run promtool on the files of `folder`, which it sees as /etc/prometheus."""
    mount = ("-v", f"{folder}:/etc/prometheus:ro", "--entrypoint", "promtool")
    return run("docker", "run", "--rm", "--network", "none", *mount, _PROMETHEUS, *words, **kwargs)
