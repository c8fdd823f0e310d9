"""The prepared statements of users: each reads or writes in one round trip, and PostgreSQL serializes the JSON.

The same reads and writes exist in SQLAlchemy for rarer requests. tests/api/test_statements_*.py compare the two.
"""

from app.auth.sql import ENTRY_COLUMNS, SELECT_VALID_TOKEN
from app.db.expressions import MARK_INTERNAL_CHANGE
from app.models import FIELD_NAMES, USER_FIELDS, user_json

_SELECT_ACTIVE = f"SELECT u.id, u.version, {user_json()} FROM users AS u WHERE deleted_at IS NULL AND"
# The subquery hides the number of ids from the planner, which would plan anew for each number.
GET_USERS = f"{_SELECT_ACTIVE} u.id = ANY((SELECT string_to_array(%(ids)s, ',')::uuid[])::uuid[])"
"""By ids, separated by commas: id, version and JSON of the active users."""
GET_DELETED_USER = (
    f"SELECT u.version, {user_json(trashed=True)} FROM users AS u WHERE id = %(id)s AND deleted_at IS NOT NULL"
)
"""By id: version and JSON of a user in the trash."""

_KEY_COLUMNS = ("username_key", "email_key", "name_key")
_FAST_FIELDS = [field.name for field in USER_FIELDS if field.fast_write]

_PENDING_COLUMNS = ", ".join(
    [
        "id uuid",
        *(f"{field.name} {field.sql_type}" for field in USER_FIELDS),
        *(f"{name} text" for name in _KEY_COLUMNS),
        "password_hash text, lexemes text[], expected_json text",
        "actor text, address text, agent text, request_id text, changes json",
        "token uuid, token_role text, token_full_scope boolean",
    ]
)


# pending_writes: a JSON array of the users to write. expected_json: the JSON that an update is based on; NULL for a new
# user. Users whose writer has an invalid token are left out.
_PENDING = f"""
WITH pending AS MATERIALIZED (
  SELECT d.*, array_to_tsvector(d.lexemes) AS search_vector
  FROM (SELECT set_config('lock_timeout', %(lock_timeout)s, true), {MARK_INTERNAL_CHANGE}) AS transaction_settings,
    json_to_recordset(%(pending_writes)s::json) AS d({_PENDING_COLUMNS})
  WHERE token IS NULL OR EXISTS ({SELECT_VALID_TOKEN})
)"""
_INSERTED_COLUMNS = ", ".join(["id", *FIELD_NAMES, *_KEY_COLUMNS, "password_hash", "search_vector"])


def _created(where: str) -> str:
    return f"""
created AS (
  INSERT INTO users ({_INSERTED_COLUMNS}, session_epoch) SELECT {_INSERTED_COLUMNS}, 1 FROM pending WHERE {where}
  RETURNING *
)"""


# The array of ids makes the primary key lead, even in a plan that was made while the table was small.
_UPDATED = f"""
updated AS (
  UPDATE users AS u SET {", ".join(f"{name} = d.{name}" for name in (*_FAST_FIELDS, *_KEY_COLUMNS, "search_vector"))},
    version = u.version + 1, updated_at = greatest(now(), u.updated_at)
  FROM pending AS d
  WHERE u.id = ANY(ARRAY(SELECT id FROM pending WHERE expected_json IS NOT NULL)) AND u.id = d.id
    AND deleted_at IS NULL AND {user_json()} = d.expected_json
  RETURNING u.*
)"""
_RECORD_AND_RETURN = f"""
recorded AS (
  INSERT INTO history ({ENTRY_COLUMNS})
  SELECT u.id, u.version, CASE WHEN is_new THEN 'created' ELSE 'changed' END, actor, address, agent, request_id, changes
  FROM written AS u JOIN pending USING (id)
)
SELECT u.id, u.version, {user_json()} FROM written AS u"""

WRITE_USERS = f"""{_PENDING}, {_created("expected_json IS NULL")}, {_UPDATED},
written AS (SELECT *, true AS is_new FROM created UNION ALL SELECT *, false FROM updated), {_RECORD_AND_RETURN}"""
"""Creates users, updates fields that are not security-sensitive, and writes the history.

Returns id, version and JSON of each written user. Not written: users whose JSON is not `expected_json` any more, and
users whose writer has an invalid token.
"""

# Two requests with one key: the second waits for the first, finds its key and creates nothing. SKIP LOCKED: two
# requests that sweep the same old keys must not wait for each other.
CREATE_USER_IDEMPOTENTLY = f"""{_PENDING},
stored AS (
  INSERT INTO idempotency_keys AS k (key, fingerprint, password_hash, user_id, body, created_at)
  SELECT %(key)s, %(fingerprint)s, u.password_hash, u.id, convert_to({user_json()}, 'UTF8'), now()
  FROM (SELECT *, 1 AS version, now() AS created_at, now() AS updated_at FROM pending) AS u
  ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, password_hash = excluded.password_hash,
    user_id = excluded.user_id, body = excluded.body, created_at = excluded.created_at
    WHERE k.created_at < now() - %(ttl)s
  RETURNING 1
),
swept AS (
  DELETE FROM idempotency_keys WHERE key IN (
    SELECT key FROM idempotency_keys WHERE created_at < now() - %(ttl)s AND key <> %(key)s
    ORDER BY created_at LIMIT 20 FOR UPDATE SKIP LOCKED)
),
{_created("EXISTS (SELECT FROM stored)")}, written AS (SELECT *, true AS is_new FROM created), {_RECORD_AND_RETURN}"""
"""Creates one user, stores the response under its Idempotency-Key, and deletes some expired keys.

ttl: how long keys are kept. Creates nothing if the key is in use.
"""
