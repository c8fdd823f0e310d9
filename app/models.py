"""The tables: columns, constraints and indexes; and USER_FIELDS, the declaration of a user's fields.

identifiers and search.text compute the keys.
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

# The service folds keys, and PostgreSQL compares their bytes, so order and uniqueness don't depend on its locale.
KEY = Text(collation="C")
TIMESTAMPTZ = TIMESTAMP(timezone=True)

SORT_KEYS = {
    "created_at": "created_at",
    "updated_at": "updated_at",
    "name": "name_key",
    "username": "username_key",
    "email": "coalesce(email_key, '')",
}
"""The SQL expression of each sort order. Each has an index of active users and one of deleted users."""

ADMINISTRATOR = "role = 'admin' AND active AND deleted_at IS NULL AND password_hash IS NOT NULL"
"""SQL: an administrator who can sign in. While there is one, the service is secured."""

PRIVILEGED_ROLE = "role <> 'member'"
"""The roles above member, as SQL. Few users have them, so each sort has an index that begins with the role."""

NO_XID = "3"
"""The xid of entries that no cached value depends on. No transaction has it."""

_PENDING_KB = 64

_ACTIVE = text("deleted_at IS NULL")
_DELETED = text("deleted_at IS NOT NULL")
_PRIVILEGED = text(f"deleted_at IS NULL AND {PRIVILEGED_ROLE}")


class XID8(UserDefinedType[str]):
    """The type xid8 of PostgreSQL, a transaction id, which SQLAlchemy does not have."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """The name of the type in SQL."""
        return "xid8"


# So that `flask db check` compares columns of this type.
ischema_names["xid8"] = XID8


class Base(DeclarativeBase):
    """The base of all models. Errors are mapped by the names of constraints."""

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
    indexes = []
    for sort, key in SORT_KEYS.items():
        indexes += [
            Index(f"users_live_by_{sort}", text(key), "id", postgresql_where=_ACTIVE),
            Index(f"users_trash_by_{sort}", text(key), "id", postgresql_where=_DELETED),
            Index(f"users_privileged_by_{sort}", "role", text(key), "id", postgresql_where=_PRIVILEGED),
        ]
    unique = [
        Index(f"users_{field}_key", f"{field}_key", unique=True, postgresql_where=_ACTIVE)
        for field in ("username", "email")
    ]
    # It has few rows. In setup mode, each request reads it.
    administrators = Index("users_administrators", "id", postgresql_where=text(ADMINISTRATOR))
    # It is not partial, since PostgreSQL never combines two partial indexes of the same condition. Each search reads
    # the whole pending list, which by default has 4 MB: 64 kB is the minimum.
    search_vector = Index(
        "users_by_search_vector",
        "search_vector",
        postgresql_using="gin",
        postgresql_with={"fastupdate": "on", "gin_pending_list_limit": _PENDING_KB},
    )
    return [*indexes, *unique, administrators, search_vector]


class User(Base):
    """A user. `deleted_at` is set while it is in the trash."""

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
    # json keeps the spelling of numbers. jsonb changes 1e20 to 100000000000000000000.
    attributes: Mapped[dict[str, Any]] = mapped_column(JSON, server_default=text("'{}'"))
    password_hash: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int] = mapped_column(server_default=text("1"))
    # Sessions of earlier epochs have ended, even if Redis still has them.
    session_epoch: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(TIMESTAMPTZ, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(TIMESTAMPTZ, server_default=func.now())
    deleted_at: Mapped[datetime | None] = mapped_column(TIMESTAMPTZ)
    search_vector: Mapped[str] = mapped_column(TSVECTOR)

    def to_dict(self) -> dict[str, Any]:
        """The public fields for jsonify, as the exercise requires."""
        fields = {name: getattr(self, name) for name in (*FIELD_NAMES, "version")}
        timestamps = {name: getattr(self, name).isoformat() for name in ("created_at", "updated_at")}
        return {"id": str(self.id), **fields, **timestamps}


class Identifier(Base):
    """An identifier of an active user in canonical form: its email, and its username if that contains an @.

    Triggers on users maintain this table, so that no username is the email of another user.
    """

    __tablename__ = "identifiers"

    key: Mapped[str] = mapped_column(KEY, primary_key=True)
    user_id: Mapped[uuid.UUID]


class HistoryEntry(Base):
    """A change of a user: actor, time, address, and the old and new value of each field.

    The service inserts the entries of its changes; triggers on users and tokens insert those of all other SQL. An
    entry without a user stands for all users: a TRUNCATE, or a statement that changed more than 1,000 rows.
    """

    __tablename__ = "history"
    __table_args__ = (
        Index("history_by_user", "user_id", text("id DESC")),
        Index("history_by_xid", "xid", postgresql_where=text("xid > '3'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    user_id: Mapped[uuid.UUID | None]
    version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(TIMESTAMPTZ, server_default=func.now())
    action: Mapped[str] = mapped_column(Text)
    actor: Mapped[str | None] = mapped_column(Text)
    address: Mapped[str | None] = mapped_column(Text)
    agent: Mapped[str | None] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    changes: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    # The transaction of the change. NO_XID: no cached value depends on the entry.
    xid: Mapped[str] = mapped_column(XID8, server_default=text("pg_current_xact_id()"))


class RetentionRecord(Base):
    """What was deleted because it was old: history entries (kind `history`) or users in the trash (`trash`).

    deleted: their number. deleted_before: nothing of the kind is missing that is younger. deleted_at: the last time.
    """

    __tablename__ = "retention"

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    deleted: Mapped[int] = mapped_column(BigInteger)
    deleted_before: Mapped[datetime] = mapped_column(TIMESTAMPTZ)
    deleted_at: Mapped[datetime] = mapped_column(TIMESTAMPTZ, server_default=func.now())


class IdempotencyKey(Base):
    """The response to a POST with an Idempotency-Key. A repeated request receives it again."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("idempotency_keys_by_age", "created_at"), Index("idempotency_keys_by_user", "user_id"))

    key: Mapped[str] = mapped_column(KEY, primary_key=True)
    # SHA-256 of the request without its password. The password has its argon2 hash, since a fast hash of it could be
    # reversed.
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    password_hash: Mapped[str | None] = mapped_column(Text)
    user_id: Mapped[uuid.UUID]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(TIMESTAMPTZ, server_default=func.now())


class Token(Base):
    """An API token. It acts for its user, with the lower one of its role and the role of the user."""

    __tablename__ = "tokens"
    __table_args__ = (
        CheckConstraint("role IN ('member', 'viewer', 'editor', 'admin')", name="role"),
        Index("tokens_by_user", "user_id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    # SHA-256. The secret has 256 random bits, so it needs no slow hash.
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime] = mapped_column(TIMESTAMPTZ, server_default=func.now())
    expires_at: Mapped[datetime | None] = mapped_column(TIMESTAMPTZ)
    last_used_at: Mapped[datetime | None] = mapped_column(TIMESTAMPTZ)


users = table_of(User)
NOT_IN_TRASH = users.c.deleted_at.is_(None)


class UserField(NamedTuple):
    """A field that clients set: its column, and the SQL type of the column.

    searchable: searches find its words. tagged: a filter finds its exact value. own: every user may change it in their
    own record. fast_write: a prepared statement changes it without a lock. Other fields may end sessions or remove the
    last administrator.
    """

    name: str
    sql_type: str
    searchable: bool = False
    tagged: bool = False
    own: bool = False
    fast_write: bool = True


USER_FIELDS = (
    UserField("username", "text", searchable=True),
    UserField("email", "text", searchable=True, own=True),
    UserField("name", "text", searchable=True, own=True),
    UserField("role", "text", tagged=True, fast_write=False),
    UserField("active", "boolean", tagged=True, fast_write=False),
    UserField("attributes", "json"),
)
"""The fields in the order of the JSON. SQL, JSON, history, search, permissions and the form derive from it."""
FIELD_NAMES = tuple(field.name for field in USER_FIELDS)
SEARCHABLE_FIELDS = tuple(field.name for field in USER_FIELDS if field.searchable)
TAGGED_FIELDS = tuple(field.name for field in USER_FIELDS if field.tagged)


def user_json(row: str = "u", *, trashed: bool = False) -> str:
    """SQL: a user as JSON. row: the table, or its alias."""
    columns = ", ".join(f"{row}.{name}" for name in ("id", *FIELD_NAMES, "version"))
    names = ("created_at", "updated_at", *(["deleted_at"] if trashed else []))
    timestamps = ", ".join(
        f"to_char({row}.{name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS {name}" for name in names
    )
    return f"(SELECT row_to_json(j)::text FROM (SELECT {columns}, {timestamps}) AS j)"
