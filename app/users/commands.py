"""Commands on single users: create, replace, update, delete, restore, purge."""

import uuid
from functools import partial
from typing import Any

import orjson
from sqlalchemy import Connection, Row, delete, func, insert, select, update
from uuid_utils.compat import uuid7

from app.auth import admins, audit_log, passwords, tokens
from app.auth.audit_log import AuditContext
from app.auth.login import Login
from app.auth.schemas import PasswordChange
from app.auth.sessions import Sessions
from app.auth.tokens import Tokens
from app.config import Settings
from app.errors import N_, Conflict, NotFound, Unavailable, VersionConflict
from app.models import HistoryEntry, table_of, users
from app.schemas import UserDraft, UserPatch, UserReplacement
from app.types import Precondition
from app.users import history, idempotency
from app.users.columns import ENDED, MOVED, merged, restored, stored, trashed, values_of
from app.users.idempotency import IdempotentRequest
from app.users.reads import UserReads, UserSnapshot
from app.users.serialization import PUBLIC, Document, document
from app.users.unit_of_work import UnitOfWork, UserTransactions
from app.users.writes import UserWrites

_TRIES = 3
_GRAVE = frozenset({"role", "active", "password"})
"""What ends sessions and tokens, or the last administrator: to be thought about while nobody else changes anything."""


class Users:
    """Commands on single users. Each is one transaction with its history entry; caches are invalidated after it."""

    def __init__(
        self,
        reads: UserReads,
        writes: UserWrites,
        transactions: UserTransactions,
        *,
        login: Login,
        tokens: Tokens,
        sessions: Sessions,
        settings: Settings,
    ) -> None:
        self._reads, self._writes, self._transactions = reads, writes, transactions
        self._login, self._tokens, self._sessions = login, tokens, sessions
        self._self_editable_keys = settings.self_editable_keys

    def create(
        self, draft: UserDraft, audit_context: AuditContext, idempotent_request: IdempotentRequest | None = None
    ) -> tuple[Document, uuid.UUID, bool]:
        """Make a user. Returns it, its id, and whether this is the earlier answer to `attempt`.

        Whether a token is still good for it is found out with the write.
        Raises: ValidationFailed, Forbidden, Unauthorized, AlreadyTaken, IdempotencyKeyReused, Unavailable
        """
        values = values_of(draft)
        audit_context.actor.require_create(draft.role)
        passwords.reject_own_name(draft.password, values)
        values["password_hash"] = passwords.hash_password(draft.password)
        user_id = uuid7()
        made = self._writes.create(user_id, values, audit_context, idempotent_request)
        if made is not None:
            return made, user_id, False
        self._tokens.recheck(audit_context.actor)
        # Nothing was made, so the key was used; unless that was undone or became too old a moment ago.
        answer = self._writes.earlier_response(idempotent_request) if idempotent_request is not None else None
        if answer is None:
            raise Unavailable(N_("Another request was under way that this one depends on. Try again shortly."))
        return answer, uuid.UUID(orjson.loads(answer.body)["id"]), True

    def replace(
        self, user_id: uuid.UUID, draft: UserReplacement, allowed: Precondition, audit_context: AuditContext
    ) -> tuple[Document, bool]:
        """Replace a user, or create it with this id. A password that is left out stays. Returns it, and if it is new.

        Raises: ValidationFailed, Forbidden, RateLimited, AlreadyTaken, VersionConflict,
        Conflict (it is in the trash, or the last administrator),
        Unavailable
        """
        return self._login.with_password(
            draft.current_password, allowed, audit_context, partial(self._replace, user_id, draft)
        )

    def _replace(
        self, user_id: uuid.UUID, draft: UserDraft, allowed: Precondition, audit_context: AuditContext
    ) -> tuple[Document, bool]:
        values = values_of(draft)
        passwords.reject_own_name(draft.password, values)
        secret = {"password_hash": passwords.hash_password(draft.password)} if draft.password is not None else {}
        with self._transactions.unit_of_work(user_id) as work:
            # Two may make the same id at once: the second waits here and then replaces.
            work.connection.execute(select(func.pg_advisory_xact_lock(user_id.int >> 65)))
            row = _locked(work.connection, user_id)
            if row is not None and row.deleted_at is not None:
                raise Conflict(N_("This user is in the trash. Restore or purge it first."))
            if row is None:
                audit_context.actor.require_create(draft.role)
            _require(allowed, row.version if row else None)
            if row is None:
                admins.check_promotion(work.connection, audit_context.actor, [{}], {**values, **secret})
                version = _next_version(work.connection, user_id)
                made = _insert(work.connection, audit_context, user_id, {**values, **secret}, version)
            else:
                made = self._update_row(work, audit_context, row, {**values, **secret})
        return made, row is None

    def update(
        self, user_id: uuid.UUID, patch: UserPatch, allowed: Precondition, audit_context: AuditContext
    ) -> Document:
        """Change the fields that `patch` sets. Changing nothing gives no new version.

        Whether a token is still good for it is found out with the write, or before it.
        Raises: NotFound, ValidationFailed, Forbidden, RateLimited, Unauthorized, AlreadyTaken,
        VersionConflict, Conflict (it is the last administrator), Unavailable
        """
        return self._login.with_password(
            patch.current_password, allowed, audit_context, partial(self._update_with_password, user_id, patch)
        )

    def _update_with_password(
        self, user_id: uuid.UUID, patch: UserPatch, allowed: Precondition, audit_context: AuditContext
    ) -> Document:
        is_grave = not patch.model_fields_set.isdisjoint(_GRAVE)
        self._tokens.recheck(audit_context.actor)
        for _ in range(0 if is_grave else _TRIES):
            made = self._update_snapshot(self._reads.get_snapshot(user_id), patch, allowed, audit_context)
            if made is not None:
                return made
        return self._update_locked(user_id, patch, allowed, audit_context)

    def _update_snapshot(
        self, seen: UserSnapshot, patch: UserPatch, allowed: Precondition, audit_context: AuditContext
    ) -> Document | None:
        """Change a user as it was seen. None, when somebody else was faster."""
        _require(allowed, seen.version)
        draft = self._writes.pending_update(seen, merged(seen, patch), audit_context)
        if draft is not None:
            return self._writes.write(draft)
        # Another host may have changed it so. Who is told of that must not read here what was before.
        self._transactions.invalidate_user(seen.id)
        return Document(seen.version, seen.body)

    def _update_locked(
        self, user_id: uuid.UUID, patch: UserPatch, allowed: Precondition, audit_context: AuditContext
    ) -> Document:
        """Change a user while nobody else can: what ends sessions, or the last administrator, is thought about."""
        secret = (
            {"password_hash": passwords.hash_password(patch.password)} if "password" in patch.model_fields_set else {}
        )
        with self._transactions.unit_of_work(user_id) as work:
            row = _living(_locked(work.connection, user_id))
            _require(allowed, row.version)
            values = values_of(merged(row, patch))
            passwords.reject_own_name(patch.password, values)
            return self._update_row(work, audit_context, row, {**values, **secret})

    def set_own_password(self, user_id: uuid.UUID, offered: PasswordChange, audit_context: AuditContext) -> None:
        """Give the user of the caller a new password, for the current one: it ends all sessions.

        Raises: NotFound, ValidationFailed, Forbidden, RateLimited, VersionConflict, Unavailable
        """
        audit_context.actor.require_session(("password",))
        allowed, audit_context = self._login.reauthenticate(
            user_id, offered.current_password, lambda _: True, audit_context
        )
        self.update(user_id, UserPatch(password=offered.new_password), allowed, audit_context)

    def delete(self, user_id: uuid.UUID, allowed: Precondition, audit_context: AuditContext) -> None:
        """Put a user into the trash; its username and email are free again, its sessions and tokens end.

        Raises: NotFound, Forbidden, VersionConflict, Conflict (it is the last administrator), Unavailable
        """
        with self._transactions.unit_of_work(user_id) as work:
            row = _living(_locked(work.connection, user_id))
            audit_context.actor.require_role_above(row.role)
            _require(allowed, row.version)
            admins.require_remaining_admin(work.connection, [row])
            tokens.revoke_all(work.connection, [row], audit_context)
            made = _put(work.connection, row, {**trashed(), **ENDED})
            audit_log.record(work.connection, audit_context, user_id, made.version, "deleted")

    def restore(self, user_id: uuid.UUID, allowed: Precondition, audit_context: AuditContext) -> Document:
        """Take a user out of the trash.

        Raises: NotFound, Forbidden, Conflict (it is not in the trash), AlreadyTaken (its username or email is used
        now), VersionConflict, Unavailable
        """
        with self._transactions.unit_of_work(user_id) as work:
            row = _locked(work.connection, user_id)
            if row is None:
                raise NotFound(N_("There is no such user."))
            audit_context.actor.require_role_above(row.role)
            _require(allowed, row.version)
            if row.deleted_at is None:
                raise Conflict(N_("This user is not in the trash."))
            admins.check_promotion(work.connection, audit_context.actor, [row._asdict()], {"deleted_at": None})
            made = document(_put(work.connection, row, restored()))
            audit_log.record(work.connection, audit_context, user_id, made.version, "restored")
        return made

    def purge(self, user_id: uuid.UUID, allowed: Precondition, audit_context: AuditContext) -> None:
        """Remove a user, living or in the trash, for good, with all values in its history.

        Raises: NotFound, VersionConflict, Conflict (it is the last administrator), Unavailable
        """
        with self._transactions.unit_of_work(user_id) as work:
            row = _locked(work.connection, user_id)
            if row is None:
                raise NotFound(N_("There is no such user."))
            _require(allowed, row.version)
            admins.require_remaining_admin(work.connection, [row])
            tokens.revoke_all(work.connection, [row], audit_context)
            work.connection.execute(delete(users).where(users.c.id == user_id))
            history.erase(work.connection, user_id)
            idempotency.erase(work.connection, user_id)
            audit_log.record(work.connection, audit_context, user_id, row.version + 1, "purged")
        self._sessions.delete_of_purged_user(user_id)

    def _update_row(
        self, work: UnitOfWork, audit_context: AuditContext, row: Row[Any], values: dict[str, Any]
    ) -> Document:
        before = {**row._asdict(), "attributes": orjson.loads(row.attributes)}
        after = {"password_hash": row.password_hash, **values}
        changes = history.differences(before, after)
        fields = {change["field"] for change in changes}
        audit_context.actor.require_change(row.id, row.role, fields, self._self_editable_keys)
        if not changes:
            return document(row)
        admins.require_remaining_admin(work.connection, [row], after)
        admins.check_promotion(work.connection, audit_context.actor, [before], after)
        ended = ENDED if not after["active"] or "password" in fields else {}
        made = document(_put(work.connection, row, {**stored(values), **ended}))
        audit_log.record(work.connection, audit_context, row.id, made.version, "changed", changes)
        if not after["active"]:
            tokens.revoke_all(work.connection, [row], audit_context)
        return made


def _insert(
    connection: Connection, audit_context: AuditContext, user_id: uuid.UUID, values: dict[str, Any], version: int
) -> Document:
    # No epoch is above its version, so no session of a purged user of this id comes to life again.
    columns = {"id": user_id, "version": version, "session_epoch": version, **stored(values)}
    statement = insert(users).values(columns).returning(*PUBLIC)
    made = document(connection.execute(statement).one())
    audit_log.record(connection, audit_context, user_id, version, "created", history.differences({}, values))
    return made


def _put(connection: Connection, row: Row[Any], values: dict[str, Any]) -> Row[Any]:
    """The row after setting `values`, with its next version."""
    statement = update(users).where(users.c.id == row.id).values({**values, **MOVED}).returning(*PUBLIC)
    return connection.execute(statement).one()


def _locked(connection: Connection, user_id: uuid.UUID) -> Row[Any] | None:
    statement = select(*PUBLIC, users.c.password_hash).where(users.c.id == user_id)
    return connection.execute(statement.with_for_update()).one_or_none()


def _living(row: Row[Any] | None) -> Row[Any]:
    if row is None or row.deleted_at is not None:
        raise NotFound(N_("There is no such user."))
    return row


def _require(allowed: Precondition, version: int | None) -> None:
    if not allowed(version):
        raise VersionConflict(N_("The user changed since you read it. Read it again, then decide."))


def _next_version(connection: Connection, user_id: uuid.UUID) -> int:
    """1, or one more than a purged user of this id had, so that no old ETag comes to life again."""
    entries = table_of(HistoryEntry)
    last = connection.scalar(select(func.max(entries.c.version)).where(entries.c.user_id == user_id))
    return (last or 0) + 1
