"""The first administrator: from settings, the command line or the first visit of a browser."""

import uuid

from pydantic import ValidationError
from sqlalchemy import select

from app.auth import admins
from app.auth.audit_log import AuditContext
from app.auth.permissions import command
from app.errors import N_, Conflict, Invalid, StartError, Taken
from app.extensions import reading, resources
from app.identifiers import canonical
from app.models import users as table
from app.schemas import UserDraft, UserPatch
from app.users import commands


def found(draft: UserDraft, caller: AuditContext) -> uuid.UUID:
    """Make the first administrator, or an administrator of the user who has this email already. Returns its id.

    Raises: Invalid, Taken, Conflict (there is one), Unavailable
    """
    if admins.door().has_administrator():
        # Whoever comes after this look is told so by admins.admit, inside of the transaction.
        raise Conflict(N_("There is an administrator already. Sign in, or ask them."))
    known = _named(draft.email)
    if known is None:
        return commands.register(draft, caller)[1]
    patch = UserPatch(role="admin", active=True, password=draft.password)
    commands.change(known, patch, lambda _: True, caller)
    return known


def found_from_settings() -> None:
    """Make the administrator of ADMIN_EMAIL and ADMIN_PASSWORD, unless there is one. Raises: StartError, Unavailable"""
    settings = resources().settings
    door = admins.door()
    if not door.has_administrator() and settings.admin_email:
        try:
            draft = UserDraft(email=settings.admin_email, password=settings.admin_password, role="admin")
            found(draft, AuditContext(command("ADMIN_EMAIL", only_first=True)))
        except ValidationError as error:
            faults = "; ".join(
                f"ADMIN_{str(f['loc'][0]).upper()} {f['msg']}" for f in error.errors(include_input=False)
            )
            raise StartError(f"The first administrator can't be made: {faults}.") from None
        except Invalid as error:
            raise StartError(f"The first administrator can't be made: {error}.") from None
        except (Conflict, Taken) as error:
            # Another replica was quicker, if there is an administrator now.
            if door.has_administrator():
                return
            raise StartError(f"The first administrator can't be made of ADMIN_EMAIL: {error}") from None
    door.look()
    if settings.is_public and not door.has_administrator():
        raise StartError(
            f"The service can be reached from other machines (BIND_ADDRESS={settings.bind_address or '-'},"
            f" LISTEN_ADDRESS={settings.listen_address}), and there is no administrator: anybody could do anything."
            " Set ADMIN_EMAIL and ADMIN_PASSWORD (or ADMIN_PASSWORD_FILE), or publish on loopback with"
            " BIND_ADDRESS=127.0.0.1."
        )


def _named(email: str | None) -> uuid.UUID | None:
    if email is None:
        return None
    same = (table.c.email_key == canonical(email), table.c.deleted_at.is_(None))
    with reading() as connection:
        return connection.scalar(select(table.c.id).where(*same))
