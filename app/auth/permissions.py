"""Actors, their permissions, and what the history says of them, without HTTP.

| | member | viewer | editor | admin |
|---|---|---|---|---|
| own record: read; change name, email, password, self-editable attributes | x | x | x | x |
| read all users and their history | | x | x | x |
| create, update, delete, restore users with a lower role | | | x | x |
| roles, tokens, sessions of other users, purge | | | | x |

A token may not change the email or password of its own user. A session may, soon after its user gave the password.
http.access holds the minimum role of each route. This module holds the rules that depend on the user concerned.
"""

import time
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from app.errors import N_, FieldError, Forbidden, PasswordRequired
from app.models import ROLES, USER_FIELDS
from app.types import ROLE_NAMES, Role

OWN_FIELDS = frozenset({"password", *(field.name for field in USER_FIELDS if field.own)})
"""Fields of the own record that every user may change, besides the self-editable attributes."""
SIGN_IN_FIELDS = frozenset({"username", "email", "password"})
"""Fields that identify a user at sign-in. A stolen session or token must not be enough to change them."""
RECENT_SIGN_IN_S = 300.0

Kind = Literal["open", "system", "session", "token"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a request or a change.

    kind: `open` is anyone in setup mode or signed out; `system` is a command on the machine of the service.
    user_id: the user of a session or token. credential_id: id of the session or token, or the name of a command.
    full_scope: False for a token whose role is lower than its user's; it may not act as its user.
    unrestricted: no rule about roles applies. authenticated_at: when the user of a session last gave the password, in
    seconds since 1970. first_admin_only: the actor may create the first administrator, but no other.
    """

    kind: Kind
    user_id: uuid.UUID | None = None
    role: Role = "admin"
    credential_id: str | None = None
    full_scope: bool = True
    unrestricted: bool = False
    authenticated_at: float = 0.0
    first_admin_only: bool = False

    @property
    def label(self) -> str | None:
        """The actor in the history: ids only, so a purged user leaves no personal data there. None in setup mode."""
        if self.kind == "open":
            return None
        if self.kind == "system":
            return self.credential_id
        return f"user:{self.user_id}" if self.kind == "session" else f"token:{self.credential_id} user:{self.user_id}"

    @property
    def principal(self) -> str:
        """The owner of Idempotency-Keys: one token, or one user with all their sessions. Anonymous actors are one."""
        if self.kind == "session":
            return f"user:{self.user_id}"
        return f"token:{self.credential_id}" if self.kind == "token" else self.kind

    @property
    def may_purge(self) -> bool:
        """Whether the actor may purge users."""
        # RULES of http.access repeats the role for the route of the console.
        return self.may("admin")

    def may(self, min_role: Role) -> bool:
        """Whether the actor has the role `min_role` or a higher role."""
        return self.unrestricted or ROLES.index(self.role) >= ROLES.index(min_role)

    def owns(self, user_id: uuid.UUID) -> bool:
        """Whether the actor may act as this user."""
        return self.user_id == user_id and self.full_scope

    def may_change(self, user_id: uuid.UUID, role: Role) -> bool:
        """Whether the actor may change any field of a user with this id and role."""
        try:
            self.require_change(user_id, role, ())
        except Forbidden:
            return False
        return True

    def require_create(self, role: Role) -> None:
        """Require that the actor may create a user with this role. Raises: Forbidden"""
        if not self.may("editor"):
            raise Forbidden(N_("Creating users requires the role %(role)s.", role=ROLE_NAMES["editor"]))
        self.require_role_above(role)

    def require_role_above(self, role: Role) -> None:
        """Require that the actor's role is above `role`, or admin. Raises: Forbidden"""
        if not self.unrestricted and self.role != "admin" and ROLES.index(role) >= ROLES.index(self.role):
            raise Forbidden(
                N_(
                    "The role %(role)s may not create or change a user with the role %(other)s.",
                    role=ROLE_NAMES[self.role],
                    other=ROLE_NAMES[role],
                )
            )

    def require_purge(self) -> None:
        """Require that the actor may purge users. Raises: Forbidden"""
        if not self.may_purge:
            raise Forbidden(N_("Purging users requires the role admin."))

    def require_change(
        self, user_id: uuid.UUID, role: Role, fields: Iterable[str], self_editable: Collection[str] = ()
    ) -> None:
        """Require that the actor may change `fields` of a user with this id and role.

        self_editable: keys of attributes that users may change in their own record.
        Raises: Forbidden (it names the fields), PasswordRequired
        """
        if self.unrestricted:
            return
        changed = set(fields)
        if self.role != "admin":
            if self.owns(user_id):
                self._require_own_fields(changed, self_editable)
            else:
                self._require_role_over_other(role, changed)
        if self.user_id == user_id and changed & SIGN_IN_FIELDS:
            self.require_session(changed & SIGN_IN_FIELDS)
            if self.must_give_password():
                raise PasswordRequired

    def require_session(self, changed: Iterable[str]) -> None:
        """Reject a token that changes SIGN_IN_FIELDS of its own user. Raises: Forbidden, which names the fields"""
        if self.kind == "token" and not self.unrestricted:
            raise Forbidden(
                N_("A token may not change the username, email or password of its own user. Sign in to change them."),
                [FieldError(field, N_("may not be changed by a token of this user")) for field in sorted(changed)],
            )

    def must_give_password(self) -> bool:
        """Whether a change of SIGN_IN_FIELDS of the own record requires the current password."""
        return not self.unrestricted and time.time() - self.authenticated_at >= RECENT_SIGN_IN_S

    def _require_own_fields(self, changed: set[str], self_editable: Collection[str]) -> None:
        allowed = OWN_FIELDS.union(f"attributes.{key}" for key in self_editable)
        forbidden = sorted(changed - allowed)
        if not forbidden:
            return
        message = N_(
            "The role %(role)s may not change these fields of its own record: '%(fields)s'",
            role=ROLE_NAMES[self.role],
            fields=", ".join(forbidden),
        )
        refusals = (N_("'%(field)s' may not be changed by its own user", field=field) for field in forbidden)
        raise Forbidden(message, map(FieldError, forbidden, refusals))

    def _require_role_over_other(self, role: Role, changed: set[str]) -> None:
        if not self.may("editor"):
            raise Forbidden(N_("Changing other users requires the role %(role)s.", role=ROLE_NAMES["editor"]))
        self.require_role_above(role)
        if "role" in changed:
            message = N_("The role %(role)s may not change the role of a user.", role=ROLE_NAMES[self.role])
            raise Forbidden(message, [FieldError("role", N_("may only be changed by administrators"))])


SETUP_ACTOR = Actor("open", unrestricted=True, first_admin_only=True)
"""Anyone, as long as no administrator exists."""
SIGNED_OUT_ACTOR = Actor("open", role="member")
"""Anyone without a credential, once the service is secured. Only public pages are shown to this actor."""


@dataclass(frozen=True, slots=True)
class AuditContext:
    """The actor of a change and the origin of the request. None: unknown, or not a request."""

    actor: Actor = SIGNED_OUT_ACTOR
    address: str | None = None
    agent: str | None = None
    request_id: str | None = None

    @property
    def columns(self) -> dict[str, str | None]:
        """The columns of a history entry that name the actor and the origin."""
        return {
            "actor": self.actor.label,
            "address": self.address,
            "agent": self.agent,
            "request_id": self.request_id,
        }


def system_actor(name: str, *, first_admin_only: bool = False) -> Actor:
    """A command on the machine of the service. The history shows its name."""
    return Actor("system", credential_id=name, unrestricted=True, first_admin_only=first_admin_only)
