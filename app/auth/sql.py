"""The prepared statements of authentication and of the audit log."""

from app.db.expressions import MARK_INTERNAL_CHANGE
from app.models import NO_XID, ROLES

ENTRY_COLUMNS = "user_id, version, action, actor, address, agent, request_id, changes"

_FROM_TOKENS = "FROM tokens AS t JOIN users AS u ON u.id = t.user_id WHERE u.deleted_at IS NULL AND u.active AND"
FIND_TOKEN = (
    f"SELECT t.id, t.role, extract(epoch FROM t.expires_at)::float8, u.id, u.role {_FROM_TOKENS} t.digest = %(digest)s"
)
"""By digest: id, role and expiry (seconds since 1970, or NULL) of the token; id and role of its user."""

_UNEXPIRED = "(t.expires_at > now() OR t.expires_at IS NULL)"
RECHECK_TOKEN = f"SELECT t.role, u.role {_FROM_TOKENS} t.id = %(token_id)s AND {_UNEXPIRED}"
"""By id: the roles of a valid token and of its user."""

_IS_FULL_SCOPE = " >= ".join(f"array_position('{{{','.join(ROLES)}}}', {role})" for role in ("t.role", "u.role"))
SELECT_VALID_TOKEN = (
    f"SELECT {_FROM_TOKENS} t.id = d.token AND {_UNEXPIRED} AND ({_IS_FULL_SCOPE}) = d.token_full_scope"
    " AND d.token_role = CASE WHEN d.token_full_scope THEN u.role ELSE t.role END"
)
"""A subquery: a row, if the columns of auth.tokens.token_guard in `d` are those of a valid token."""

# SKIP LOCKED: no request waits for a locked token. Its next request records the use.
TOUCH_TOKEN = (
    f"UPDATE tokens SET last_used_at = now() FROM (SELECT {MARK_INTERNAL_CHANGE}) AS marked"
    " WHERE id = (SELECT id FROM tokens WHERE id = %(token_id)s AND (last_used_at IS NULL"
    " OR last_used_at < now() - interval '1 minute') FOR UPDATE SKIP LOCKED)"
)
"""By id: sets last_used_at, at most once a minute."""

GET_ACCOUNT_STATUS = "SELECT role, active, session_epoch, name FROM users WHERE id = %(user_id)s AND deleted_at IS NULL"
"""By user id: role, active, session epoch and name."""

_SELECT_LOGIN = "SELECT id, role, active, session_epoch, password_hash FROM users WHERE deleted_at IS NULL AND"
# One statement looks up both columns, so the time does not tell whether a username exists.
FIND_LOGIN = f"{_SELECT_LOGIN} (username_key = %(key)s OR email_key = %(key)s)"
"""By the canonical form of a username or email: the user who signs in."""

FIND_LOGIN_BY_EMAIL = f"{_SELECT_LOGIN} email_key = %(key)s"
"""By the canonical form of an email: the user who signs in."""

# Not a lock of the row, because other SQL that locks it should not delay a sign-in.
WRITE_AUDIT_EVENT = (
    "WITH found AS MATERIALIZED (SELECT id, version, pg_try_advisory_xact_lock_shared(hashtextextended(id::text, 0))"
    " AS is_kept FROM users WHERE id = %(user_id)s), "
    f"written AS (INSERT INTO history ({ENTRY_COLUMNS}, xid) SELECT id, version, %(action)s, %(actor)s,"
    f" %(address)s, %(agent)s, %(request_id)s, '[]', '{NO_XID}' FROM found WHERE is_kept) SELECT is_kept FROM found"
)
"""Inserts a history entry of an event that changes no user. Its row: false while the user is being purged."""
