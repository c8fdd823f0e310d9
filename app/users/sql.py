"""The hot statements: what most requests ask and write, prepared, in one round trip each, with JSON made by PostgreSQL.

Each has a plain version in SQLAlchemy, which all else uses: tests/api/test_statements_*.py hold one against the other.
"""

from app.auth.sql import ENTRY_COLUMNS
from app.db.connection import MARK, Statement
from app.models import ROLES, user_json

_LIVING = f"SELECT u.id, u.version, {user_json()} FROM users AS u WHERE deleted_at IS NULL AND"
# A planner that saw how few ids there are would plan for them each time, which takes as long as to find them.
GET_USERS = Statement(f"{_LIVING} u.id = ANY((SELECT $1::uuid[])::uuid[])", "users")
"""Of some ids, those who live: id, version, JSON."""

_ORIGIN = "actor text, address text, agent text, request_id text, changes json"
_FIELDS = "username text, username_key text, email text, email_key text, name text, name_key text, attributes json"


_CLAIM = "token uuid, token_role text, token_full_scope boolean"


def _rank(role: str) -> str:
    return f"array_position('{{{','.join(ROLES)}}}', {role})"


# Who writes was let in by what memory knows: the role that it knows is to be theirs still.
_STILL_GOOD = f"""
    SELECT FROM tokens AS t JOIN users AS o ON o.id = t.user_id
    WHERE t.id = d.token AND o.deleted_at IS NULL AND o.active AND (t.expires_at > now() OR t.expires_at IS NULL)
      AND CASE WHEN d.token_full_scope THEN o.role = d.token_role AND {_rank("t.role")} >= {_rank("o.role")}
        ELSE t.role = d.token_role AND {_rank("t.role")} < {_rank("o.role")} END"""


# What is to be written, a JSON array of objects ($1), and how long others are waited for ($2). `was`: of a change what
# it is made of. Without what the token of its writer is not good for any more.
_DRAFTS = f"""
WITH draft AS MATERIALIZED (
  SELECT d.*, array_to_tsvector(d.lexemes) AS search_vector
  FROM (SELECT set_config('lock_timeout', $2, true), {MARK}) AS patience,
    json_to_recordset($1::json) AS d(
      id uuid, {_FIELDS}, role text, active boolean, password_hash text, was text, lexemes text[], {_ORIGIN}, {_CLAIM})
  WHERE token IS NULL OR EXISTS ({_STILL_GOOD})
)"""
_COLUMNS = (
    "id, username, username_key, email, email_key, name, name_key, role, active, attributes, password_hash,"
    " search_vector"
)


def _made(where: str) -> str:
    return f"""
made AS (
  INSERT INTO users ({_COLUMNS}, session_epoch) SELECT {_COLUMNS}, 1 FROM draft WHERE {where} RETURNING *
)"""


# By an array of ids, so that the index of the key leads to them even where a plan was made while there were few users.
_CHANGED = f"""
changed AS (
  UPDATE users AS u SET username = d.username, username_key = d.username_key, email = d.email, email_key = d.email_key,
    name = d.name, name_key = d.name_key, attributes = d.attributes, search_vector = d.search_vector,
    version = u.version + 1, updated_at = greatest(now(), u.updated_at)
  FROM draft AS d
  WHERE u.id = ANY(ARRAY(SELECT id FROM draft WHERE was IS NOT NULL)) AND u.id = d.id AND deleted_at IS NULL
    AND {user_json()} = d.was
  RETURNING u.*
)"""
_NOTED = f"""
noted AS (
  INSERT INTO history ({ENTRY_COLUMNS})
  SELECT u.id, u.version, CASE WHEN is_new THEN 'created' ELSE 'changed' END, actor, address, agent, request_id, changes
  FROM written AS u JOIN draft USING (id)
)
SELECT u.id, u.version, {user_json()} FROM written AS u"""

WRITE_USERS = Statement(
    f"""{_DRAFTS}, {_made("was IS NULL")}, {_CHANGED},
written AS (SELECT *, true AS is_new FROM made UNION ALL SELECT *, false FROM changed), {_NOTED}""",
    "written",
)
"""New users, and users changed in what needs no thought of others, with their entries in the history.

Of each: id, version, JSON. Not of who changed whose JSON is not what it `was` any more, nor by who may not any more.
"""

# Two who come with one key at once: the second waits for the first, finds its key, and makes nothing. Old keys that
# somebody else takes anew or sweeps out just now are left to them: two who waited for each other's would never end.
CREATE_USER_IDEMPOTENTLY = Statement(
    f"""{_DRAFTS},
kept AS (
  INSERT INTO idempotency_keys AS k (key, fingerprint, password_hash, user_id, body, created_at)
  SELECT $3, $4::bytea, u.password_hash, u.id, convert_to({user_json()}, 'UTF8'), now()
  FROM (SELECT *, 1 AS version, now() AS created_at, now() AS updated_at FROM draft) AS u
  ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, password_hash = excluded.password_hash,
    user_id = excluded.user_id, body = excluded.body, created_at = excluded.created_at
    WHERE k.created_at < now() - $5::interval
  RETURNING 1
),
swept AS (
  DELETE FROM idempotency_keys WHERE key IN (
    SELECT key FROM idempotency_keys WHERE created_at < now() - $5::interval AND key <> $3
    ORDER BY created_at LIMIT 20 FOR UPDATE SKIP LOCKED)
),
{_made("EXISTS (SELECT FROM kept)")}, written AS (SELECT *, true AS is_new FROM made), {_NOTED}""",
    "made_once",
)
"""The same of one who is new, with the answer to an Idempotency-Key, and a few old ones swept out; nothing, when it was
used."""
