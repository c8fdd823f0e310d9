"""Signals: events of this process, for receivers such as metrics. Senders know no receiver.

A signal is the list of its receivers, and its sender calls each of them. Without a receiver, that is a loop over an
empty list. Receivers are appended before threads start. They raise no error.
"""

from collections.abc import Callable

request_finished: list[Callable[[str, str, str | None, int, int, bool], None]] = []
"""Method, path, route (None: no route), status, duration in ns, and whether the response cache answered."""
request_overloaded: list[Callable[[], None]] = []
in_flight_changed: list[Callable[[int], None]] = []
"""The number of admitted requests that are not answered yet."""
cache_read: list[Callable[[str, str], None]] = []
"""The cache (response, local, redis), and the result (hit, miss, bypass)."""
breaker_changed: list[Callable[[str, bool], None]] = []
"""The name of the circuit breaker, and whether it is open."""
transaction_ended: list[Callable[[str], None]] = []
"""committed or rolled_back. The connection is in the pool again."""
database_failed: list[Callable[[str], None]] = []
"""The kind of the error: unavailable, busy, constraint."""
sign_in_ended: list[Callable[[str], None]] = []
"""succeeded, refused or limited."""
rate_limited: list[Callable[[str], None]] = []
"""The limit: sign-in or writes."""
process_started: list[Callable[[int], None]] = []
"""In a new process, before its work: its index."""
process_restarted: list[Callable[[str], None]] = []
"""In the launcher: the name of the process."""
