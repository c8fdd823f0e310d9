"""The hot statements: what nearly every request asks, prepared, in one round trip, as JSON made by PostgreSQL.

Each has a plain version in SQLAlchemy, which serves everything else; tests/api/test_statements.py holds one against
the other.
"""

from app.infra.postgres import Statement


def user_json(*, trashed: bool = False) -> str:
    """A row of `users AS u` as our JSON: as documents.document writes it, byte for byte."""
    moments = ("created_at", "updated_at", *(["deleted_at"] if trashed else []))
    written = ", ".join(
        f"to_char(u.{name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS {name}" for name in moments
    )
    fields = "u.id, u.username, u.email, u.name, u.role, u.active, u.attributes, u.version"
    return f"(SELECT row_to_json(j)::text FROM (SELECT {fields}, {written}) AS j)"


def _named(name: str, sql: str) -> Statement:
    return Statement(sql.encode(), name.encode())


USERS = _named(
    "users", f"SELECT u.id, u.version, {user_json()} FROM users AS u WHERE u.id = ANY($1::uuid[]) AND deleted_at IS NULL"
)
"""Of some ids, those who live: id, version and JSON."""

TOKEN = _named(
    "token",
    "SELECT t.id, t.role, extract(epoch FROM t.expires_at), u.id, u.role FROM tokens AS t JOIN users AS u"
    " ON u.id = t.user_id WHERE t.digest = $1 AND u.deleted_at IS NULL AND u.active",
)
"""Of a digest: whom a token stands for."""

STANDING = _named(
    "standing", "SELECT role, active, session_epoch FROM users WHERE id = $1 AND deleted_at IS NULL"
)
"""Of an id: what a user may do."""
