"""The alerts: each has a test, and a line in the docs. tests/production/test_monitoring_files.py runs the tests."""

import re

from tests.support.monitoring_files import FOLDER, OPERATIONS, RULES, metrics_of, rules


def test_each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_has_ended() -> None:
    text = (FOLDER / "prometheus" / "rules.test.yml").read_text()
    expected = re.findall(r'alertname="(\w+)", alertstate="firing"}\)\', eval_time: \w+, exp_samples: (\[.*\])}', text)
    assert {name for name, samples in expected if samples != "[]"} == rules().keys()
    # The watchdog never ends.
    assert {name for name, samples in expected if samples == "[]"} == rules().keys() - {"Watchdog"}


def test_each_alert_says_what_it_means_and_where_to_read_on() -> None:
    blocks = RULES.read_text().split("- alert: ")[1:]
    for block in blocks:
        name = block.split("\n", 1)[0]
        assert re.search(r"\n +for: \d+[smh]\n", block), name
        assert re.search(r"\n +labels: {severity: (critical|warning|none)}\n", block), name
        assert re.search(r"\n +summary: .+\n +description: .+\n", block), name
        assert f"runbook_url: docs/operations.md#{name.lower()}\n" in block, name
    documented = re.findall(r'^\| <a id="(\w+)"></a>(\w+) \| .+ \| .+ \|$', OPERATIONS.read_text(), re.MULTILINE)
    assert [name for _, name in documented] == [block.split("\n", 1)[0] for block in blocks]
    assert all(anchor == name.lower() for anchor, name in documented)


def test_names_of_metrics_are_found_in_queries() -> None:
    query = 'sum by (le) (rate(a_bucket{x="y", z=~"b|c"}[5m])) / on (job) b_total unless changes(c[1d]) > 0.5 * 1e3'
    assert metrics_of(query) == {"a_bucket", "b_total", "c"}
