"""Polls the history for changes by all hosts and by SQL, and invalidates the changed users.

A transactional outbox with a polling publisher: each transaction that changes users inserts rows with its id into the
history. Each poll returns the rows that became visible since the last snapshot. It returns each committed row exactly
once, also after a long transaction. Each poll prolongs the lease, without which no process uses its caches.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import structlog

from app.cache.generations import USERS_KEY, Generations, clock_ns, user_key
from app.cache.known_changes import KnownChanges, PollResult, Snapshot

log = structlog.get_logger(__name__)

LEASE_S = 0.1
"""How long after a change by another host, or by SQL, an older value may be used."""
_INTERVAL_S = 0.03
_IDLE_AFTER_NS = 30 * 10**9
"""After this time without a read of a cache or a write, polling stops."""
_MAX_SLEEP_S = 60.0
"""The longest sleep, so that no firewall or pooler closes the idle connection."""
_MAX_GAP_NS = 10 * 10**9
_MAX_CHANGES = 1_000
_MAX_XIDS = 256
_FIRST_RETRY_S, _MAX_RETRY_S = 0.05, 1.0

# Rows with the xid 3 invalidate nothing: no cached value depends on them.
_CHANGES = f"""
WITH now AS MATERIALIZED (SELECT pg_current_snapshot() AS s)
SELECT (SELECT s FROM now)::text,
  concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
    left(pg_walfile_name(pg_current_wal_lsn()), 8), (SELECT extract(epoch FROM stats_reset) FROM pg_stat_bgwriter),
    (SELECT oid FROM pg_database WHERE datname = current_database()), 'users'::regclass::oid, 'history'::regclass::oid),
  (SELECT json_agg(json_build_array(xid::text, user_id)) FROM (
    SELECT xid, user_id FROM history
    WHERE xid > '3' AND xid >= %(xmax)s::xid8 AND xid < pg_snapshot_xmax((SELECT s FROM now))
    UNION ALL
    SELECT xid, user_id FROM history WHERE xid > '3' AND xid = ANY (ARRAY(
      SELECT x FROM unnest(%(in_progress)s::xid8[]) AS x WHERE pg_visible_in_snapshot(x, (SELECT s FROM now))))
    LIMIT {_MAX_CHANGES + 1}) AS changes)
"""
_MAX_XID = "SELECT coalesce(max(xid)::text, '0') FROM history WHERE xid > '3' AND xid < %s::xid8"
_AFTER_ALL = Snapshot(2**63, 2**63, ())
"""A snapshot after which nothing has changed."""


class ChangePoller:
    """`connect`: opens a connection to PostgreSQL in autocommit mode. `on_change`: called after a poll with changes."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        generations: Generations,
        known_changes: KnownChanges,
        on_change: Callable[[], None],
    ) -> None:
        self._connect, self._on_change = connect, on_change
        self._generations, self._known = generations, known_changes
        self._xids: deque[int] = deque(maxlen=_MAX_XIDS)
        self._floor, self._is_closed = 0, False
        self._snapshot, self._incarnation, self._began_ns = _AFTER_ALL, "", 0

    def run(self) -> None:
        """Poll until `close`. Reconnect after a failure."""
        retry_s = _FIRST_RETRY_S
        while not self._is_closed:
            try:
                with closing(self._connect()) as connection:
                    # The first poll of a connection is incomplete.
                    self._incarnation = ""
                    while not self._is_closed:
                        self._poll(connection)
                        retry_s = _FIRST_RETRY_S
                        self._pause()
            except (psycopg.Error, OSError) as error:
                if retry_s == _FIRST_RETRY_S:
                    log.warning("change_poller_disconnected", error=error.__class__.__name__)
            self._generations.prolong_lease(0)
            if not self._is_closed:
                time.sleep(retry_s)
                retry_s = min(2 * retry_s, _MAX_RETRY_S)

    def close(self) -> None:
        """Stop after the present poll."""
        self._is_closed = True

    def _poll(self, connection: psycopg.Connection[Any]) -> None:
        """Invalidate what changed since the last poll, and prolong the lease. Raises: psycopg.Error"""
        began_ns = clock_ns()
        parameters = {"xmax": str(self._snapshot.xmax), "in_progress": [*map(str, self._snapshot.in_progress)]}
        snapshot_text, incarnation, found = connection.execute(_CHANGES, parameters).fetchall()[0]
        snapshot = Snapshot.parse(snapshot_text)
        changes = [(int(xid), user_id) for xid, user_id in found or ()]
        has_mass_change = len(changes) > _MAX_CHANGES or any(user_id is None for _, user_id in changes)
        if has_mass_change or incarnation != self._incarnation or began_ns - self._began_ns > _MAX_GAP_NS:
            self._reset(connection, snapshot)
        elif changes:
            self._apply(changes)
        # After the generations, so that a process that sees the lease sees them as well.
        self._known.publish(PollResult(began_ns, incarnation, snapshot, tuple(self._xids), self._floor))
        self._generations.prolong_lease(began_ns + int(1e9 * LEASE_S))
        self._snapshot, self._incarnation, self._began_ns = snapshot, incarnation, began_ns

    def _reset(self, connection: psycopg.Connection[Any], snapshot: Snapshot) -> None:
        """Invalidate everything, because changes may have been missed, and remember the latest transaction."""
        self._xids.clear()
        self._floor = int(connection.execute(_MAX_XID, [str(snapshot.xmax)]).fetchall()[0][0])
        self._generations.invalidate()
        self._on_change()

    def _apply(self, changes: list[tuple[int, str]]) -> None:
        for xid in dict.fromkeys(xid for xid, _ in changes):
            if len(self._xids) == _MAX_XIDS:
                self._floor = max(self._floor, self._xids[0])
            self._xids.append(xid)
        self._generations.invalidate([USERS_KEY, *{user_key(user_id) for _, user_id in changes}])
        self._on_change()

    def _pause(self) -> None:
        if self._generations.idle_ns() < _IDLE_AFTER_NS:
            time.sleep(max(0.0, _INTERVAL_S - (clock_ns() - self._began_ns) / 1e9))
            return
        self._generations.prolong_lease(0)
        self._generations.sleep(_MAX_SLEEP_S)
