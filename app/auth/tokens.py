"""API tokens: created, authenticated and revoked. A secret is shown once; its SHA-256 is stored."""

import hashlib
import math
import re
import secrets
import string
import time
import uuid
import zlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import Connection, Row, delete, insert, select
from uuid_utils.compat import uuid7

from app.auth import audit_log
from app.auth.permissions import Actor, AuditContext
from app.auth.schemas import Token as PublicToken
from app.auth.schemas import TokenDraft
from app.auth.sql import FIND_TOKEN, RECHECK_TOKEN, TOUCH_TOKEN
from app.cache.generations import Generations, clock_ns, user_key
from app.cache.local import LocalCache
from app.db.database import Database
from app.db.expressions import is_any_of
from app.errors import N_, FieldError, Forbidden, NotFound, Unauthorized, Unavailable, ValidationFailed
from app.models import NOT_IN_TRASH, ROLES, Token, table_of, users
from app.types import ROLE_NAMES, Role, format_timestamp

PREFIX = "fsa_"
"""The prefix of all secrets. Secret scanners find leaked tokens by it."""
_SECRET = re.compile(rf"{PREFIX}(?P<body>[0-9A-Za-z]{{43}})(?P<checksum>[0-9A-Za-z]{{6}})")
"""256 random bits and a checksum, in base 62."""
_DIGITS = string.digits + string.ascii_letters

_TOUCH_INTERVAL_S = 60.0
_MAX_TRACKED = 10_000
_UNKNOWN = N_("This API token is unknown. It may have been revoked.")
_tokens = table_of(Token)


class TokenInfo(NamedTuple):
    """The actor of a token, and when the token expires, in seconds since 1970 (infinity: never)."""

    actor: Actor
    expires_at: float


def create_secret() -> str:
    """A new random secret."""
    body = _base62(secrets.randbits(256), 43)
    return f"{PREFIX}{body}{_base62(zlib.crc32(body.encode()), 6)}"


def token_guard(actor: Actor) -> dict[str, object]:
    """The columns by which a write statement checks the token of its actor. It writes nothing for an invalid token."""
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
        self.touch_due_s: dict[str | None, float] = {}
        """By id of a token: when its next use is recorded, at most once a minute (time.monotonic)."""

    def authenticate(self, secret: str, *, uncached: bool = False) -> Actor:
        """The actor of a token. uncached: query PostgreSQL. Raises: Unauthorized, Unavailable"""
        digest = hashlib.sha256(secret.encode()).digest()
        token: TokenInfo | None = None if uncached else self._cache.get(digest)
        if token is None:
            token = self._query(secret, digest)
        if time.time() >= token.expires_at:
            raise Unauthorized(N_("This API token has expired."))
        if time.monotonic() >= self.touch_due_s.get(token.actor.credential_id, 0.0):
            self._touch_last_used(token.actor.credential_id)
        return token.actor

    def cached_actor(self, secret: str) -> Actor | None:
        """The actor of a token. None: it is not cached, has expired, or its use must be recorded now."""
        token: TokenInfo | None = self._cache.get(hashlib.sha256(secret.encode()).digest())
        if token is None or time.time() >= token.expires_at:
            return None
        is_touch_due = time.monotonic() >= self.touch_due_s.get(token.actor.credential_id, 0.0)
        return None if is_touch_due else token.actor

    def recheck(self, actor: Actor) -> None:
        """Check a cached actor against PostgreSQL. No effect on other actors than tokens.

        Raises: Unauthorized (the token is invalid now), Unavailable (also if its role has changed)
        """
        if actor.kind != "token":
            return
        row = self._database.execute(RECHECK_TOKEN, {"token_id": actor.credential_id}).fetchone()
        if row is None:
            raise Unauthorized(_UNKNOWN)
        role, user_role = row
        current_role = _effective_role(role, user_role)
        if (current_role, current_role == user_role) != (actor.role, actor.full_scope):
            raise Unavailable(N_("The role of this API token has just changed. Try again shortly."))

    def get_list(self, user_id: uuid.UUID | None = None) -> list[dict[str, Any]]:
        """All tokens, or those of one user, newest first, without their secrets. Raises: Unavailable"""
        columns = (_tokens, users.c.username)
        statement = select(*columns).join(users, users.c.id == _tokens.c.user_id).order_by(_tokens.c.id.desc())
        if user_id is not None:
            statement = statement.where(_tokens.c.user_id == user_id)
        with self._database.connection() as connection:
            return [_fields(row) for row in connection.execute(statement)]

    def create(self, draft: TokenDraft, audit_context: AuditContext) -> dict[str, Any]:
        """Create a token for `draft.user_id`, or for the actor. Returns its fields, and as `token` its secret.

        The secret is not stored. Raises: ValidationFailed, Forbidden, Unavailable
        """
        user_id = _require_valid(draft, audit_context.actor)
        secret = create_secret()
        values = {
            "id": uuid7(),
            "user_id": user_id,
            "name": draft.name,
            "role": draft.role,
            "digest": hashlib.sha256(secret.encode()).digest(),
            "expires_at": draft.expires_at,
        }
        with self._database.transaction(user_id) as connection:
            user = _lock_user(connection, user_id, draft.role)
            row = connection.execute(insert(_tokens).values(values).returning(_tokens)).one()
            audit_log.record(connection, audit_context, user_id, user.version, "token_created", [_change(new=row)])
        return {**_fields(row), "username": user.username, "token": secret}

    def revoke(self, token_id: uuid.UUID, audit_context: AuditContext) -> None:
        """Delete a token. Raises: NotFound, Unavailable"""
        owner = None
        try:
            with self._database.transaction(token_id) as connection:
                deleted = delete(_tokens).where(_tokens.c.id == token_id, _tokens.c.user_id == users.c.id)
                row = connection.execute(deleted.returning(_tokens, users.c.version)).one_or_none()
                if row is None:
                    raise NotFound(N_("There is no such token."))
                owner = row.user_id
                audit_log.record(connection, audit_context, owner, row.version, "token_revoked", [_change(old=row)])
        finally:
            # Also after an error: the commit may have succeeded before the connection was lost.
            if owner is not None:
                self._generations.invalidate([user_key(owner)])

    def _query(self, secret: str, digest: bytes) -> TokenInfo:
        """Read a token from PostgreSQL, and cache it. Raises: Unauthorized, Unavailable"""
        # Incomplete and mistyped secrets are detected without a query.
        found = _SECRET.fullmatch(secret)
        if found is None or found["checksum"] != _base62(zlib.crc32(found["body"].encode()), 6):
            raise Unauthorized(N_("This is not a valid API token. It is incomplete or mistyped."))
        began_ns = clock_ns()
        row = self._database.execute(FIND_TOKEN, {"digest": digest}).fetchone()
        if row is None:
            raise Unauthorized(_UNKNOWN)
        token_id, role, expires_at, user_id, user_role = row
        current_role = _effective_role(role, user_role)
        actor = Actor("token", user_id, current_role, str(token_id), full_scope=current_role == user_role)
        token = TokenInfo(actor, math.inf if expires_at is None else expires_at)
        self._cache.put(digest, token, [user_key(user_id)], began_ns)
        return token

    def _touch_last_used(self, token_id: str | None) -> None:
        if len(self.touch_due_s) >= _MAX_TRACKED:
            self.touch_due_s.clear()
        self.touch_due_s[token_id] = time.monotonic() + _TOUCH_INTERVAL_S
        # A request must not fail because its use is not recorded.
        with suppress(Unavailable):
            self._database.execute(TOUCH_TOKEN, {"token_id": token_id})


def revoke_all(connection: Connection, versions: Mapping[uuid.UUID, int], audit_context: AuditContext) -> None:
    """Delete all tokens of some users, in the transaction of `connection`. versions: the current version of each."""
    rows = connection.execute(delete(_tokens).where(is_any_of(_tokens.c.user_id, versions)).returning(_tokens)).all()
    entries = [(row.user_id, versions[row.user_id], [_change(old=row)]) for row in rows]
    audit_log.record_all(connection, audit_context, "token_revoked", entries)


def _effective_role(token_role: Role, user_role: Role) -> Role:
    """The lower one. auth.sql.SELECT_VALID_TOKEN compares with it."""
    return min(token_role, user_role, key=ROLES.index)


def _require_valid(draft: TokenDraft, actor: Actor) -> uuid.UUID:
    """The id of the user of the new token. Raises: ValidationFailed, Forbidden"""
    user_id = draft.user_id or actor.user_id
    if user_id is None:
        raise ValidationFailed([FieldError("user_id", N_("is required in a request without a user"))])
    if draft.expires_at is not None and draft.expires_at <= datetime.now(UTC):
        raise ValidationFailed([FieldError("expires_at", N_("must be in the future"))])
    if not actor.may(draft.role):
        names = {"role": ROLE_NAMES[actor.role], "other": ROLE_NAMES[draft.role]}
        raise Forbidden(N_("The role %(role)s may not create a token with the role %(other)s.", **names))
    return user_id


def _lock_user(connection: Connection, user_id: uuid.UUID, token_role: Role) -> Row[Any]:
    """Lock the user of a new token with this role. Raises: ValidationFailed"""
    statement = select(users.c.id, users.c.username, users.c.version, users.c.role, users.c.active)
    user = connection.execute(statement.where(users.c.id == user_id, NOT_IN_TRASH).with_for_update()).one_or_none()
    if user is None or not user.active:
        raise ValidationFailed([FieldError("user_id", N_("must be the id of an active user"))])
    user_role = cast("Role", user.role)
    if ROLES.index(token_role) > ROLES.index(user_role):
        message = N_("must not be higher than the role of the user, %(role)s", role=ROLE_NAMES[user_role])
        raise ValidationFailed([FieldError("role", message)])
    return cast("Row[Any]", user)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _fields(row: Row[Any]) -> dict[str, Any]:
    """The public fields of a token, as far as the row has them."""
    values = {name: value for name, value in row._asdict().items() if name in PublicToken.model_fields}
    return {name: format_timestamp(value) if isinstance(value, datetime) else value for name, value in values.items()}


def _change(**rows: Row[Any]) -> dict[str, Any]:
    """A change in the history: id, name and role of the `old` or `new` token, never its secret."""
    tokens = {side: {"id": str(row.id), "name": row.name, "role": row.role} for side, row in rows.items()}
    return {"field": "token", "old": None, "new": None, **tokens}
