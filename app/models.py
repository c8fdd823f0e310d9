"""The tables: columns and constraints only. app.identifiers makes the keys that are compared,
search.text those that are sorted by.
"""

import uuid
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, cast

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, MetaData, Table, func, text
from sqlalchemy.dialects.postgresql import JSON, TSVECTOR
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TIMESTAMP, BigInteger, LargeBinary, Text, UserDefinedType

ROLES = ("member", "viewer", "editor", "admin")

# Keys are folded by us and compared byte by byte, so that order and uniqueness
# are the same whatever the locale of the database is.
KEY = Text(collation="C")
MOMENT = TIMESTAMP(timezone=True)

SORT_KEYS = {
    "created_at": "created_at",
    "updated_at": "updated_at",
    "name": "name_key",
    "username": "username_key",
    "email": "coalesce(email_key, '')",
}
"""What each sort of the list orders by, as SQL. Each has an index for the living and one for the trash."""

ADMINISTRATOR = "role = 'admin' AND active AND deleted_at IS NULL AND password_hash IS NOT NULL"
"""Who keeps the service closed, as SQL: an administrator who can sign in."""

PRIVILEGED_ROLE = "role <> 'member'"
"""The roles above member, as SQL. Few users have them, so each sort has an index that begins with the role."""

NO_XID = "3"
"""The xid of entries that change no cached answer. No transaction has it."""

_PENDING_KB = 64

_LIVE = text("deleted_at IS NULL")
_TRASHED = text("deleted_at IS NOT NULL")


class XID8(UserDefinedType[str]):
    """PostgreSQL's xid8, the id of a transaction, which SQLAlchemy does not know."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """The type as SQL names it."""
        return "xid8"


# So that `flask db check` can compare it.
ischema_names["xid8"] = XID8


class Base(DeclarativeBase):
    """Base of all tables, with names for constraints that errors can be mapped by."""

    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "uq": "%(table_name)s_%(column_0_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "ix": "%(table_name)s_%(column_0_name)s_idx",
        }
    )
    query: ClassVar[Any]


def table_of(model: type[Base]) -> Table:
    """The table of `model`, for statements in SQLAlchemy Core."""
    return cast("Table", model.__table__)


def _indexes() -> list[Index]:
    halves = (("live", _LIVE), ("trash", _TRASHED))
    sorts = [
        Index(f"users_{half}_by_{sort}", text(key), "id", postgresql_where=where)
        for half, where in halves
        for sort, key in SORT_KEYS.items()
    ]
    roles = [
        Index(
            f"users_privileged_by_{sort}",
            "role",
            text(key),
            "id",
            postgresql_where=text(f"deleted_at IS NULL AND {PRIVILEGED_ROLE}"),
        )
        for sort, key in SORT_KEYS.items()
    ]
    unique = [
        Index(f"users_{field}_key", f"{field}_key", unique=True, postgresql_where=_LIVE)
        for field in ("username", "email")
    ]
    # Few rows, asked for by every request of a service that is open.
    administrators = Index("users_administrators", "id", postgresql_where=text(ADMINISTRATOR))
    # Of all rows, since PostgreSQL never combines two partial indexes of the same condition. Words of who is written
    # wait in a list, by default of 4 MB, which each search reads whole: it is kept to the 64 kB that are the least.
    search_vector = Index(
        "users_by_search_vector",
        "search_vector",
        postgresql_using="gin",
        postgresql_with={"fastupdate": "on", "gin_pending_list_limit": _PENDING_KB},
    )
    return [*sorts, *roles, *unique, administrators, search_vector]


class User(Base):
    """A user, living or in the trash (`deleted_at`)."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('member', 'viewer', 'editor', 'admin')", name="role"),
        CheckConstraint("version >= 1", name="version"),
        *_indexes(),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    username: Mapped[str] = mapped_column(Text)
    username_key: Mapped[str] = mapped_column(KEY)
    email: Mapped[str | None] = mapped_column(Text)
    email_key: Mapped[str | None] = mapped_column(KEY)
    name: Mapped[str] = mapped_column(Text)
    name_key: Mapped[str] = mapped_column(KEY)
    role: Mapped[str] = mapped_column(Text, server_default="member")
    active: Mapped[bool] = mapped_column(server_default=text("true"))
    # json, not jsonb: it gives numbers back as they came (jsonb turns 1e20 into 100000000000000000000).
    attributes: Mapped[dict[str, Any]] = mapped_column(JSON, server_default=text("'{}'"))
    password_hash: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int] = mapped_column(server_default=text("1"))
    # Sessions begun in an earlier epoch are over, also when Redis could not be told.
    session_epoch: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(MOMENT, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(MOMENT, server_default=func.now())
    deleted_at: Mapped[datetime | None] = mapped_column(MOMENT)
    search_vector: Mapped[str] = mapped_column(TSVECTOR)

    def to_dict(self) -> dict[str, Any]:
        """What the exercise's snippet asks for: the public fields, ready for jsonify."""
        public = (*(field.name for field in USER_FIELDS), "version")
        moments = {name: getattr(self, name).isoformat() for name in ("created_at", "updated_at")}
        return {"id": str(self.id), **{name: getattr(self, name) for name in public}, **moments}


class Identifier(Base):
    """An identifier of an active user, in canonical form: its email, and its username where that could be an email.

    Triggers on users keep this table: so no username is another user's email, whoever writes.
    """

    __tablename__ = "identifiers"

    key: Mapped[str] = mapped_column(KEY, primary_key=True)
    user_id: Mapped[uuid.UUID]


class HistoryEntry(Base):
    """One change of one user: who, when, from where, and each field before and after.

    Our statements write their entries themselves; triggers on users and tokens write those of all other SQL. An entry
    without a user stands for all users: a TRUNCATE, or a statement that changed more than 1,000 rows.
    """

    __tablename__ = "history"
    __table_args__ = (
        Index("history_by_user", "user_id", text("id DESC")),
        Index("history_by_xid", "xid", postgresql_where=text("xid > '3'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    user_id: Mapped[uuid.UUID | None]
    version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(MOMENT, server_default=func.now())
    action: Mapped[str] = mapped_column(Text)
    actor: Mapped[str | None] = mapped_column(Text)
    address: Mapped[str | None] = mapped_column(Text)
    agent: Mapped[str | None] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    changes: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    # The transaction of the change; NO_XID where no cached answer depends on the entry.
    xid: Mapped[str] = mapped_column(XID8, server_default=text("pg_current_xact_id()"))


class IdempotencyKey(Base):
    """The first answer to a POST that carried an Idempotency-Key, kept to be given again."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("idempotency_keys_by_age", "created_at"), Index("idempotency_keys_by_user", "user_id"))

    key: Mapped[str] = mapped_column(KEY, primary_key=True)
    # SHA-256 of the request without its password; the password is compared through
    # its argon2 hash, since a fast hash of it would be a gift to a thief.
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    password_hash: Mapped[str | None] = mapped_column(Text)
    user_id: Mapped[uuid.UUID]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(MOMENT, server_default=func.now())


class Token(Base):
    """An API token: it acts for its user, with its role or the user's, whichever is lower."""

    __tablename__ = "tokens"
    __table_args__ = (
        CheckConstraint("role IN ('member', 'viewer', 'editor', 'admin')", name="role"),
        Index("tokens_by_user", "user_id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    # SHA-256: the secret has 256 random bits, so nothing slower is needed.
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime] = mapped_column(MOMENT, server_default=func.now())
    expires_at: Mapped[datetime | None] = mapped_column(MOMENT)
    last_used_at: Mapped[datetime | None] = mapped_column(MOMENT)


users = table_of(User)


class UserField(NamedTuple):
    """A field that clients set: its column, and the SQL type of the column.

    fast_write: a prepared statement changes it without a lock. Other fields may end sessions or remove the last
    administrator.
    """

    name: str
    sql_type: str
    fast_write: bool = True


USER_FIELDS = (
    UserField("username", "text"),
    UserField("email", "text"),
    UserField("name", "text"),
    UserField("role", "text", fast_write=False),
    UserField("active", "boolean", fast_write=False),
    UserField("attributes", "json"),
)
"""The order of the fields in JSON. SQL, JSON and the history derive from it."""
_JSON_COLUMNS = ", ".join(f"u.{name}" for name in ("id", *(field.name for field in USER_FIELDS), "version"))


def user_json(*, trashed: bool = False) -> str:
    """A row of `users AS u` as our JSON: byte for byte as users.serialization.serialize writes it."""
    moments = ("created_at", "updated_at", *(["deleted_at"] if trashed else []))
    written = ", ".join(
        f"to_char(u.{name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS {name}" for name in moments
    )
    return f"(SELECT row_to_json(j)::text FROM (SELECT {_JSON_COLUMNS}, {written}) AS j)"
