"""API tokens: shown once, kept as SHA-256, checked against damage before anything is looked up."""

import hashlib
import math
import secrets
import string
import time
import uuid
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import Connection, Row, delete, insert, select
from uuid_utils.compat import uuid7

from app.auth import audit_log
from app.auth.audit_log import AuditContext
from app.auth.permissions import Actor, lower
from app.auth.sql import TOKEN, TOKEN_NOW, TOKEN_USED
from app.cache.generations import Generations, clock_ns
from app.cache.keys import user_key
from app.cache.local import LocalCache
from app.db.connection import bytea_text
from app.db.database import Database
from app.db.expressions import is_any_of
from app.errors import N_, FieldError, Forbidden, NotFound, Unauthorized, Unavailable, ValidationFailed
from app.models import Token, table_of, users
from app.schemas import TokenDraft
from app.types import ROLE_NAMES, Role, format_timestamp

PREFIX = "fsa_"
"""What all our tokens begin with, so that secret scanners find one that leaked."""

_DIGITS = string.digits + string.ascii_letters
_SECRET, _CHECK = 43, 6  # characters: 256 bits and a CRC-32 in base 62
_USE_RECORDED_EVERY_S = 60.0
_MAX_TRACKED = 10_000
_LIVE = users.c.deleted_at.is_(None)
_tokens = table_of(Token)


@dataclass(frozen=True, slots=True)
class CreatedToken:
    """A new token: all that there is to show, and the secret, now and never again."""

    fields: dict[str, Any]
    secret: str


class TokenInfo(NamedTuple):
    """Whom a token stands for, and until when, in seconds since 1970."""

    actor: Actor
    ends_at: float

    @property
    def id(self) -> str:
        """The token's."""
        return self.actor.credential_id or ""

    def is_over(self) -> bool:
        """Whether the token has expired."""
        return time.time() >= self.ends_at


class LastUsedTracker:
    """When the use of each token is next due to be recorded: at most once a minute in each process."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}

    def is_due(self, token_id: str) -> bool:
        """Whether a minute has passed since the last record."""
        return time.monotonic() >= self._due.get(token_id, 0.0)

    def take(self, token_id: str) -> bool:
        """The same; if so, the next record is due a minute from now."""
        if not self.is_due(token_id):
            return False
        if len(self._due) >= _MAX_TRACKED:
            self._due.clear()
        self._due[token_id] = time.monotonic() + _USE_RECORDED_EVERY_S
        return True


def token_guard(actor: Actor) -> dict[str, object]:
    """What statements that write take of who writes: they write nothing when a token is not good for it any more."""
    is_token = actor.kind == "token"
    return {
        "token": actor.credential_id if is_token else None,
        "token_role": actor.role,
        "token_full_scope": actor.full_scope,
    }


class Tokens:
    """API tokens: authentication, and their creation and revocation."""

    def __init__(self, database: Database, local_cache: LocalCache, generations: Generations) -> None:
        self._database, self._cache, self._generations = database, local_cache, generations
        self.last_used = LastUsedTracker()

    def authenticate(self, secret: str, *, afresh: bool = False) -> Actor:
        """The actor of a token. afresh: ask PostgreSQL, not the cache. Raises: Unauthorized, Unavailable"""
        found = self._query(_digest(secret)) if afresh else self._cached(secret) or self._look_up(secret)
        if found.is_over():
            raise Unauthorized(N_("This API token has expired."))
        if self.last_used.take(found.id):
            self._touch_last_used(found.id)
        return found.actor

    def cached_actor(self, secret: str) -> Actor | None:
        """The actor of a token, if it is cached, has not expired, and its use need not be recorded now."""
        found = self._cached(secret)
        return None if found is None or found.is_over() or self.last_used.is_due(found.id) else found.actor

    def _cached(self, secret: str) -> TokenInfo | None:
        found: TokenInfo | None = self._cache.get(hashlib.sha256(secret.encode()).digest())
        return found

    def _look_up(self, secret: str) -> TokenInfo:
        """Raises: Unauthorized, Unavailable"""
        began_ns, digest = clock_ns(), _digest(secret)
        found = self._query(digest)
        self._cache.put(digest, found, [user_key(cast("uuid.UUID", found.actor.user_id))], began_ns)
        return found

    def recheck(self, actor: Actor) -> None:
        """Ask PostgreSQL whether a token is still what memory knew. Raises: Unauthorized, Unavailable"""
        if actor.kind != "token":
            return
        found = self._database.execute_prepared(TOKEN_NOW, actor.credential_id)
        if not found.ntuples:
            raise _unknown()
        role, user_role = (cast("Role", cast("bytes", found.get_value(0, column)).decode()) for column in range(2))
        least = lower(role, user_role)
        if (least, least == user_role) != (actor.role, actor.full_scope):
            raise Unavailable(N_("The role of this API token was changed just now. Try again shortly."))

    def get_list(self, user_id: uuid.UUID | None = None) -> list[dict[str, Any]]:
        """All tokens, or those of one user, newest first, without their secrets. Raises: Unavailable"""
        columns = (_tokens, users.c.username)
        statement = select(*columns).join(users, users.c.id == _tokens.c.user_id).order_by(_tokens.c.id.desc())
        if user_id is not None:
            statement = statement.where(_tokens.c.user_id == user_id)
        with self._database.connection() as connection:
            return [_fields(row) for row in connection.execute(statement)]

    def create(self, draft: TokenDraft, audit_context: AuditContext) -> CreatedToken:
        """Make a token for `draft.user_id`, or for who asks. Raises: ValidationFailed, Forbidden, Unavailable"""
        user_id = _require_valid(draft, audit_context.actor)
        secret = _new_secret()
        with self._database.transaction(user_id) as connection:
            found = select(users.c.id, users.c.username, users.c.version, users.c.role, users.c.active)
            user = connection.execute(found.where(users.c.id == user_id, _LIVE).with_for_update()).one_or_none()
            if user is None or not user.active:
                raise ValidationFailed([FieldError("user_id", N_("is of no active user"))])
            highest = cast("Role", user.role)
            if lower(draft.role, highest) != draft.role:
                too_high = N_("must not be above the user's own, %(role)s", role=ROLE_NAMES[highest])
                raise ValidationFailed([FieldError("role", too_high)])
            values = {
                "id": uuid7(),
                "user_id": user_id,
                "name": draft.name,
                "role": draft.role,
                "digest": _digest(secret),
                "expires_at": draft.expires_at,
            }
            row = connection.execute(insert(_tokens).values(values).returning(_tokens)).one()
            audit_log.record(connection, audit_context, user_id, user.version, "token_created", [_change(None, row)])
        return CreatedToken({**_fields(row), "username": user.username}, secret)

    def revoke(self, token_id: uuid.UUID, audit_context: AuditContext) -> None:
        """End a token. Raises: NotFound, Unavailable"""
        owner = None
        try:
            with self._database.transaction(token_id) as connection:
                row = connection.execute(
                    delete(_tokens).where(_tokens.c.id == token_id).returning(_tokens)
                ).one_or_none()
                if row is None:
                    raise NotFound(N_("There is no such token."))
                owner = row.user_id
                version = connection.scalar(select(users.c.version).where(users.c.id == row.user_id))
                audit_log.record(
                    connection, audit_context, row.user_id, version or 1, "token_revoked", [_change(row, None)]
                )
        finally:
            # Also when the answer to the commit was lost.
            if owner is not None:
                self._generations.invalidate([user_key(owner)])

    def _query(self, digest: bytes) -> TokenInfo:
        found = self._database.execute_prepared(TOKEN, bytea_text(digest))
        if not found.ntuples:
            raise _unknown()
        token_id, role, expires, user_id, user_role = (
            value.decode() if (value := found.get_value(0, column)) is not None else "" for column in range(5)
        )
        least = lower(cast("Role", role), cast("Role", user_role))
        actor = Actor("token", uuid.UUID(user_id), least, token_id, full_scope=least == user_role)
        return TokenInfo(actor, float(expires) if expires else math.inf)

    def _touch_last_used(self, token_id: str) -> None:
        # Nobody is refused for want of a note.
        with suppress(Unavailable):
            self._database.execute_prepared(TOKEN_USED, token_id)


def revoke_all(connection: Connection, owners: Iterable[Row[Any]], audit_context: AuditContext) -> None:
    """End all tokens of the users in the rows `owners`, in the transaction of the change."""
    versions = {owner.id: owner.version for owner in owners}
    rows = connection.execute(delete(_tokens).where(is_any_of(_tokens.c.user_id, versions)).returning(_tokens)).all()
    entries = [(row.user_id, versions[row.user_id], [_change(row, None)]) for row in rows]
    audit_log.record_all(connection, audit_context, "token_revoked", entries)


def _require_valid(draft: TokenDraft, actor: Actor) -> uuid.UUID:
    """The id of the user that the token is for. Raises: ValidationFailed, Forbidden"""
    user_id = draft.user_id or actor.user_id
    if user_id is None:
        raise ValidationFailed([FieldError("user_id", N_("is needed while nobody is signed in"))])
    if draft.expires_at is not None and draft.expires_at <= datetime.now(UTC):
        raise ValidationFailed([FieldError("expires_at", N_("must lie in the future"))])
    if not actor.may(draft.role):
        names = {"role": ROLE_NAMES[actor.role], "other": ROLE_NAMES[draft.role]}
        raise Forbidden(N_("The role %(role)s may not hand out the role %(other)s.", **names))
    return user_id


def _unknown() -> Unauthorized:
    return Unauthorized(N_("This API token is not known. It may have been revoked."))


def _fields(row: Row[Any]) -> dict[str, Any]:
    fields = {name: getattr(row, name) for name in ("id", "user_id", "name", "role")}
    moments = {
        name: format_timestamp(value) if (value := getattr(row, name)) is not None else None
        for name in ("created_at", "expires_at", "last_used_at")
    }
    return {**fields, **moments, **({"username": row.username} if "username" in row._fields else {})}


def _change(before: Row[Any] | None, after: Row[Any] | None) -> dict[str, Any]:
    """A line of the history: which token, never its secret."""

    def shown(row: Row[Any] | None) -> dict[str, Any] | None:
        return None if row is None else {"id": str(row.id), "name": row.name, "role": row.role}

    return {"field": "token", "old": shown(before), "new": shown(after)}


def _new_secret() -> str:
    body = _base62(secrets.randbits(256), _SECRET)
    return f"{PREFIX}{body}{_base62(zlib.crc32(body.encode()), _CHECK)}"


def _digest(secret: str) -> bytes:
    """What is kept of a token. Raises: Unauthorized, when it is damaged or no token of ours"""
    body, check = secret[len(PREFIX) : -_CHECK], secret[-_CHECK:]
    is_whole = secret.isascii() and secret.startswith(PREFIX) and len(body) == _SECRET
    if not is_whole or check != _base62(zlib.crc32(body.encode()), _CHECK):
        raise Unauthorized(N_("This is no API token: something is missing or mistyped."))
    return hashlib.sha256(secret.encode()).digest()


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
