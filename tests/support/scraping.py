"""Reads the metrics of a service like Prometheus."""

import http.client
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from embedded.ports import free_port
from tests.support.service_process import Service


@dataclass(frozen=True)
class Scrape:
    """The samples of one scrape. types: the type of each metric by the name that Prometheus shows."""

    samples: tuple[Sample, ...]
    types: dict[str, str]
    text: str

    def total(self, metric: str, /, **labels: str) -> float:
        """The sum of the samples with these labels. There must be one."""
        found = self.find(metric, **labels)
        assert found, f"{metric} {labels} is missing"
        return sum(sample.value for sample in found)

    def count(self, metric: str, /, **labels: str) -> float:
        """The same; 0, if there is none."""
        return sum(sample.value for sample in self.find(metric, **labels))

    def find(self, metric: str, /, **labels: str) -> list[Sample]:
        """The samples with these labels."""
        names = (metric, f"fullstack_app_{metric}")
        return [one for one in self.samples if one.name in names and labels.items() <= one.labels.items()]


def metrics_port() -> dict[str, str]:
    """The setting of a free port."""
    return {"METRICS_PORT": str(free_port())}


def scrape(port: str | int, timeout: float = 5) -> Scrape:
    """The metrics, in a valid format. Raises: OSError"""
    status, body = ask(port, timeout=timeout)
    assert status == 200, body
    families = list(text_string_to_metric_families(body))
    names = [f"{family.name}_total" if family.type == "counter" else family.name for family in families]
    assert len(set(names)) == len(names), "a metric has two parts"
    assert all(family.documentation for family in families)
    types = dict(zip(names, (family.type for family in families), strict=True))
    return Scrape(tuple(sample for family in families for sample in family.samples), types, body)


def ask(port: str | int, method: str = "GET", path: str = "/metrics", timeout: float = 5) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=timeout)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def wait_for_metrics(service: Service, port: str | int) -> Scrape:
    """The first scrape, after the service has served its first metrics."""
    service.wait_for(lambda: scrape(port))
    return scrape(port)
