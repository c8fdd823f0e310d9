"""Creates the first administrator, from settings or from the setup page."""

import uuid

from pydantic import ValidationError

from app.auth.admins import Admins
from app.auth.permissions import AuditContext, system_actor
from app.auth.sql import FIND_LOGIN_BY_EMAIL
from app.config import Settings
from app.db.database import Database
from app.errors import N_, AlreadyTaken, Conflict, StartError, ValidationFailed
from app.identifiers import canonical
from app.schemas import UserDraft, UserPatch
from app.users.commands import UserCommands
from app.validation import field_errors_of


class BootstrapAdmin:
    """Creates the first administrator, which secures the service."""

    def __init__(self, database: Database, admins: Admins, users: UserCommands, settings: Settings) -> None:
        self._database, self._admins, self._users, self._settings = database, admins, users, settings

    def create(self, draft: UserDraft, audit_context: AuditContext) -> uuid.UUID:
        """Create the first administrator, or promote the active user with this email. Returns the id of the user.

        Raises: ValidationFailed, AlreadyTaken, Conflict (an administrator exists), Unavailable
        """
        if self._admins.has_admin():
            # auth.admins.check_promotion checks this again inside the transaction.
            raise Conflict(N_("An administrator already exists. Sign in, or ask an administrator."))
        key = draft.email and canonical(draft.email)
        found = self._database.execute(FIND_LOGIN_BY_EMAIL, {"key": key}).fetchone()
        if found is None:
            return self._users.create(draft, audit_context)[1]
        user_id: uuid.UUID = found[0]
        patch = UserPatch(role="admin", active=True, password=draft.password)
        self._users.update(user_id, patch, lambda _: True, audit_context)
        return user_id

    def create_from_settings(self) -> None:
        """Create the administrator of ADMIN_EMAIL and ADMIN_PASSWORD, unless an administrator exists.

        Raises: StartError, Unavailable
        """
        settings = self._settings
        if settings.admin_email and not self._admins.has_admin():
            self._create_from(settings.admin_email, settings.admin_password)
        self._admins.is_secured()
        if settings.is_public and not self._admins.has_admin():
            raise StartError(
                "The service can be reached from other machines"
                f" (PUBLISHED_ADDRESS={settings.published_address or '-'}, LISTEN_ADDRESS={settings.listen_address}),"
                " and there is no administrator: anyone could do anything."
                " Set ADMIN_EMAIL and ADMIN_PASSWORD (or ADMIN_PASSWORD_FILE), or publish on loopback with"
                " PUBLISHED_ADDRESS=127.0.0.1."
            )

    def _create_from(self, email: str, password: str | None) -> None:
        """Raises: StartError, Unavailable"""
        try:
            draft = UserDraft(email=email, password=password, role="admin")
            self.create(draft, AuditContext(system_actor("ADMIN_EMAIL", first_admin_only=True)))
        except (ValidationError, ValidationFailed) as error:
            field_errors = field_errors_of(error) if isinstance(error, ValidationError) else error.field_errors
            problems = "; ".join(f"ADMIN_{problem.field.upper()} {problem.message}" for problem in field_errors)
            raise StartError(f"The first administrator cannot be created: {problems}.") from None
        except (Conflict, AlreadyTaken) as error:
            # Another replica may have created the administrator at the same time.
            if not self._admins.has_admin():
                raise StartError(f"The first administrator cannot be created from ADMIN_EMAIL: {error}") from None
