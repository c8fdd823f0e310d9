"""Writes users: transactions that invalidate caches at their end, and prepared statements that share one commit."""

import uuid
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from operator import attrgetter
from typing import Any

from psycopg.types.json import Json
from sqlalchemy import Connection

from app.auth import admins, tokens
from app.auth.admins import Admins
from app.auth.permissions import AuditContext
from app.cache.generations import USERS_KEY, Generations, user_key
from app.cache.single_flight import Batcher
from app.db.database import LOCK_TIMEOUT_MS, Database
from app.db.error_translation import ConstraintViolation
from app.errors import AlreadyTaken, Busy, Unavailable
from app.search.text import lexemes
from app.users import idempotency, rows
from app.users.idempotency import IdempotentRequest
from app.users.reads import Document
from app.users.sql import CREATE_USER_IDEMPOTENTLY, WRITE_USERS

_BATCH_LOCK_TIMEOUT = "25ms"
"""How long a batch waits for a lock. A commit takes a few milliseconds."""
_SINGLE_LOCK_TIMEOUT = f"{LOCK_TIMEOUT_MS}ms"
"""How long a single write waits for a lock."""
_FIELD_BY_CONSTRAINT = {
    "users_username_key": "username",
    "users_email_key": "email",
    "users_username_identifier": "username",
    "users_email_identifier": "email",
}


class UserTransactions:
    """Transactions that change users, and the invalidation of caches after them."""

    def __init__(self, database: Database, generations: Generations, admins: Admins) -> None:
        self._database, self._generations, self._admins = database, generations, admins

    @contextmanager
    def unit_of_work(self, user_ids: list[uuid.UUID]) -> Iterator[Connection]:
        """A transaction that changes these users, to which the block may add. It invalidates them, and all lists,
        at its end. Raises: AlreadyTaken (a unique constraint failed), Unavailable
        """
        key = user_ids[0] if user_ids else None
        with self.invalidating(user_ids), self._database.transaction(key) as connection:
            yield connection
        with suppress(Unavailable):
            # Notices the first administrator, which secures the service before its creation is confirmed.
            self._admins.is_secured()

    @contextmanager
    def invalidating(self, user_ids: Iterable[uuid.UUID]) -> Iterator[None]:
        """Invalidate these users and all lists at the end of the block, which writes users.

        Raises: AlreadyTaken (a unique constraint failed), Unavailable
        """
        try:
            yield
        except ConstraintViolation as error:
            if error.name not in _FIELD_BY_CONSTRAINT:
                raise
            raise AlreadyTaken(_FIELD_BY_CONSTRAINT[error.name]) from None
        except Busy:
            # Nothing was written.
            raise
        except Unavailable:
            # The commit may have succeeded before the connection was lost.
            self.invalidate(user_ids)
            raise
        self.invalidate(user_ids)

    def invalidate(self, user_ids: Iterable[uuid.UUID]) -> None:
        """Invalidate these users and all lists."""
        self._generations.invalidate([USERS_KEY, *map(user_key, user_ids)])


class PendingWrite:
    """One user to create or update.

    changes: the history entry. expected_json: the JSON that an update is based on; None: the user is new.
    row: its columns in the statement (users.sql). contention_key: writes with the same key may wait for each other.
    must_run_alone: the batch of this write was rolled back.
    """

    def __init__(
        self,
        user_id: uuid.UUID,
        values: dict[str, Any],
        changes: list[dict[str, Any]],
        audit_context: AuditContext,
        expected_json: str | None = None,
    ) -> None:
        self.user_id = user_id
        keys = rows.key_columns(values)
        derived = {**keys, "lexemes": lexemes(values), "changes": changes, "expected_json": expected_json}
        writer = {**audit_context.columns, **tokens.token_guard(audit_context.actor)}
        self.row = {"id": user_id, **values, **derived, **writer}
        is_update = expected_json is not None
        # A new user may wait for a transaction that took its identifier; an update, for one that locked its row.
        self.contention_key: Hashable = user_id if is_update else keys["email_key"] or keys["username_key"]
        self.must_run_alone = False


class UserWrites:
    """Creates and updates users, with their history. Concurrent writes share one statement and one commit.

    A write that waits for a lock, or breaks a rule, must not delay or undo the others: then each is executed alone.
    """

    def __init__(self, database: Database, transactions: UserTransactions) -> None:
        self._database, self._transactions = database, transactions
        self._batcher = Batcher(self._write_batch)

    def create(
        self,
        user_id: uuid.UUID,
        values: dict[str, Any],
        audit_context: AuditContext,
        request: IdempotentRequest | None,
    ) -> Document | None:
        """Create a user, its history and the stored response of an idempotent request, in one statement.

        Returns None if the Idempotency-Key is in use, or the token of the actor is not what it was.
        Raises: AlreadyTaken, Conflict (only the first administrator may be created, and one exists), Unavailable
        """
        pending = PendingWrite(user_id, values, rows.diff({}, values), audit_context)
        is_admin = admins.is_admin(values)
        if request is None and not is_admin:
            return self.write(pending)
        # An Idempotency-Key has a statement of its own, and an administrator needs the lock of check_promotion.
        sql, parameters = WRITE_USERS, {"pending_writes": Json([pending.row]), "lock_timeout": _SINGLE_LOCK_TIMEOUT}
        if request is not None:
            stored = {"key": request.key, "fingerprint": request.fingerprint, "ttl": request.ttl}
            sql, parameters = CREATE_USER_IDEMPOTENTLY, parameters | stored
        if is_admin:
            with self._transactions.unit_of_work([user_id]) as connection:
                admins.check_promotion(connection, audit_context.actor, [{}], values)
                row = connection.exec_driver_sql(sql, parameters).one_or_none()
        else:
            with self._transactions.invalidating([user_id]), self._database.write_slots.slot(parameters["key"]):
                row = self._database.execute(sql, parameters).fetchone()
        return None if row is None else Document(row[1], row[2].encode())

    def write(self, pending: PendingWrite) -> Document | None:
        """Execute a write. Returns the written user.

        Returns None if the user is not as expected any more, or the token of the actor is not what it was.
        Raises: AlreadyTaken, Unavailable
        """
        written = self._batcher.get(pending)
        if not pending.must_run_alone:
            return written
        with self._database.write_slots.slot(pending.contention_key):
            return self._write({pending.user_id: pending}, _SINGLE_LOCK_TIMEOUT).get(pending)

    def earlier_response(self, request: IdempotentRequest) -> Document | None:
        """The stored response of an earlier request with this key, or None.

        Raises: IdempotencyKeyReused, Unavailable
        """
        return idempotency.earlier_response(self._database, request)

    def _write_batch(self, pending: Sequence[PendingWrite]) -> Mapping[PendingWrite, Document]:
        # The second of two updates of one user is based on an old version. Sorted: all batches lock in one order.
        first: dict[uuid.UUID, PendingWrite] = {}
        for write in sorted(pending, key=attrgetter("user_id")):
            first.setdefault(write.user_id, write)
        try:
            return self._write(first, _BATCH_LOCK_TIMEOUT)
        except Exception as error:
            is_lock_timeout = isinstance(error, Busy)
            # After any other Unavailable it is unknown whether the batch was written.
            if not is_lock_timeout and (isinstance(error, Unavailable) or len(pending) == 1):
                raise
            # The batch was rolled back. Each write is executed alone, to find the one that failed.
            for write in pending:
                write.must_run_alone = True
            return {}

    def _write(self, writes: Mapping[uuid.UUID, PendingWrite], lock_timeout: str) -> Mapping[PendingWrite, Document]:
        """Execute one statement for all of `writes`, which are keyed by user id. Returns the written users.

        Raises: AlreadyTaken, Busy, Unavailable
        """
        parameters = {"pending_writes": Json([write.row for write in writes.values()]), "lock_timeout": lock_timeout}
        with self._transactions.invalidating(writes):
            written = self._database.execute(WRITE_USERS, parameters).fetchall()
        return {writes[user_id]: Document(version, body.encode()) for user_id, version, body in written}
