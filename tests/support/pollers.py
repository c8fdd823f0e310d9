"""A change poller in this process, for applications that are made in this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask

from app.cache.change_poller import ChangePoller
from app.http.services import Infrastructure, services_of
from tests.support.waiting import wait_until


@contextmanager
def polling(app: Flask) -> Iterator[None]:
    """Let an application hear of changes, as `python -m app` does; its caches may be used."""
    infrastructure: Infrastructure = services_of(app).infrastructure
    infrastructure.generations.prolong_lease(0)
    poller = ChangePoller(
        infrastructure.database.connect_autocommit,
        infrastructure.generations,
        infrastructure.known_changes,
        lambda: None,
    )
    thread = threading.Thread(target=poller.run, daemon=True)
    thread.start()
    try:
        wait_until(infrastructure.generations.has_lease)
        yield
    finally:
        poller.close()
        # If it sleeps, that wakes it.
        infrastructure.generations.has_lease()
        thread.join(10)
        infrastructure.generations.prolong_lease(0)
