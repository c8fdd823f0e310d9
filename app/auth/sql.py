"""The prepared statements of authentication and of the audit log."""

from app.db.statement import MARK_INTERNAL_CHANGE, Statement
from app.models import NO_XID

ENTRY_COLUMNS = "user_id, version, action, actor, address, agent, request_id, changes"

FIND_TOKEN = Statement(
    "SELECT t.id, t.role, extract(epoch FROM t.expires_at), u.id, u.role FROM tokens AS t JOIN users AS u"
    " ON u.id = t.user_id WHERE t.digest = $1 AND u.deleted_at IS NULL AND u.active",
    "find_token",
)
"""By digest: id, role and expiry (seconds since 1970, or NULL) of the token; id and role of its user."""

RECHECK_TOKEN = Statement(
    "SELECT t.role, u.role FROM tokens AS t JOIN users AS u ON u.id = t.user_id WHERE t.id = $1"
    " AND u.deleted_at IS NULL AND u.active AND (t.expires_at > now() OR t.expires_at IS NULL)",
    "recheck_token",
)
"""By id: the roles of a valid token and of its user."""

# SKIP LOCKED: no request waits for a locked token. Its next request records the use.
TOUCH_TOKEN = Statement(
    f"UPDATE tokens SET last_used_at = now() FROM (SELECT {MARK_INTERNAL_CHANGE}) AS marked"
    " WHERE id = (SELECT id FROM tokens WHERE id = $1 AND (last_used_at IS NULL"
    " OR last_used_at < now() - interval '1 minute') FOR UPDATE SKIP LOCKED)",
    "touch_token",
)
"""By id: sets last_used_at, at most once a minute."""

GET_ACCOUNT_STATUS = Statement(
    "SELECT role, active, session_epoch FROM users WHERE id = $1 AND deleted_at IS NULL", "get_account_status"
)
"""By user id: role, active and session epoch."""

_SELECT_LOGIN = "SELECT id, role, active, version, session_epoch, password_hash FROM users WHERE deleted_at IS NULL AND"
# One statement looks up both columns, so the time does not tell whether a username exists.
FIND_LOGIN = Statement(f"{_SELECT_LOGIN} (username_key = $1 OR email_key = $1)", "find_login")
"""By the canonical form of a username or email: the user who signs in."""

FIND_LOGIN_BY_EMAIL = Statement(f"{_SELECT_LOGIN} email_key = $1", "find_login_by_email")
"""By the canonical form of an email: the user who signs in."""

WRITE_AUDIT_EVENT = Statement(
    f"INSERT INTO history ({ENTRY_COLUMNS}, xid) VALUES ($1, $2, $3, $4, $5, $6, $7, '[]', '{NO_XID}')",
    "write_audit_event",
)
"""Inserts a history entry of an event that changes no user."""
