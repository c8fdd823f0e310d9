"""A list in the archive of the events that a restore to an earlier time undoes.

A restore repeats the purges, and reports tokens, passwords and accounts that are valid again. The list is read from the
history by transaction ids, as the change poller does: so an entry whose transaction commits late is not missed.
"""

from datetime import datetime, timedelta
from typing import Any

from backup.archive import Archive
from backup.errors import Failed
from backup.programs import Database
from backup.status import log

_HAS_HISTORY = "SELECT to_json(to_regclass('history') IS NOT NULL)"
_NEW = """
SELECT json_build_object('snapshot', pg_current_snapshot()::text, 'events', coalesce((
  SELECT json_agg(json_build_object('id', id, 'user_id', user_id, 'created_at', created_at, 'kind', kind,
    'token', CASE WHEN kind = 'token_revoked' THEN changes->0->'old' END) ORDER BY id)
  FROM (
    SELECT h.*, CASE WHEN action IN ('purged', 'token_revoked', 'deleted') THEN action
      WHEN action <> 'changed' THEN NULL
      WHEN EXISTS (SELECT FROM json_array_elements(changes) AS c WHERE c->>'field' = 'password') THEN 'password_changed'
      WHEN EXISTS (SELECT FROM json_array_elements(changes) AS c WHERE c->>'field' = 'active' AND c->>'new' = 'false')
        THEN 'deactivated'
      WHEN EXISTS (SELECT FROM json_array_elements(changes) AS c WHERE c->>'field' = 'role') THEN 'role_changed'
      END AS kind
    FROM history AS h WHERE user_id IS NOT NULL AND {condition}
  ) AS entries WHERE kind IS NOT NULL
), '[]'))
"""
# At first, and on another timeline, there is no snapshot.
_LAST_DAY = "created_at > now() - interval '1 day'"
# The index of the history by transaction serves it.
_SINCE_SNAPSHOT = """
xid > '3' AND xid >= pg_snapshot_xmin(:'snapshot') AND NOT pg_visible_in_snapshot(xid, :'snapshot')
"""
MARGIN = timedelta(hours=1)
"""An entry has the time at which its transaction began. No transaction takes as long as this."""
Event = dict[str, Any]


class Events:
    """The events of one archive."""

    def __init__(self, archive: Archive, timeline: int) -> None:
        self._archive, self._timeline = archive, timeline
        try:
            self._stored = archive.read_events()
        except Failed as error:
            # Another key, for example. WAL must be archived all the same.
            log("events_unreadable", reason=str(error))
            archive.set_events_aside()
            self._stored = {}

    def poll(self, database: Database) -> int:
        """Add the new events to the archive. Returns how many it has. Raises: Failed"""
        events: list[Event] = self._stored.get("events", [])
        if not database.json(_HAS_HISTORY):
            return len(events)
        is_next = self._stored.get("timeline") == self._timeline
        condition = _SINCE_SNAPSHOT if is_next else _LAST_DAY
        found = database.json(_NEW.format(condition=condition), snapshot=self._stored.get("snapshot", ""))
        known = {_key(event) for event in events}
        added = [event for event in found["events"] if _key(event) not in known]
        stored = {"timeline": self._timeline, "snapshot": found["snapshot"], "events": [*events, *added]}
        if added or not is_next:
            self._archive.write_events(stored)
        # Without new events the stored snapshot may be older: the entries since then are read again at the next start.
        self._stored = stored
        return len(stored["events"])

    def prune(self) -> None:
        """Forget events from before the oldest backup, which every backup has. Raises: Failed"""
        backups = self._archive.backups()
        if not backups:
            return
        oldest = datetime.fromisoformat(backups[0].started_at) - MARGIN
        events = self._stored.get("events", [])
        kept = [event for event in events if datetime.fromisoformat(event["created_at"]) > oldest]
        if len(kept) < len(events):
            self._stored = {**self._stored, "events": kept}
            self._archive.write_events(self._stored)


def _key(event: Event) -> tuple[int, str, str]:
    return event["id"], event["user_id"], event["created_at"]
