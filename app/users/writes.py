"""Creates and changes users by prepared statements: one round trip and one commit for concurrent writes."""

import functools
import uuid
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, cast

import orjson
from psycopg.pq.abc import PGresult

from app.auth import admins, audit_log, tokens
from app.auth.audit_log import AuditContext
from app.auth.permissions import Actor
from app.cache.keys import user_key
from app.cache.single_flight import Batcher
from app.config import Settings
from app.db.connection import LOCK_WAIT_MS, Statement, bytea_text, json_text
from app.db.database import Database, execute_prepared_in
from app.errors import Busy, Unavailable
from app.schemas import UserDraft
from app.search.text import lexemes
from app.users import history, idempotency
from app.users.columns import named, values_of
from app.users.idempotency import IdempotentRequest
from app.users.reads import UserSnapshot
from app.users.serialization import Document
from app.users.sql import CREATE_USER_IDEMPOTENTLY, WRITE_USERS
from app.users.unit_of_work import UserTransactions

_PATIENCE = "25ms"
"""How long several wait for a lock together: a commit takes a few milliseconds."""
_ALONE = f"{LOCK_WAIT_MS}ms"
"""How long a writer waits alone."""
_Ask = Callable[..., PGresult]


class PendingWrite:
    """What is to be written of one user: the columns of a hot statement, as JSON. Raises: BadRequest"""

    def __init__(
        self, user_id: uuid.UUID, fields: dict[str, Any], values: dict[str, Any], audit_context: AuditContext
    ) -> None:
        self.user_id = user_id
        told = {**audit_log.origin_columns(audit_context), **tokens.token_guard(audit_context.actor)}
        keys = named(values)
        self.row = json_text({"id": user_id, **fields, **keys, "lexemes": lexemes(values), **told})
        self.is_change = "was" in fields
        # Of several new users with one identifier, one may wait for a transaction that has taken it.
        self.waits_for: Hashable = user_id if self.is_change else keys["email_key"] or keys["username_key"]
        self.is_alone = False


class UserWrites:
    """Creates and changes users, with their history. Concurrent writes share one statement and one commit.

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
        idempotent_request: IdempotentRequest | None,
    ) -> Document | None:
        """A new user, with its history and the answer to `attempt`, in one statement.

        None: the key was used before, or the token of the caller is not what it was.

        Raises: AlreadyTaken, Conflict (only the first administrator may be made, and there is one), Unavailable
        """
        draft = PendingWrite(user_id, {"changes": history.differences({}, values), **values}, values, audit_context)
        is_administrator = admins.is_admin(values)
        if idempotent_request is None and not is_administrator:
            return self.write(draft)
        key = idempotent_request.stored_key if idempotent_request is not None else user_id
        ask = (
            functools.partial(self._create_admin, audit_context.actor, values)
            if is_administrator
            else functools.partial(self._in_turn, key)
        )
        if idempotent_request is None:
            return self._execute(WRITE_USERS, [draft], _ALONE, ask=ask).get(user_id)
        kept = (
            idempotent_request.stored_key,
            bytea_text(idempotent_request.fingerprint),
            f"{idempotent_request.ttl.total_seconds()} seconds",
        )
        return self._execute(CREATE_USER_IDEMPOTENTLY, [draft], _ALONE, *kept, ask=ask).get(user_id)

    def pending_update(
        self, before: UserSnapshot, after: UserDraft, audit_context: AuditContext
    ) -> PendingWrite | None:
        """What makes `after` of `before`; None: nothing. Raises: ValidationFailed, Forbidden"""
        values = values_of(after)
        changes = history.differences({**before._asdict(), "attributes": orjson.loads(before.attributes)}, values)
        fields = [change["field"] for change in changes]
        audit_context.actor.require_change(before.id, before.role, fields, self._self_editable_keys)
        if not changes:
            return None
        kept = {"was": before.body.decode(), "attributes": values["attributes"], "changes": changes}
        return PendingWrite(before.id, kept, values, audit_context)

    def write(self, pending: PendingWrite) -> Document | None:
        """Execute a write. Returns the user; None: nothing was written.

        None means that the user is not as the snapshot has it, or the token of the caller is not what it was.
        Raises: AlreadyTaken, Unavailable
        """
        written = self._batcher.get(pending)
        if not pending.is_alone:
            return written
        alone = functools.partial(self._in_turn, pending.waits_for)
        return self._execute(WRITE_USERS, [pending], _ALONE, ask=alone).get(pending.user_id)

    def earlier_response(self, request: IdempotentRequest) -> Document | None:
        """The response that was given to this key before, or None. Raises: IdempotencyKeyReused, Unavailable"""
        return idempotency.earlier_response(self._database, request)

    def _write_batch(self, pending: Sequence[PendingWrite]) -> Mapping[PendingWrite, Document]:
        # Of two changes of one user the second has not seen the first. All lock users in the same order.
        first: dict[uuid.UUID, PendingWrite] = {}
        for write in sorted(pending, key=lambda write: write.user_id):
            first.setdefault(write.user_id, write)
        try:
            written = self._execute(WRITE_USERS, list(first.values()), _PATIENCE)
        except Exception as error:
            is_locked_out = isinstance(error, Busy)
            # After any other Unavailable it is unknown whether the batch was written.
            if not is_locked_out and (isinstance(error, Unavailable) or len(pending) == 1):
                raise
            # The batch was rolled back. Each write is executed alone, to find the one that failed.
            for write in pending:
                write.is_alone = True
            return {}
        return {first[user_id]: document for user_id, document in written.items()}

    def _in_turn(self, key: Hashable, statement: Statement, *given: object) -> PGresult:
        """What a statement gives that may wait for others who change `key`. Raises: Busy, and as `asked`"""
        with self._database.write_slot(key):
            return self._database.execute_prepared(statement, *given)

    def _create_admin(self, actor: Actor, values: Mapping[str, Any], statement: Statement, *given: object) -> PGresult:
        """What a statement gives that makes an administrator of `values`. Raises: Conflict, and as `asked`"""
        with self._database.transaction() as connection:
            admins.check_promotion(connection, actor, [{}], values)
            return execute_prepared_in(connection, statement, *given)

    def _execute(
        self,
        statement: Statement,
        drafts: Sequence[PendingWrite],
        patience: str,
        *more: object,
        ask: _Ask | None = None,
    ) -> dict[uuid.UUID, Document]:
        """Execute one statement for all `drafts`. Returns the written users by id.

        patience: how long it waits for locks, as PostgreSQL's lock_timeout. ask: executes it; None is
        Database.execute_prepared. Raises: AlreadyTaken, Unavailable, and what `ask` raises
        """
        rows = b"[" + b",".join(draft.row for draft in drafts) + b"]"
        with self._transactions.invalidating(user_key(draft.user_id) for draft in drafts):
            return _read((ask or self._database.execute_prepared)(statement, rows, patience, *more))


def _read(found: PGresult) -> dict[uuid.UUID, Document]:
    """What a hot statement wrote, by id."""
    written = {}
    for row in range(found.ntuples):
        user_id, version, body = (cast("bytes", found.get_value(row, column)) for column in range(3))
        written[uuid.UUID(user_id.decode())] = Document(int(version), body)
    return written
