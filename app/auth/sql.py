"""The prepared statements of authentication and of the audit log."""

from app.db.connection import MARK, Statement
from app.models import NO_XID

ENTRY_COLUMNS = "user_id, version, action, actor, address, agent, request_id, changes"

TOKEN = Statement(
    "SELECT t.id, t.role, extract(epoch FROM t.expires_at), u.id, u.role FROM tokens AS t JOIN users AS u"
    " ON u.id = t.user_id WHERE t.digest = $1 AND u.deleted_at IS NULL AND u.active",
    "token",
)
"""Of a digest: id, role and end (seconds since 1970, or NULL) of the token, id and role of its user."""

TOKEN_NOW = Statement(
    "SELECT t.role, u.role FROM tokens AS t JOIN users AS u ON u.id = t.user_id WHERE t.id = $1"
    " AND u.deleted_at IS NULL AND u.active AND (t.expires_at > now() OR t.expires_at IS NULL)",
    "token_now",
)
"""Of an id: the roles of a good token and of its user."""

# A token that somebody has locked is noted the next time, so that no request waits for it.
TOKEN_USED = Statement(
    f"UPDATE tokens SET last_used_at = now() FROM (SELECT {MARK}) AS marked WHERE id = (SELECT id FROM tokens"
    " WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute') FOR UPDATE SKIP LOCKED)",
    "token_used",
)
"""Of an id: note that the token was used, at most once a minute."""

ACCOUNT_STATUS = Statement(
    "SELECT role, active, session_epoch FROM users WHERE id = $1 AND deleted_at IS NULL", "account_status"
)
"""Of an id: what a user may do."""

_WHO = "SELECT id, role, active, version, session_epoch, password_hash FROM users WHERE deleted_at IS NULL AND"
# One statement for both, so that it takes as long whether a name is there or not.
WHO = Statement(f"{_WHO} (username_key = $1 OR email_key = $1)", "who")
"""Of the canonical form of a username or email: who signs in."""

WHO_BY_EMAIL = Statement(f"{_WHO} email_key = $1", "who_by_email")
"""Of the canonical form of an email: the same."""

NOTED = Statement(
    f"INSERT INTO history ({ENTRY_COLUMNS}, xid) VALUES ($1, $2, $3, $4, $5, $6, $7, '[]', '{NO_XID}')", "noted"
)
"""An entry of the history that changes nothing."""
