"""Idempotency keys: a repeated POST creates one user and returns the response of the first.

Source: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/. The statement that creates the user
stores the response (CREATE_USER_IDEMPOTENTLY). A failed request stores nothing and can be repeated.
"""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import timedelta

import orjson
from sqlalchemy import Connection, delete, func, select

from app.auth import passwords
from app.db.database import Database
from app.errors import N_, IdempotencyKeyReused
from app.models import IdempotencyKey, table_of
from app.schemas import UserDraft
from app.users.reads import Document

_keys = table_of(IdempotencyKey)


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A POST with an Idempotency-Key.

    key: with its owner (Actor.principal), because two clients may use the same key. ttl: how long it is stored.
    """

    key: str
    draft: UserDraft
    ttl: timedelta

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the request without its password. A repeated request must have the same."""
        fields = self.draft.model_dump(exclude={"password"})
        return hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).digest()


def earlier_response(database: Database, request: IdempotentRequest) -> Document | None:
    """The stored response of an earlier request with this key, or None. Raises: IdempotencyKeyReused, Unavailable"""
    found = select(_keys).where(_keys.c.key == request.key, _keys.c.created_at >= func.now() - request.ttl)
    with database.connection() as connection:
        stored = connection.execute(found).one_or_none()
    if stored is None:
        return None
    has_password = passwords.verify_nullable(request.draft.password, stored.password_hash)
    if stored.fingerprint != request.fingerprint or not has_password:
        raise IdempotencyKeyReused(
            N_("This Idempotency-Key was used for a different request. Use a new key for each request.")
        )
    return Document(1, stored.body)


def erase(connection: Connection, user_id: uuid.UUID) -> None:
    """Delete the stored responses with the data of a user."""
    connection.execute(delete(_keys).where(_keys.c.user_id == user_id))
