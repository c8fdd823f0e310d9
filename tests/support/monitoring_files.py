"""The files of docker-compose.monitoring.yml: alerts, and the queries of the dashboard."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OVERLAY = ROOT / "docker-compose.monitoring.yml"
FOLDER = ROOT / "deploy" / "monitoring"
RULES = FOLDER / "prometheus" / "rules.yml"
OPERATIONS = ROOT / "docs" / "operations.md"
_WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool"}


def rules() -> dict[str, str]:
    """The expression of each alert."""
    # The package of YAML is not among those of the tests. Each alert begins with its name, then has its expression.
    text = RULES.read_text()
    found = re.findall(r"- alert: (\w+)\n +expr: (?:\|\n((?: {10,}.+\n)+)|(.+)\n)", text)
    assert len(found) == text.count("- alert:")
    return {name: " ".join((block or line).split()) for name, block, line in found}


def queries() -> Iterator[tuple[str, str]]:
    """Each query of the dashboard, after the title of its panel."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def dashboard() -> dict[str, Any]:
    return json.loads((FOLDER / "grafana" / "dashboards" / "fullstack-app.json").read_text())


def metrics_of(query: str) -> set[str]:
    """The names of the metrics in a query."""
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", "", query)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    return {name for name in re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", bare) if name.lower() not in _WORDS}
