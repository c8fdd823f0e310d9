"""Polls the history for changes, whoever made them, and invalidates what is cached of the users concerned.

A transactional outbox with a polling publisher: each transaction that changes users writes rows of the history, with
its id. The poller asks what became visible since its last question: each committed row is returned exactly once,
however long its transaction took. While questions are answered in time the lease holds, and caches may be used.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from typing import Any, NamedTuple

import psycopg
import structlog

from app.cache.generations import Generations, clock_ns
from app.cache.keys import USERS_KEY, user_key
from app.cache.known_changes import KnownChanges, Snapshot, View

log = structlog.get_logger(__name__)

LEASE_S = 0.1
"""How much older than a change by another host, or by SQL, a cached answer may be."""
_PAUSE_S = 0.03
_IDLE_AFTER_NS = 30 * 10**9
"""Nobody wanted a cached answer for so long: stop asking."""
_LONGEST_SLEEP_S = 60.0
"""After so long it asks all the same, so that nothing between here and PostgreSQL forgets the connection."""
_LONGEST_GAP_NS = 10 * 10**9
_MOST_CHANGES = 1_000
_MOST_XIDS = 256
_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.05, 1.0

# The xid 3 marks rows of the history that no cached answer depends on.
_CHANGES = f"""
WITH now AS MATERIALIZED (SELECT pg_current_snapshot() AS s)
SELECT (SELECT s FROM now)::text,
  concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
    left(pg_walfile_name(pg_current_wal_lsn()), 8), (SELECT stats_reset FROM pg_stat_bgwriter),
    (SELECT oid FROM pg_database WHERE datname = current_database()), 'users'::regclass::oid, 'history'::regclass::oid),
  (SELECT json_agg(json_build_array(xid::text, user_id)) FROM (
    SELECT xid, user_id FROM history
    WHERE xid > '3' AND xid >= %(xmax)s::xid8 AND xid < pg_snapshot_xmax((SELECT s FROM now))
    UNION ALL
    SELECT xid, user_id FROM history WHERE xid > '3' AND xid = ANY (ARRAY(
      SELECT x FROM unnest(%(in_progress)s::xid8[]) AS x WHERE pg_visible_in_snapshot(x, (SELECT s FROM now))))
    LIMIT {_MOST_CHANGES + 1}) AS changes)
"""
_SNAPSHOT = "SELECT pg_current_snapshot()::text"
_GREATEST = "SELECT max(xid)::text FROM history WHERE xid > '3' AND xid < %s::xid8"


class _Answer(NamedTuple):
    """What one question found: transaction and user of each change. No user: a change of many."""

    snapshot: Snapshot
    incarnation: str
    changes: list[tuple[int, str | None]]


class ChangePoller:
    """`connect`: opens a connection to PostgreSQL in autocommit. `on_change`: called after changes were heard."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        generations: Generations,
        known_changes: KnownChanges,
        on_change: Callable[[], None],
    ) -> None:
        self._connect, self._on_change = connect, on_change
        self._generations, self._known = generations, known_changes
        self._xids: deque[int] = deque(maxlen=_MOST_XIDS)
        self._floor, self._is_closed = 0, False

    def run(self) -> None:
        """Poll until closed; after a failure connect again."""
        retry_s = _FIRST_RETRY_S
        while not self._is_closed:
            try:
                with closing(self._connect()) as connection:
                    for _ in self._leases(connection):
                        retry_s = _FIRST_RETRY_S
            except (psycopg.Error, OSError) as error:
                if retry_s == _FIRST_RETRY_S:
                    log.warning("change_poller_disconnected", error=error.__class__.__name__)
            self._generations.prolong_lease(0)
            if not self._is_closed:
                time.sleep(retry_s)
                retry_s = min(2 * retry_s, _LONGEST_RETRY_S)

    def close(self) -> None:
        """Stop after the current question."""
        self._is_closed = True

    def _leases(self, connection: psycopg.Connection[Any]) -> Any:
        """Ask again and again; yield after each answer. Raises: psycopg.Error"""
        last: _Answer | None = None
        last_asked_ns = 0
        while not self._is_closed:
            asked_ns = clock_ns()
            since = last.snapshot if last is not None else Snapshot.parse(_value(connection, _SNAPSHOT))
            answer = _ask(connection, since)
            if last is None or asked_ns - last_asked_ns > _LONGEST_GAP_NS or _is_unclear(last, answer):
                self._reset(connection, answer)
            else:
                self._apply(answer.changes)
            # After the generations: who sees the lease sees them as well.
            self._known.publish(View(asked_ns, answer.incarnation, answer.snapshot, tuple(self._xids), self._floor))
            self._generations.prolong_lease(asked_ns + int(1e9 * LEASE_S))
            last, last_asked_ns = answer, asked_ns
            yield
            self._pause(asked_ns)

    def _reset(self, connection: psycopg.Connection[Any], answer: _Answer) -> None:
        """Nobody knows what was changed meanwhile: invalidate everything, and remember the greatest transaction."""
        self._xids.clear()
        self._floor = int(_value(connection, _GREATEST, str(answer.snapshot.xmax)) or 0)
        self._generations.invalidate_all()
        self._on_change()

    def _apply(self, changes: list[tuple[int, str | None]]) -> None:
        if not changes:
            return
        for xid in dict.fromkeys(xid for xid, _ in changes):
            if len(self._xids) == _MOST_XIDS:
                self._floor = max(self._floor, self._xids[0])
            self._xids.append(xid)
        self._generations.invalidate([USERS_KEY, *{user_key(user_id) for _, user_id in changes if user_id is not None}])
        self._on_change()

    def _pause(self, asked_ns: int) -> None:
        if self._generations.idle_ns() < _IDLE_AFTER_NS:
            time.sleep(max(0.0, _PAUSE_S - (clock_ns() - asked_ns) / 1e9))
            return
        self._generations.prolong_lease(0)
        self._generations.sleep(_LONGEST_SLEEP_S)


def _is_unclear(last: _Answer, answer: _Answer) -> bool:
    """Whether the changes of an answer don't say all that was changed since the last one."""
    is_of_many = any(user_id is None for _, user_id in answer.changes)
    return is_of_many or len(answer.changes) > _MOST_CHANGES or answer.incarnation != last.incarnation


def _ask(connection: psycopg.Connection[Any], since: Snapshot) -> _Answer:
    """Raises: psycopg.Error"""
    in_progress = "{" + ",".join(map(str, since.in_progress)) + "}"
    row = connection.execute(_CHANGES, {"xmax": str(since.xmax), "in_progress": in_progress}).fetchone()
    snapshot, database, changes = row or ("", "", None)
    incarnation = hashlib.blake2b(database.encode(), digest_size=8).hexdigest()
    return _Answer(Snapshot.parse(snapshot), incarnation, [(int(xid), user) for xid, user in changes or ()])


def _value(connection: psycopg.Connection[Any], statement: str, *values: str) -> str:
    """Raises: psycopg.Error"""
    row = connection.execute(statement, values).fetchone()
    return row[0] if row is not None else ""
