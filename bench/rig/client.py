"""One keep-alive connection to a service, which measures times."""

import http.client
import time
from dataclasses import dataclass

import orjson

from embedded.ports import HOST


@dataclass(frozen=True)
class Answer:
    """A response, and the ms from the first byte sent to the last byte read."""

    ms: float
    status: int
    body: bytes
    links: str

    @property
    def rows(self) -> int:
        """The number of users in it."""
        users = orjson.loads(self.body)
        return len(users) if isinstance(users, list) else 1

    @property
    def has_next(self) -> bool:
        """Whether it has a link to a next page."""
        return 'rel="next"' in self.links


class Client:
    """Sends one request after another."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=30)

    def get(self, path: str, prefer: str | None = None) -> Answer:
        """The response, with any status. Raises: OSError, http.client.HTTPException"""
        headers = {"Prefer": prefer} if prefer else {}
        began = time.perf_counter()
        self._connection.request("GET", path, headers=headers)
        response = self._connection.getresponse()
        body = response.read()
        ms = 1000 * (time.perf_counter() - began)
        return Answer(ms, response.status, body, ", ".join(response.headers.get_all("Link", [])))
