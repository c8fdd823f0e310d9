"""What a restored database needs before the service may use it.

Sessions end, purges are repeated, and the credentials that come back are listed. The SQL of a purge does what
`users.commands.purge` of the service does.
"""

import json
from datetime import datetime
from typing import Any

from backup.events import MARGIN, Event
from backup.programs import Database
from backup.role import verifier

_BATCH = 500
"""Users of one statement: the triggers record up to 1,000 one by one."""
_JUMP = 1000
"""So that no version and no epoch is used twice: clients may have later ETags, and another Redis later sessions."""
_NEWEST = "SELECT to_json(max(created_at)) FROM history"
_UNKNOWN = """
SELECT coalesce(json_agg(e.id), '[]') FROM json_array_elements(:'events') AS x,
  json_to_record(x) AS e(id bigint, user_id uuid, created_at timestamptz)
WHERE NOT EXISTS (SELECT FROM history AS h WHERE (h.id, h.user_id, h.created_at) = (e.id, e.user_id, e.created_at))
"""
_EXISTING = """
SELECT coalesce(json_agg(json_build_object('id', id, 'username', username)), '[]')
FROM users WHERE id = ANY (:'ids'::uuid[])
"""
_TOKENS = """
SELECT coalesce(json_agg(json_build_object('id', t.id, 'name', t.name, 'role', t.role, 'username', u.username)), '[]')
FROM tokens AS t JOIN users AS u ON u.id = t.user_id WHERE t.id = ANY (:'ids'::uuid[])
"""
_PURGE = """
BEGIN;
DELETE FROM tokens WHERE user_id = ANY (:'ids'::uuid[]);
DELETE FROM users WHERE id = ANY (:'ids'::uuid[]);
DELETE FROM idempotency_keys WHERE user_id = ANY (:'ids'::uuid[]);
UPDATE history SET changes = '[]', address = NULL, agent = NULL, request_id = NULL,
  actor = CASE WHEN action = 'purged' THEN actor END WHERE user_id = ANY (:'ids'::uuid[]);
COMMIT;
"""
# It is marked as a change of the service. One entry of the history without a user stands for all users.
_END_SESSIONS = """
BEGIN;
SELECT mark_internal_change() \\g /dev/null
UPDATE users SET session_epoch = session_epoch + {jump}, version = version + {jump};
INSERT INTO history (user_id, version, action, actor, changes) VALUES (NULL, 0, 'changed', 'sql:restore', '[]');
COMMIT;
"""


def later_events(database: Database, events: list[Event]) -> list[Event]:
    """The events that happened after the restored state. Raises: Failed"""
    newest = database.json(_NEWEST)
    if newest is None:
        return events
    oldest = datetime.fromisoformat(newest) - MARGIN
    later = [event for event in events if datetime.fromisoformat(event["created_at"]) > oldest]
    found: list[Event] = []
    for start in range(0, len(later), _BATCH):
        batch = later[start : start + _BATCH]
        keys = [{name: event[name] for name in ("id", "user_id", "created_at")} for event in batch]
        unknown = set(database.json(_UNKNOWN, events=json.dumps(keys)))
        found += [event for event in batch if event["id"] in unknown]
    return found


def repeat_purges(database: Database, events: list[Event]) -> list[str]:
    """Purge the users again that were purged after the restored state. Returns their ids. Raises: Failed"""
    ids = sorted({event["user_id"] for event in events if event["kind"] == "purged"})
    purged: list[str] = []
    for start in range(0, len(ids), _BATCH):
        existing = database.json(_EXISTING, ids=_array(ids[start : start + _BATCH]))
        again = [user["id"] for user in existing]
        if again:
            database.run(_PURGE, ids=_array(again))
            purged += again
    return purged


def valid_again(database: Database, events: list[Event]) -> dict[str, Any]:
    """Tokens, passwords, accounts and roles that were withdrawn later, and are valid again. Raises: Failed"""
    tokens = [event["token"]["id"] for event in events if event["kind"] == "token_revoked" and event["token"]]
    found: dict[str, Any] = {"tokens": database.json(_TOKENS, ids=_array(tokens))}
    for name, kind in (
        ("passwords", "password_changed"),
        ("deactivated", "deactivated"),
        ("deleted", "deleted"),
        ("roles", "role_changed"),
    ):
        ids = sorted({event["user_id"] for event in events if event["kind"] == kind})
        found[name] = database.json(_EXISTING, ids=_array(ids))
    return found


def end_sessions(database: Database) -> None:
    """End all sessions, and make all versions that clients know invalid. Raises: Failed"""
    database.run(_END_SESSIONS.format(jump=_JUMP))


def set_password(database: Database, role: str, password: str) -> None:
    """Give a role, whose password is of the time of the backup, the present password. Raises: Failed"""
    database.run("ALTER ROLE :\"role\" PASSWORD :'verifier'", role=role, verifier=verifier(password))


def _array(ids: list[str]) -> str:
    return "{" + ",".join(ids) + "}"
