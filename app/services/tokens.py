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

from app.errors import N_, Fault, Forbidden, Invalid, NotFound, Unauthorized, Unavailable
from app.extensions import Resources, answers, asked, reading, resources, writing
from app.infra.postgres import bytea_text
from app.models import Token, table_of
from app.schemas import TokenDraft
from app.services import history
from app.services.authority import Actor, lower
from app.services.columns import among
from app.services.documents import moment, users
from app.services.history import Caller
from app.services.keys import token_key
from app.services.statements import TOKEN, TOKEN_NOW, TOKEN_USED
from app.values import ROLE_NAMES, Role

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


class Uses:
    """When each token was last noted as used, by this process."""

    def __init__(self, _: Resources) -> None:
        self._due: dict[str, float] = {}

    def is_due(self, token_id: str) -> bool:
        """Whether a minute has passed since the last note."""
        return time.monotonic() >= self._due.get(token_id, 0.0)

    def take(self, token_id: str) -> bool:
        """The same; then the next note is due a minute from now."""
        if not self.is_due(token_id):
            return False
        if len(self._due) >= _NOTED_AT_MOST:
            self._due.clear()
        self._due[token_id] = time.monotonic() + _NOTED_EVERY_S
        return True


def actor_of(secret: str, *, afresh: bool = False) -> Actor:
    """Whom a token stands for; `afresh`: PostgreSQL is asked, not memory. Raises: Unauthorized, Unavailable"""
    found = _looked_up(_digest(secret)) if afresh else known(secret)
    if found.is_over():
        raise Unauthorized(N_("This API token has expired."))
    if resources().part(Uses).take(found.id):
        _note_use(found.id)
    return found.actor


def known(secret: str) -> Known:
    """Whom a token stands for, that may be over: known already, or by one SELECT. Raises: Unauthorized, Unavailable"""
    digest = _digest(secret)
    return answers().of_one(token_key(digest), lambda: _looked_up(digest))


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


def key_of(secret: str) -> str:
    """The key under which a token is known. Raises: Unauthorized"""
    return token_key(_digest(secret))


def listed(user_id: uuid.UUID | None = None) -> list[dict[str, Any]]:
    """All tokens, or those of one user, newest first, without their secrets. Raises: Unavailable"""
    columns = (_tokens, users.c.username)
    statement = select(*columns).join(users, users.c.id == _tokens.c.user_id).order_by(_tokens.c.id.desc())
    if user_id is not None:
        statement = statement.where(_tokens.c.user_id == user_id)
    with reading() as connection:
        return [_fields(row) for row in connection.execute(statement)]


def make(draft: TokenDraft, caller: Caller) -> Made:
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
        history.record(connection, caller, user_id, user.version, "token_created", [_change(None, row)])
    return Made({**_fields(row), "username": user.username}, secret)


def revoke(token_id: uuid.UUID, caller: Caller) -> None:
    """End a token. Raises: NotFound, Unavailable"""
    digest = None
    try:
        with writing(token_id) as connection:
            row = connection.execute(delete(_tokens).where(_tokens.c.id == token_id).returning(_tokens)).one_or_none()
            if row is None:
                raise NotFound(N_("There is no such token."))
            digest = row.digest
            version = connection.scalar(select(users.c.version).where(users.c.id == row.user_id))
            history.record(connection, caller, row.user_id, version or 1, "token_revoked", [_change(row, None)])
    finally:
        # Also when the answer to the commit was lost.
        if digest is not None:
            answers().forget_alone(token_key(digest))


def revoke_all(connection: Connection, owners: Iterable[Row[Any]], caller: Caller) -> list[str]:
    """End all tokens of the users in the rows `owners`, in the transaction of the change. Returns their cache keys."""
    versions = {owner.id: owner.version for owner in owners}
    rows = connection.execute(delete(_tokens).where(among(_tokens.c.user_id, versions)).returning(_tokens)).all()
    entries = [(row.user_id, versions[row.user_id], [_change(row, None)]) for row in rows]
    history.record_all(connection, caller, "token_revoked", entries)
    return [token_key(row.digest) for row in rows]


def keys_of(connection: Connection, user_ids: Iterable[uuid.UUID]) -> list[str]:
    """The cache keys of all tokens of these users."""
    rows = connection.execute(select(_tokens.c.digest).where(among(_tokens.c.user_id, user_ids)))
    return [token_key(row.digest) for row in rows]


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
        name: moment(value) if (value := getattr(row, name)) is not None else None
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
