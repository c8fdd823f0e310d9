"""Finds out when all parts of the service work again after a fault."""

import http.client
import time

from tests.journal.cluster import Cluster, Host

TRIES = 6
"""Requests on new connections to each host, to reach both workers."""
TIMEOUT_S = 1.5
_COOKIE = {"Cookie": "fsa_session=unknown"}


class Probe:
    """Writes and reads users and sessions on both hosts, outside the journal."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._number = cluster, 0
        self._path = f"/api/users/{cluster.request('POST', '/api/users', {'username': 'probe'})['id']}"

    def wait(self, seconds: float) -> float | None:
        """Wait until all requests to all hosts succeed. Returns when they began to, or None after `seconds`."""
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            if all(self._works(host) for host in self._cluster.hosts):
                return now
            time.sleep(0.05)
        return None

    def _works(self, host: Host) -> bool:
        try:
            return all(self._succeeds(host) for _ in range(TRIES))
        except (OSError, http.client.HTTPException):
            return False

    def _succeeds(self, host: Host) -> bool:
        self._number += 1
        token = {"Authorization": f"Bearer {self._cluster.token}"}
        written = host.service("PATCH", self._path, {"name": f"probe {self._number}"}, token, timeout=TIMEOUT_S)
        read = host.service("GET", self._path, None, token, timeout=TIMEOUT_S)
        # 401: Redis has no such session. It is 503 if Redis was not asked.
        session = host.service("GET", "/api/session", None, _COOKIE, timeout=TIMEOUT_S)
        return (written.status, read.status, session.status) == (200, 200, 401)
