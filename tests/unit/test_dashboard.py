"""The dashboard, and how Grafana finds it. Grafana itself is not to be had here: the files are checked without it."""

import re
from collections import Counter

from tests.support.monitoring_files import FOLDER, OPERATIONS, OVERLAY, dashboard, metrics_of, queries, rules

_SUFFIX = re.compile(r"_(bucket|sum|count)$")


def test_each_panel_has_an_id_a_place_and_a_query() -> None:
    panels = dashboard()["panels"]
    assert all(count == 1 for count in Counter(panel["id"] for panel in panels).values())
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + column, place["y"] + line) for column in range(place["w"]) for line in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(column for column, _ in cells) < 24, panel["title"]
        taken |= cells
    shown = {panel["title"] for panel in panels if panel["type"] != "row"}
    assert {title for title, _ in queries()} == shown
    assert {panel["type"] for panel in panels} == {"row", "stat", "timeseries", "table"}


def test_each_panel_reads_the_provisioned_source() -> None:
    source = (FOLDER / "grafana" / "datasources" / "prometheus.yml").read_text()
    (uid,) = re.findall(r"^ +uid: (.+)$", source, re.MULTILINE)
    (kind,) = re.findall(r"^ +type: (.+)$", source, re.MULTILINE)
    for panel in dashboard()["panels"]:
        for part in (panel, *panel.get("targets", [])):
            if panel["type"] != "row":
                assert part["datasource"] == {"type": kind, "uid": uid}
    assert "url: http://prometheus:9090\n" in source


def test_grafana_finds_the_dashboard_where_the_overlay_puts_it() -> None:
    provider = (FOLDER / "grafana" / "providers" / "fullstack-app.yml").read_text()
    (path,) = re.findall(r"^ +path: (.+)$", provider, re.MULTILINE)
    overlay = OVERLAY.read_text()
    mounts = dict(re.findall(r"source: (\./deploy/monitoring/grafana/\w+), target: ([\w/-]+),", overlay))
    assert mounts == {
        "./deploy/monitoring/grafana/datasources": "/etc/grafana/provisioning/datasources",
        "./deploy/monitoring/grafana/providers": "/etc/grafana/provisioning/dashboards",
        "./deploy/monitoring/grafana/dashboards": path,
    }
    assert f"GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH: {path}/fullstack-app.json\n" in overlay


def test_alerts_and_dashboard_use_metrics_of_the_service_that_the_docs_list() -> None:
    documented = set(re.findall(r"`(fullstack_app_\w+)`", OPERATIONS.read_text()))
    used = {name for query in (*rules().values(), *(query for _, query in queries())) for name in metrics_of(query)}
    ours = {_SUFFIX.sub("", name) for name in used if name.startswith("fullstack_app_")}
    assert len(ours) > 15
    assert ours <= documented
