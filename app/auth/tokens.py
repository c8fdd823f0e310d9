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
from app.cache.generations import clock_ns
from app.cache.keys import user_key
from app.db.connection import bytea_text
from app.db.expressions import is_any_of
from app.errors import N_, Fault, Forbidden, Invalid, NotFound, Unauthorized, Unavailable
from app.extensions import Resources, asked, generations, reading, resources, writing
from app.models import Token, table_of, users
from app.schemas import TokenDraft
from app.types import ROLE_NAMES, Role, format_timestamp

PREFIX = "fsa_"
"""What all our tokens begin with, so that secret scanners find one that leaked."""

_DIGITS = string.digits + string.ascii_letters
_SECRET, _CHECK = 43, 6  # characters: 256 bits and a CRC-32 in base 62
_NOTED_EVERY_S = 60.0
_NOTED_AT_MOST = 10_000
_LIVE = users.c.deleted_at.is_(None)
_tokens = table_of(Token)


@dataclass(frozen=True, slots=True)
class Made:
    """A new token: all that there is to show, and the secret, now and never again."""

    fields: dict[str, Any]
    secret: str


class Known(NamedTuple):
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


class KnownTokens:
    """The tokens that this process has looked up, and when each was last noted as used."""

    def __init__(self, held: Resources) -> None:
        self._cache = held.local_cache
        self._due: dict[str, float] = {}

    def get(self, secret: str) -> Known | None:
        """What is cached of a token and still valid."""
        found: Known | None = self._cache.get(hashlib.sha256(secret.encode()).digest())
        return found

    def look_up(self, secret: str) -> Known:
        """Whom a token stands for, that may be over. Raises: Unauthorized, Unavailable"""
        began_ns, digest = clock_ns(), _digest(secret)
        found = _looked_up(digest)
        self._cache.put(digest, found, [user_key(cast("uuid.UUID", found.actor.user_id))], began_ns)
        return found

    def cached_actor(self, secret: str) -> Actor | None:
        """Whom a token stands for, if that is cached, it has not expired, and its use need not be noted."""
        found = self.get(secret)
        return found.actor if found is not None and not (found.is_over() or self._is_due(found.id)) else None

    def must_note_use(self, token_id: str) -> bool:
        """Whether a minute has passed since the last note; then the next one is due a minute from now."""
        if not self._is_due(token_id):
            return False
        if len(self._due) >= _NOTED_AT_MOST:
            self._due.clear()
        self._due[token_id] = time.monotonic() + _NOTED_EVERY_S
        return True

    def _is_due(self, token_id: str) -> bool:
        return time.monotonic() >= self._due.get(token_id, 0.0)


def actor_of(secret: str, *, afresh: bool = False) -> Actor:
    """Whom a token stands for; `afresh`: PostgreSQL is asked, not memory. Raises: Unauthorized, Unavailable"""
    known_tokens = resources().part(KnownTokens)
    found = _looked_up(_digest(secret)) if afresh else known_tokens.get(secret) or known_tokens.look_up(secret)
    if found.is_over():
        raise Unauthorized(N_("This API token has expired."))
    if known_tokens.must_note_use(found.id):
        _note_use(found.id)
    return found.actor


def claim(actor: Actor) -> dict[str, object]:
    """What statements that write take of who writes: they write nothing when a token is not good for it any more."""
    is_token = actor.kind == "token"
    return {"token": actor.credential_id if is_token else None, "token_role": actor.role, "token_whole": actor.whole}


def confirm(actor: Actor) -> None:
    """Ask PostgreSQL whether a token is still what memory knew. Raises: Unauthorized, Unavailable"""
    if actor.kind != "token":
        return
    found = asked(TOKEN_NOW, actor.credential_id)
    if not found.ntuples:
        raise _unknown()
    role, user_role = (cast("Role", cast("bytes", found.get_value(0, column)).decode()) for column in range(2))
    least = lower(role, user_role)
    if (least, least == user_role) != (actor.role, actor.whole):
        raise Unavailable(N_("The role of this API token was changed just now. Try again shortly."))


def listed(user_id: uuid.UUID | None = None) -> list[dict[str, Any]]:
    """All tokens, or those of one user, newest first, without their secrets. Raises: Unavailable"""
    columns = (_tokens, users.c.username)
    statement = select(*columns).join(users, users.c.id == _tokens.c.user_id).order_by(_tokens.c.id.desc())
    if user_id is not None:
        statement = statement.where(_tokens.c.user_id == user_id)
    with reading() as connection:
        return [_fields(row) for row in connection.execute(statement)]


def make(draft: TokenDraft, caller: AuditContext) -> Made:
    """Make a token for `draft.user_id`, or for who asks. Raises: Invalid, Forbidden, Unavailable"""
    user_id = draft.user_id or caller.actor.user_id
    if user_id is None:
        raise Invalid([Fault("user_id", N_("is needed while nobody is signed in"))])
    if draft.expires_at is not None and draft.expires_at <= datetime.now(UTC):
        raise Invalid([Fault("expires_at", N_("must lie in the future"))])
    if not caller.actor.may(draft.role):
        raise Forbidden(
            N_(
                "The role %(role)s may not hand out the role %(other)s.",
                role=ROLE_NAMES[caller.actor.role],
                other=ROLE_NAMES[draft.role],
            )
        )
    secret = _new_secret()
    with writing(user_id) as connection:
        found = select(users.c.id, users.c.username, users.c.version, users.c.role, users.c.active)
        user = connection.execute(found.where(users.c.id == user_id, _LIVE).with_for_update()).one_or_none()
        if user is None or not user.active:
            raise Invalid([Fault("user_id", N_("is of no active user"))])
        highest = cast("Role", user.role)
        if lower(draft.role, highest) != draft.role:
            raise Invalid([Fault("role", N_("must not be above the user's own, %(role)s", role=ROLE_NAMES[highest]))])
        values = {
            "id": uuid7(),
            "user_id": user_id,
            "name": draft.name,
            "role": draft.role,
            "digest": _digest(secret),
            "expires_at": draft.expires_at,
        }
        row = connection.execute(insert(_tokens).values(values).returning(_tokens)).one()
        audit_log.record(connection, caller, user_id, user.version, "token_created", [_change(None, row)])
    return Made({**_fields(row), "username": user.username}, secret)


def revoke(token_id: uuid.UUID, caller: AuditContext) -> None:
    """End a token. Raises: NotFound, Unavailable"""
    owner = None
    try:
        with writing(token_id) as connection:
            row = connection.execute(delete(_tokens).where(_tokens.c.id == token_id).returning(_tokens)).one_or_none()
            if row is None:
                raise NotFound(N_("There is no such token."))
            owner = row.user_id
            version = connection.scalar(select(users.c.version).where(users.c.id == row.user_id))
            audit_log.record(connection, caller, row.user_id, version or 1, "token_revoked", [_change(row, None)])
    finally:
        # Also when the answer to the commit was lost.
        if owner is not None:
            generations().invalidate([user_key(owner)])


def revoke_all(connection: Connection, owners: Iterable[Row[Any]], caller: AuditContext) -> None:
    """End all tokens of the users in the rows `owners`, in the transaction of the change."""
    versions = {owner.id: owner.version for owner in owners}
    rows = connection.execute(delete(_tokens).where(is_any_of(_tokens.c.user_id, versions)).returning(_tokens)).all()
    entries = [(row.user_id, versions[row.user_id], [_change(row, None)]) for row in rows]
    audit_log.record_all(connection, caller, "token_revoked", entries)


def _looked_up(digest: bytes) -> Known:
    found = asked(TOKEN, bytea_text(digest))
    if not found.ntuples:
        raise _unknown()
    token_id, role, expires, user_id, user_role = (
        value.decode() if (value := found.get_value(0, column)) is not None else "" for column in range(5)
    )
    least = lower(cast("Role", role), cast("Role", user_role))
    actor = Actor("token", uuid.UUID(user_id), least, token_id, whole=least == user_role)
    return Known(actor, float(expires) if expires else math.inf)


def _unknown() -> Unauthorized:
    return Unauthorized(N_("This API token is not known. It may have been revoked."))


def _note_use(token_id: str) -> None:
    # Nobody is refused for want of a note.
    with suppress(Unavailable):
        asked(TOKEN_USED, token_id)


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
