"""Creates and updates users by prepared statements. Concurrent writes share one round trip and one commit."""

import functools
import uuid
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, cast

from psycopg.pq.abc import PGresult

from app.auth import admins, audit_log, tokens
from app.auth.audit_log import AuditContext
from app.auth.permissions import Actor
from app.cache.keys import user_key
from app.cache.single_flight import Batcher
from app.config import Settings
from app.db.connection import LOCK_TIMEOUT_MS
from app.db.database import Database, execute_prepared_in
from app.db.encoding import encode_bytea, encode_json
from app.db.statement import Statement
from app.errors import Busy, Unavailable
from app.search.text import lexemes
from app.users import history, idempotency
from app.users.idempotency import IdempotentRequest
from app.users.reads import UserSnapshot
from app.users.rows import key_columns
from app.users.serialization import Document
from app.users.sql import CREATE_USER_IDEMPOTENTLY, WRITE_USERS
from app.users.unit_of_work import UserTransactions

_BATCH_LOCK_TIMEOUT = "25ms"
"""How long a batch waits for a lock. A commit takes a few milliseconds."""
_SINGLE_LOCK_TIMEOUT = f"{LOCK_TIMEOUT_MS}ms"
"""How long a single write waits for a lock."""
_Execute = Callable[..., PGresult]


class PendingWrite:
    """One user to create or update. row: the columns of _DRAFT as JSON.

    changes: the history entry. expected_json: the JSON that an update is based on; None: the user is new.
    Raises: BadRequest
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
        keys = key_columns(values)
        derived = {**keys, "lexemes": lexemes(values), "changes": changes, "expected_json": expected_json}
        writer = {**audit_log.origin_columns(audit_context), **tokens.token_guard(audit_context.actor)}
        self.row = encode_json({"id": user_id, **values, **derived, **writer})
        is_update = expected_json is not None
        # A new user may wait for a transaction that took its identifier; an update, for one that locked its row.
        self.contention_key: Hashable = user_id if is_update else keys["email_key"] or keys["username_key"]
        self.must_run_alone = False


class UserWrites:
    """Creates and updates users, with their history. Concurrent writes share one statement and one commit.

    A write that waits for a lock, or breaks a rule, must not delay or undo the others: then each is executed alone.
    """

    def __init__(self, database: Database, transactions: UserTransactions, settings: Settings) -> None:
        self._database, self._transactions = database, transactions
        self._self_editable_keys = settings.self_editable_keys
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
        pending = PendingWrite(user_id, values, history.diff({}, values), audit_context)
        is_admin = admins.is_admin(values)
        if request is None and not is_admin:
            return self.write(pending)
        execute = (
            functools.partial(self._execute_with_promotion, audit_context.actor, values)
            if is_admin
            else functools.partial(self._execute_in_slot, user_id if request is None else request.stored_key)
        )
        if request is None:
            return self._write(WRITE_USERS, [pending], _SINGLE_LOCK_TIMEOUT, execute=execute).get(user_id)
        stored = (request.stored_key, encode_bytea(request.fingerprint), f"{request.ttl.total_seconds()} seconds")
        statement = CREATE_USER_IDEMPOTENTLY
        return self._write(statement, [pending], _SINGLE_LOCK_TIMEOUT, *stored, execute=execute).get(user_id)

    def pending_update(
        self, before: UserSnapshot, values: dict[str, Any], audit_context: AuditContext
    ) -> PendingWrite | None:
        """The write that changes the fields of `before` to `values`. None: nothing changes. Raises: Forbidden"""
        changes = history.diff(before.values, values)
        fields = [change["field"] for change in changes]
        audit_context.actor.require_change(before.id, before.values["role"], fields, self._self_editable_keys)
        return PendingWrite(before.id, values, changes, audit_context, before.body.decode()) if changes else None

    def write(self, pending: PendingWrite) -> Document | None:
        """Execute a write. Returns the written user.

        Returns None if the user is not as in the snapshot any more, or the token of the actor is not what it was.
        Raises: AlreadyTaken, Unavailable
        """
        written = self._batcher.get(pending)
        if not pending.must_run_alone:
            return written
        execute = functools.partial(self._execute_in_slot, pending.contention_key)
        return self._write(WRITE_USERS, [pending], _SINGLE_LOCK_TIMEOUT, execute=execute).get(pending.user_id)

    def earlier_response(self, request: IdempotentRequest) -> Document | None:
        """The stored response of an earlier request with this key, or None.

        Raises: IdempotencyKeyReused, Unavailable
        """
        return idempotency.earlier_response(self._database, request)

    def _write_batch(self, pending: Sequence[PendingWrite]) -> Mapping[PendingWrite, Document]:
        # The second of two updates of one user is based on an old version. Sorted: all batches lock in one order.
        first: dict[uuid.UUID, PendingWrite] = {}
        for write in sorted(pending, key=lambda write: write.user_id):
            first.setdefault(write.user_id, write)
        try:
            written = self._write(WRITE_USERS, list(first.values()), _BATCH_LOCK_TIMEOUT)
        except Exception as error:
            is_lock_timeout = isinstance(error, Busy)
            # After any other Unavailable it is unknown whether the batch was written.
            if not is_lock_timeout and (isinstance(error, Unavailable) or len(pending) == 1):
                raise
            # The batch was rolled back. Each write is executed alone, to find the one that failed.
            for write in pending:
                write.must_run_alone = True
            return {}
        return {first[user_id]: document for user_id, document in written.items()}

    def _execute_in_slot(self, key: Hashable, statement: Statement, *parameters: object) -> PGresult:
        """Execute a statement that may wait for other writers of `key`. Raises: Busy, and as execute_prepared"""
        with self._database.write_slot(key):
            return self._database.execute_prepared(statement, *parameters)

    def _execute_with_promotion(
        self, actor: Actor, values: Mapping[str, Any], statement: Statement, *parameters: object
    ) -> PGresult:
        """Execute a statement that creates an administrator. Raises: Conflict, and as execute_prepared"""
        with self._database.transaction() as connection:
            admins.check_promotion(connection, actor, [{}], values)
            return execute_prepared_in(connection, statement, *parameters)

    def _write(
        self,
        statement: Statement,
        pending: Sequence[PendingWrite],
        lock_timeout: str,
        *parameters: object,
        execute: _Execute | None = None,
    ) -> dict[uuid.UUID, Document]:
        """Execute one statement for all pending writes. Returns the written users by id.

        execute: executes the statement; None is Database.execute_prepared.
        Raises: AlreadyTaken, Unavailable, and what `execute` raises
        """
        rows = b"[" + b",".join(write.row for write in pending) + b"]"
        with self._transactions.invalidating(user_key(write.user_id) for write in pending):
            return _documents((execute or self._database.execute_prepared)(statement, rows, lock_timeout, *parameters))


def _documents(result: PGresult) -> dict[uuid.UUID, Document]:
    """The rows of a write statement by user id."""
    written = {}
    for row in range(result.ntuples):
        user_id, version, body = (cast("bytes", result.get_value(row, column)) for column in range(3))
        written[uuid.UUID(user_id.decode())] = Document(int(version), body)
    return written
