"""The hot statements: what most requests ask and write, prepared, in one round trip each, with JSON made by PostgreSQL.

Each has a plain version in SQLAlchemy, which all else uses: tests/api/test_statements_*.py hold one against the other.
"""

from app.infra.postgres import Statement
from app.infra.watch import CHANNEL

_ENTRY = "user_id, version, action, actor, address, agent, request_id, changes"


def user_json(*, trashed: bool = False) -> str:
    """A row of `users AS u` as our JSON: byte for byte as documents.document writes it."""
    moments = ("created_at", "updated_at", *(["deleted_at"] if trashed else []))
    written = ", ".join(
        f"to_char(u.{name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS {name}" for name in moments
    )
    fields = "u.id, u.username, u.email, u.name, u.role, u.active, u.attributes, u.version"
    return f"(SELECT row_to_json(j)::text FROM (SELECT {fields}, {written}) AS j)"


_LIVING = f"SELECT u.id, u.version, {user_json()} FROM users AS u WHERE deleted_at IS NULL AND"
USERS = Statement(f"{_LIVING} u.id = ANY($1::uuid[])", "users")
"""Of some ids, those who live: id, version, JSON."""

USERS_AND_NEXT = Statement(
    f"({USERS.sql}) UNION ALL (SELECT id, NULL, NULL FROM users WHERE deleted_at IS NULL AND id > $2::uuid"
    " ORDER BY id LIMIT $3::integer)",
    "users_and_next",
)
"""The same, then so many ids of the living that come after another one, in that order."""

TOKEN = Statement(
    "SELECT t.id, t.role, extract(epoch FROM t.expires_at), u.id, u.role FROM tokens AS t JOIN users AS u"
    " ON u.id = t.user_id WHERE t.digest = $1 AND u.deleted_at IS NULL AND u.active",
    "token",
)
"""Of a digest: id, role and end (seconds since 1970, or NULL) of the token, id and role of its user."""

STANDING = Statement("SELECT role, active, session_epoch FROM users WHERE id = $1 AND deleted_at IS NULL", "standing")
"""Of an id: what a user may do."""

_WHO = "SELECT id, role, active, version, session_epoch, password_hash FROM users WHERE deleted_at IS NULL AND"
WHO_BY_USERNAME = Statement(f"{_WHO} username_key = $1", "who_by_username")
WHO_BY_EMAIL = Statement(f"{_WHO} email_key = $1", "who_by_email")
"""Of a key: who signs in."""

TOLD = Statement(f"SELECT pg_notify('{CHANNEL}', $1)", "told")
"""Of the number of this host: let all others forget what they keep, where Redis could not tell them."""

NOTED = Statement(f"INSERT INTO history ({_ENTRY}) VALUES ($1, $2, $3, $4, $5, $6, $7, '[]')", "noted")
"""An entry of the history that changes nothing."""

AS_IT_IS = Statement(
    "SELECT u.version, u.username, u.email, u.name, u.role, u.active, u.attributes::text,"
    f" {user_json()} FROM users AS u WHERE u.id = $1 AND deleted_at IS NULL",
    "as_it_is",
)
"""Of an id: all that a change is compared with."""

_DRAFT = """
WITH draft AS (
  SELECT $1::uuid AS id, $2::text AS username, $3::text AS username_key, $4::text AS email, $5::text AS email_key,
    $6::text AS name, $7::text AS name_key, $8::text AS role, $9::boolean AS active, $10::json AS attributes,
    $11::text AS password_hash, array_to_tsvector($12::text[]) AS words, 1 AS version, 1 AS session_epoch,
    now() AS created_at, now() AS updated_at
)"""
_COLUMNS = (
    "id, username, username_key, email, email_key, name, name_key, role, active, attributes, password_hash, words,"
    " version, session_epoch, created_at, updated_at"
)
_MADE = f"""
made AS (
  INSERT INTO users ({_COLUMNS}) SELECT {_COLUMNS} FROM draft %s RETURNING *
),
noted AS (
  INSERT INTO history ({_ENTRY}) SELECT id, version, 'created', $13, $14, $15, $16, $17::json FROM made
)
SELECT u.version, {user_json()} FROM made AS u"""

MADE = Statement(f"{_DRAFT}, {_MADE % ''}", "made")
"""A new user with its entry in the history: version and JSON."""

# Two who come with one key at once: the second waits for the first, finds its key, and makes nothing. Old keys that
# somebody else takes anew or sweeps out just now are left to them: two who waited for each other's would never end.
MADE_ONCE = Statement(
    f"""{_DRAFT},
kept AS (
  INSERT INTO idempotency_keys AS k (key, fingerprint, password_hash, user_id, body, created_at)
  SELECT $18, $19::bytea, u.password_hash, u.id, convert_to({user_json()}, 'UTF8'), now() FROM draft AS u
  ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, password_hash = excluded.password_hash,
    user_id = excluded.user_id, body = excluded.body, created_at = excluded.created_at
    WHERE k.created_at < now() - $20::interval
  RETURNING 1
),
swept AS (
  DELETE FROM idempotency_keys WHERE key IN (
    SELECT key FROM idempotency_keys WHERE created_at < now() - $20::interval AND key <> $18
    ORDER BY created_at LIMIT 20 FOR UPDATE SKIP LOCKED)
),
{_MADE % "WHERE EXISTS (SELECT FROM kept)"}""",
    "made_once",
)
"""The same with the answer to an Idempotency-Key, and a few old ones swept out; nothing, when the key was used."""

CHANGED = Statement(
    f"""
WITH made AS (
  UPDATE users SET username = $3, username_key = $4, email = $5, email_key = $6, name = $7, name_key = $8,
    attributes = $9::json, words = array_to_tsvector($10::text[]), version = version + 1,
    updated_at = greatest(now(), updated_at)
  WHERE id = $1::uuid AND version = $2::integer AND deleted_at IS NULL RETURNING *
),
noted AS (
  INSERT INTO history ({_ENTRY}) SELECT id, version, 'changed', $11, $12, $13, $14, $15::json FROM made
)
SELECT u.version, {user_json()} FROM made AS u""",
    "changed",
)
"""A user at a version, changed in what needs no thought of others, with its entry: version and JSON.

Nothing, when it is not at that version any more.
"""
