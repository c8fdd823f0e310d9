"""The first administrator: from settings, the command line or the first visit of a browser."""

import uuid

from pydantic import ValidationError
from sqlalchemy import select

from app.auth.admins import Admins
from app.auth.audit_log import AuditContext
from app.auth.permissions import system_actor
from app.config import Settings
from app.db.database import Database
from app.errors import N_, AlreadyTaken, Conflict, StartError, ValidationFailed
from app.identifiers import canonical
from app.models import users as table
from app.schemas import UserDraft, UserPatch
from app.users.commands import Users


class BootstrapAdmin:
    """Creates the first administrator, which secures the service."""

    def __init__(self, database: Database, admins: Admins, users: Users, settings: Settings) -> None:
        self._database, self._admins, self._users, self._settings = database, admins, users, settings

    def create(self, draft: UserDraft, audit_context: AuditContext) -> uuid.UUID:
        """Make the first administrator, or an administrator of the user who has this email already. Returns its id.

        Raises: ValidationFailed, AlreadyTaken, Conflict (there is one), Unavailable
        """
        if self._admins.has_admin():
            # Whoever comes after this look is told so by auth.admins.admit, inside of the transaction.
            raise Conflict(N_("An administrator already exists. Sign in, or ask an administrator."))
        known = self._find(draft.email)
        if known is None:
            return self._users.create(draft, audit_context)[1]
        patch = UserPatch(role="admin", active=True, password=draft.password)
        self._users.update(known, patch, lambda _: True, audit_context)
        return known

    def create_from_settings(self) -> None:
        """Create the administrator of ADMIN_EMAIL and ADMIN_PASSWORD, unless there is one.

        Raises: StartError, Unavailable
        """
        settings = self._settings
        if not self._admins.has_admin() and settings.admin_email:
            try:
                draft = UserDraft(email=settings.admin_email, password=settings.admin_password, role="admin")
                self.create(draft, AuditContext(system_actor("ADMIN_EMAIL", first_admin_only=True)))
            except ValidationError as error:
                faults = "; ".join(
                    f"ADMIN_{str(f['loc'][0]).upper()} {f['msg']}" for f in error.errors(include_input=False)
                )
                raise StartError(f"The first administrator can't be made: {faults}.") from None
            except ValidationFailed as error:
                raise StartError(f"The first administrator can't be made: {error}.") from None
            except (Conflict, AlreadyTaken) as error:
                # Another replica was quicker, if there is an administrator now.
                if self._admins.has_admin():
                    return
                raise StartError(f"The first administrator can't be made of ADMIN_EMAIL: {error}") from None
        self._admins.check()
        if settings.is_public and not self._admins.has_admin():
            raise StartError(
                "The service can be reached from other machines"
                f" (PUBLISHED_ADDRESS={settings.published_address or '-'}, LISTEN_ADDRESS={settings.listen_address}),"
                " and there is no administrator: anybody could do anything."
                " Set ADMIN_EMAIL and ADMIN_PASSWORD (or ADMIN_PASSWORD_FILE), or publish on loopback with"
                " PUBLISHED_ADDRESS=127.0.0.1."
            )

    def _find(self, email: str | None) -> uuid.UUID | None:
        if email is None:
            return None
        same = (table.c.email_key == canonical(email), table.c.deleted_at.is_(None))
        with self._database.connection() as connection:
            return connection.scalar(select(table.c.id).where(*same))
