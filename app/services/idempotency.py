"""Idempotency keys: the same POST twice makes one user and gives one answer.

After https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/. The answer is
kept in the transaction that makes the user; what failed was rolled back and may be tried again.
"""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import timedelta

import orjson
from sqlalchemy import Connection, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from app.errors import KeyReused
from app.models import IdempotencyKey, table_of
from app.schemas import UserDraft
from app.services import passwords
from app.services.documents import Document

_keys = table_of(IdempotencyKey)
_SWEEP = text(
    "DELETE FROM idempotency_keys WHERE key IN"
    " (SELECT key FROM idempotency_keys WHERE created_at < now() - :ttl ORDER BY created_at LIMIT 20)"
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request that carries an Idempotency-Key."""

    key: str
    draft: UserDraft
    ttl: timedelta

    @property
    def fingerprint(self) -> bytes:
        """What must be the same when the key comes again, but for the password."""
        fields = self.draft.model_dump(exclude={"password"})
        return hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).digest()


def earlier_answer(connection: Connection, attempt: Attempt) -> Document | None:
    """The answer that was given to this key before, or None. A second request at the same time waits here.

    Raises: KeyReused
    """
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(attempt.key, 5000))))
    kept = connection.execute(
        select(_keys).where(
            _keys.c.key == attempt.key, _keys.c.created_at >= func.now() - bindparam("ttl", attempt.ttl)
        )
    ).one_or_none()
    if kept is None:
        return None
    if kept.fingerprint != attempt.fingerprint or not passwords.matches(attempt.draft.password, kept.password_hash):
        raise KeyReused("This Idempotency-Key came before with another request. Use a new key for a new request.")
    return Document(1, kept.body)


def keep(
    connection: Connection, attempt: Attempt, user_id: uuid.UUID, password_hash: str | None, answer: Document
) -> None:
    """Keep `answer` in the transaction of the change, and sweep out a few keys that are too old."""
    row = {
        "key": attempt.key,
        "fingerprint": attempt.fingerprint,
        "password_hash": password_hash,
        "user_id": user_id,
        "body": answer.body,
        "created_at": func.now(),
    }
    statement = insert(_keys).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=row))
    connection.execute(_SWEEP, {"ttl": attempt.ttl})


def erase(connection: Connection, user_id: uuid.UUID) -> None:
    """Forget the answers that hold a user's data."""
    connection.execute(delete(_keys).where(_keys.c.user_id == user_id))
