"""Commands on single users: create, replace, update, delete, restore, purge."""

import uuid
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import orjson
from sqlalchemy import Connection, Row, delete, func, select
from uuid_utils.compat import uuid7

from app.auth import admins, audit_log, passwords, tokens
from app.auth.login import Login
from app.auth.permissions import AuditContext
from app.auth.schemas import PasswordChange
from app.auth.sessions import Sessions
from app.auth.tokens import Tokens
from app.config import Settings
from app.errors import N_, Conflict, DomainError, FieldError, NotFound, Unavailable, ValidationFailed, VersionConflict
from app.models import users
from app.schemas import UserDraft, UserPatch, UserReplacement
from app.types import Precondition
from app.users import history, idempotency, rows
from app.users.idempotency import IdempotentRequest
from app.users.reads import Document, UserReads
from app.users.writes import PendingWrite, UserTransactions, UserWrites

_MAX_OPTIMISTIC_ATTEMPTS = 3
_SECURITY_SENSITIVE = frozenset({"role", "active", "password"})
"""Fields whose change may end sessions and tokens, or remove the last administrator. The row is locked for it."""


class UserCommands:
    """Commands on single users. Each is one transaction with its history entry. Caches are invalidated after it."""

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
        self._self_editable_keys = settings.self_editable_attributes
        self._idempotency_ttl = timedelta(hours=settings.idempotency_ttl_h)

    def create(
        self, draft: UserDraft, audit_context: AuditContext, idempotency_key: str | None = None
    ) -> tuple[Document, uuid.UUID, bool]:
        """Create a user. Returns it, its id, and whether it is the stored response of an earlier request.

        idempotency_key: of the request; the same key creates no second user.
        The token of the actor is checked with the write.
        Raises: ValidationFailed, Forbidden, Unauthorized, AlreadyTaken, IdempotencyKeyReused, Unavailable
        """
        values = rows.draft_values(draft)
        audit_context.actor.require_create(draft.role)
        passwords.reject_own_name(draft.password, values)
        values["password_hash"] = passwords.hash_password(draft.password)
        user_id, request = uuid7(), None
        if idempotency_key is not None:
            key = f"{audit_context.actor.principal} {idempotency_key}"
            request = IdempotentRequest(key, draft, self._idempotency_ttl)
        created = self._writes.create(user_id, values, audit_context, request)
        if created is not None:
            return created, user_id, False
        self._tokens.recheck(audit_context.actor)
        # The token is valid, so the key was in use. The earlier request may have been rolled back since.
        response = self._writes.earlier_response(request) if request is not None else None
        if response is None:
            raise Unavailable(N_("A concurrent request changed data that this request depends on. Try again shortly."))
        return response, uuid.UUID(orjson.loads(response.body)["id"]), True

    def replace(
        self, user_id: uuid.UUID, draft: UserReplacement, precondition: Precondition, audit_context: AuditContext
    ) -> tuple[Document, bool]:
        """Replace a user, or create it with this id. Without a password in `draft` the password stays.

        Returns the user, and whether it is new.
        Raises: ValidationFailed, Forbidden, RateLimited, AlreadyTaken, VersionConflict, Conflict (the user is deleted,
        or the last administrator), Unavailable
        """
        command = partial(self._replace, user_id, draft)
        return self._login.run_with_password(draft.current_password, precondition, audit_context, command)

    def _replace(
        self, user_id: uuid.UUID, draft: UserDraft, precondition: Precondition, audit_context: AuditContext
    ) -> tuple[Document, bool]:
        values = rows.draft_values(draft)
        passwords.reject_own_name(draft.password, values)
        if draft.password is not None:
            values["password_hash"] = passwords.hash_password(draft.password)
        with self._transactions.unit_of_work([user_id]) as connection:
            # Two requests may create the same id: the second waits here, and then replaces. The lock is a bigint, so it
            # has 63 bits of the id.
            connection.execute(select(func.pg_advisory_xact_lock(user_id.int >> 65)))
            row = rows.lock_row(connection, user_id)
            if row is not None and row.deleted_at is not None:
                raise Conflict(N_("This user is in the trash. Restore or purge the user first."))
            if row is None:
                audit_context.actor.require_create(draft.role)
            _require(precondition, row.version if row else None)
            if row is not None:
                return self._update_row(connection, audit_context, row, values), False
            admins.check_promotion(connection, audit_context.actor, [{}], values)
            return rows.insert_row(connection, audit_context, user_id, values), True

    def update(
        self, user_id: uuid.UUID, patch: UserPatch, precondition: Precondition, audit_context: AuditContext
    ) -> Document:
        """Change the fields that `patch` sets. Without a change the version stays.

        The token of the actor is checked with the write, or before it.
        Raises: NotFound, ValidationFailed, Forbidden, RateLimited, Unauthorized, AlreadyTaken, VersionConflict,
        Conflict (the user is the last administrator), Unavailable
        """
        command = partial(self._update, user_id, patch)
        return self._login.run_with_password(patch.current_password, precondition, audit_context, command)

    def _update(
        self, user_id: uuid.UUID, patch: UserPatch, precondition: Precondition, audit_context: AuditContext
    ) -> Document:
        if patch.model_fields_set.isdisjoint(_SECURITY_SENSITIVE):
            try:
                updated = self._update_optimistically(user_id, patch, precondition, audit_context)
            except DomainError:
                # For an invalid token the response is 401, whatever else is wrong.
                self._tokens.recheck(audit_context.actor)
                raise
            if updated is not None:
                return updated
        self._tokens.recheck(audit_context.actor)
        return self._update_locked(user_id, patch, precondition, audit_context)

    def _update_optimistically(
        self, user_id: uuid.UUID, patch: UserPatch, precondition: Precondition, audit_context: AuditContext
    ) -> Document | None:
        """Change a user without a lock. None: the user has changed at each attempt, or the token is not valid."""
        for _ in range(_MAX_OPTIMISTIC_ATTEMPTS):
            document = self._reads.get(user_id)
            _require(precondition, document.version)
            before = orjson.loads(document.body)
            values = rows.apply_patch(before, patch)
            changes = rows.diff(before, values)
            fields = [change["field"] for change in changes]
            audit_context.actor.require_change(user_id, before["role"], fields, self._self_editable_keys)
            if not changes:
                # Another host may have made this change. Reads after this response must not return an older version.
                self._transactions.invalidate([user_id])
                return document
            pending = PendingWrite(user_id, values, changes, audit_context, document.body.decode())
            updated = self._writes.write(pending)
            if updated is not None:
                return updated
        return None

    def _update_locked(
        self, user_id: uuid.UUID, patch: UserPatch, precondition: Precondition, audit_context: AuditContext
    ) -> Document:
        """Change a user under a row lock."""
        password_columns = {}
        if "password" in patch.model_fields_set:
            password_columns["password_hash"] = passwords.hash_password(patch.password)
        with self._transactions.unit_of_work([user_id]) as connection:
            row = _lock_existing(connection, user_id)
            _require(precondition, row.version)
            values = rows.apply_patch(orjson.loads(row.json), patch)
            passwords.reject_own_name(patch.password, values)
            return self._update_row(connection, audit_context, row, {**values, **password_columns})

    def set_own_password(self, user_id: uuid.UUID, change: PasswordChange, audit_context: AuditContext) -> None:
        """Change the password of the actor, who gives the current password. Ends all their sessions.

        Raises: NotFound, ValidationFailed, Forbidden, RateLimited, VersionConflict, Unavailable
        """
        audit_context.actor.require_session(("password",))
        verified = self._login.reauthenticate(user_id, change.current_password, lambda _: True, audit_context)
        try:
            self.update(user_id, UserPatch(password=change.new_password), *verified)
        except ValidationFailed as error:
            raise ValidationFailed([FieldError("new_password", bad.message) for bad in error.field_errors]) from None

    def delete(self, user_id: uuid.UUID, precondition: Precondition, audit_context: AuditContext) -> None:
        """Move a user to the trash. Frees its username and email, and ends its sessions and tokens.

        Raises: NotFound, Forbidden, VersionConflict, Conflict (the user is the last administrator), Unavailable
        """
        with self._transactions.unit_of_work([user_id]) as connection:
            row = _lock_existing(connection, user_id)
            audit_context.actor.require_role_above(row.role)
            _require(precondition, row.version)
            admins.require_remaining_admin(connection, [row])
            tokens.revoke_all(connection, {user_id: row.version}, audit_context)
            deleted = rows.update_row(connection, row, {**rows.SOFT_DELETE, **rows.END_SESSIONS})
            audit_log.record(connection, audit_context, user_id, deleted.version, "deleted")

    def restore(self, user_id: uuid.UUID, precondition: Precondition, audit_context: AuditContext) -> Document:
        """Restore a user from the trash.

        Raises: NotFound, Forbidden, Conflict (the user is not in the trash), AlreadyTaken (its username or email is in
        use), VersionConflict, Unavailable
        """
        with self._transactions.unit_of_work([user_id]) as connection:
            row = _lock_existing(connection, user_id, or_deleted=True)
            audit_context.actor.require_role_above(row.role)
            _require(precondition, row.version)
            if row.deleted_at is None:
                raise Conflict(N_("This user is not in the trash."))
            admins.check_promotion(connection, audit_context.actor, [row._asdict()], {"deleted_at": None})
            restored = rows.update_row(connection, row, rows.RESTORE)
            audit_log.record(connection, audit_context, user_id, restored.version, "restored")
        return restored

    def purge(self, user_id: uuid.UUID, precondition: Precondition, audit_context: AuditContext) -> None:
        """Delete an active or deleted user permanently, with all values in its history.

        Raises: Forbidden, NotFound, VersionConflict, Conflict (the user is the last administrator), Unavailable
        """
        audit_context.actor.require_purge()
        with self._transactions.unit_of_work([user_id]) as connection:
            row = _lock_existing(connection, user_id, or_deleted=True)
            _require(precondition, row.version)
            admins.require_remaining_admin(connection, [row])
            tokens.revoke_all(connection, {user_id: row.version}, audit_context)
            connection.execute(delete(users).where(users.c.id == user_id))
            history.erase(connection, user_id)
            idempotency.erase(connection, user_id)
            audit_log.record(connection, audit_context, user_id, row.version + 1, "purged")
        self._sessions.delete_of_purged_user(user_id)

    def _update_row(
        self, connection: Connection, audit_context: AuditContext, row: Row[Any], values: Mapping[str, Any]
    ) -> Document:
        """Change a locked user to `values`: its fields, and password_hash if the password changes."""
        before = {**row._asdict(), **orjson.loads(row.json)}
        after = {"password_hash": row.password_hash, **values}
        changes = rows.diff(before, after)
        fields = [change["field"] for change in changes]
        audit_context.actor.require_change(row.id, row.role, fields, self._self_editable_keys)
        if not changes:
            return rows.document_of(row)
        admins.require_remaining_admin(connection, [row], after)
        admins.check_promotion(connection, audit_context.actor, [before], after)
        columns = rows.with_derived_columns(dict(values))
        if not after["active"] or after["password_hash"] != row.password_hash:
            columns |= rows.END_SESSIONS
        updated = rows.update_row(connection, row, columns)
        audit_log.record(connection, audit_context, row.id, updated.version, "changed", changes)
        if not after["active"]:
            tokens.revoke_all(connection, {row.id: updated.version}, audit_context)
        return updated


def _lock_existing(connection: Connection, user_id: uuid.UUID, *, or_deleted: bool = False) -> Row[Any]:
    """Lock an active user, or one in the trash if `or_deleted`. Raises: NotFound"""
    row = rows.lock_row(connection, user_id)
    if row is None or (row.deleted_at is not None and not or_deleted):
        raise NotFound(N_("There is no such user."))
    return row


def _require(precondition: Precondition, version: int | None) -> None:
    """Raises: VersionConflict"""
    if not precondition(version):
        raise VersionConflict(N_("The user has changed since you read it. Read it again and retry."))
