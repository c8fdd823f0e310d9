"""Idempotency keys: the same POST twice makes one user and gives one answer.

After https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/. The answer is kept by the
statement that makes the user (statements.MADE_ONCE); what failed was rolled back and may be tried again.
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
from app.users.serialization import Document

_keys = table_of(IdempotencyKey)


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request that carries an Idempotency-Key, and whose key that is (Actor.principal)."""

    key: str
    draft: UserDraft
    ttl: timedelta
    principal: str

    @property
    def stored_key(self) -> str:
        """Another one for each principal: two clients with the key `1` have nothing to do with each other."""
        return f"{self.principal} {self.key}"

    @property
    def fingerprint(self) -> bytes:
        """What must be the same when the key comes again, but for the password."""
        fields = self.draft.model_dump(exclude={"password"})
        return hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).digest()


def earlier_response(database: Database, request: IdempotentRequest) -> Document | None:
    """The answer that was given to this key before, or None. Raises: IdempotencyKeyReused, Unavailable"""
    found = select(_keys).where(_keys.c.key == request.stored_key, _keys.c.created_at >= func.now() - request.ttl)
    with database.connection() as connection:
        kept = connection.execute(found).one_or_none()
    if kept is None:
        return None
    if kept.fingerprint != request.fingerprint or not passwords.verify_nullable(
        request.draft.password, kept.password_hash
    ):
        raise IdempotencyKeyReused(
            N_("This Idempotency-Key came before with another request. Use a new key for a new request.")
        )
    return Document(1, kept.body)


def erase(connection: Connection, user_id: uuid.UUID) -> None:
    """Forget the answers that hold a user's data."""
    connection.execute(delete(_keys).where(_keys.c.user_id == user_id))
