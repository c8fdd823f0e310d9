"""A change poller in a thread, for applications in this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask

from app.cache.change_poller import ChangePoller
from app.http.services import services_of
from tests.support.waiting import wait_until


@contextmanager
def polling(app: Flask) -> Iterator[None]:
    """Run a change poller for the application inside the block, so it uses its caches."""
    services = services_of(app)
    services.generations.prolong_lease(0)
    poller = ChangePoller(
        services.database.connect,
        services.generations,
        services.known_changes,
        lambda: None,
    )
    thread = threading.Thread(target=poller.run, daemon=True)
    thread.start()
    try:
        wait_until(services.generations.has_lease)
        yield
    finally:
        poller.close()
        # This wakes a sleeping poller.
        services.generations.has_lease()
        thread.join(10)
        services.generations.prolong_lease(0)
