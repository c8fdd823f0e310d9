"""Who acts, and what they may do to whom: the rules of sign-in, without HTTP.

| | member | viewer | editor | admin |
|---|---|---|---|---|
| own record: read; change name, email, password, the attributes that a setting names | x | x | x | x |
| read everyone, history | | x | x | x |
| create, change, delete, restore users of a lower role | | | x | x |
| roles, tokens, others' sessions, purge | | | | x |

Email and password of the own record: not by token, and only soon after the password was given.
Which role a route needs at least is said in http.auth; here is what depends on the user concerned.
"""

import time
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from app.errors import N_, FieldError, Forbidden, PasswordRequired
from app.models import ROLES
from app.types import ROLE_NAMES, Role

OWN_FIELDS = frozenset({"name", "email", "password"})
"""What everybody may change of their own record, beside the attributes that a setting names."""
SIGN_IN_FIELDS = frozenset({"username", "email", "password"})
"""What a user signs in with: a stolen session or token is not enough to change it."""
RECENT_SIGN_IN_S = 300.0
_OTHERS_ROLE = FieldError("role", N_("may be changed by administrators only"))

Kind = Literal["open", "system", "session", "token"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a request or a change.

    `open`: anybody, while there is no administrator; `system`: a command on the machine itself. No rule
    about roles is for them (`unbound`), nor for who is known while the service is open. A token acts for
    the user `user_id`, but has a role of its own, never above the user's. `whole` is false when it is
    below: then it may not act as its user either. `authenticated_at`: when the user of a session last gave its
    password, in seconds since 1970. `only_first`: nobody in particular vouches for the actor, who may become, or
    make, the first administrator but no other.
    """

    kind: Kind
    user_id: uuid.UUID | None = None
    role: Role = "admin"
    credential_id: str | None = None
    full_scope: bool = True
    unrestricted: bool = False
    authenticated_at: float = 0.0
    only_first: bool = False

    @property
    def label(self) -> str | None:
        """How the history names the actor: ids only, so that a purge of the actor leaves nothing personal."""
        if self.kind == "open":
            return None
        if self.kind == "system":
            return self.credential_id
        return f"user:{self.user_id}" if self.kind == "session" else f"token:{self.credential_id} user:{self.user_id}"

    @property
    def principal(self) -> str:
        """Whose the Idempotency-Keys are: a token's, or a user's in all their sessions. All guests are one."""
        if self.kind == "session":
            return f"user:{self.user_id}"
        return f"token:{self.credential_id}" if self.kind == "token" else self.kind

    def may(self, least: Role) -> bool:
        """Whether the actor has the role `least` or a higher one."""
        return self.unrestricted or _rank(self.role) >= _rank(least)

    def owns(self, user_id: uuid.UUID) -> bool:
        """Whether this is the actor's own record."""
        return self.user_id == user_id and self.full_scope

    def may_change(self, user_id: uuid.UUID, role: Role) -> bool:
        """Whether the actor may change anything of the user `user_id` of this role."""
        try:
            self.require_change(user_id, role, ())
        except Forbidden:
            return False
        return True

    def require_make(self, role: Role) -> None:
        """Refuse to make a user of this role. Raises: Forbidden"""
        if not self.may("editor"):
            raise Forbidden(N_("Making users needs the role %(role)s.", role=ROLE_NAMES["editor"]))
        self.require_over(role)

    def require_over(self, role: Role) -> None:
        """Refuse to touch a user of this role, or to make one. Raises: Forbidden"""
        if not self.unrestricted and self.role != "admin" and _rank(role) >= _rank(self.role):
            raise Forbidden(
                N_(
                    "The role %(role)s may not touch a user with the role %(other)s.",
                    role=ROLE_NAMES[self.role],
                    other=ROLE_NAMES[role],
                )
            )

    def require_change(
        self, user_id: uuid.UUID, role: Role, fields: Iterable[str], self_editable: Collection[str] = ()
    ) -> None:
        """Refuse to change `fields` of the user `user_id` of this role. Raises: Forbidden, which names the fields

        `self_editable`: keys of the attributes that users may change of their own record.
        """
        if self.unrestricted:
            return
        changed = set(fields)
        if self.role != "admin":
            self._require_role_for(user_id, role, changed, self_editable)
        if self.user_id == user_id and changed & SIGN_IN_FIELDS:
            self.require_session(changed & SIGN_IN_FIELDS)
            if self.must_give_password():
                raise PasswordRequired

    def require_session(self, changed: Iterable[str]) -> None:
        """Refuse a token to change SIGN_IN_FIELDS of its own user. Raises: Forbidden, which names the fields"""
        if self.kind == "token" and not self.unrestricted:
            raise Forbidden(
                N_("A token may not change how its own user signs in. Sign in with the password, then change it."),
                [FieldError(field, N_("may not be changed by a token of this user")) for field in sorted(changed)],
            )

    def must_give_password(self) -> bool:
        """Whether the password is needed to change SIGN_IN_FIELDS of the actor's own record."""
        return not self.unrestricted and time.time() - self.authenticated_at >= RECENT_SIGN_IN_S

    def _require_role_for(
        self, user_id: uuid.UUID, role: Role, changed: set[str], self_editable: Collection[str]
    ) -> None:
        if not self.owns(user_id):
            if not self.may("editor"):
                raise Forbidden(N_("Changing others needs the role %(role)s.", role=ROLE_NAMES["editor"]))
            self.require_over(role)
            if "role" in changed:
                refusal = N_("The role %(role)s may not change the role of a user.", role=ROLE_NAMES[self.role])
                raise Forbidden(refusal, [_OTHERS_ROLE])
            return
        allowed = OWN_FIELDS.union(f"attributes.{key}" for key in self_editable)
        refused = sorted(changed - allowed)
        if refused:
            raise Forbidden(
                N_(
                    "The role %(role)s may not change this of its own record: '%(fields)s'",
                    role=ROLE_NAMES[self.role],
                    fields=", ".join(refused),
                ),
                [
                    FieldError(field, N_("'%(field)s' may not be changed by its own user", field=field))
                    for field in refused
                ],
            )


OPEN = Actor("open", unrestricted=True, only_first=True)
NOBODY = Actor("open", role="member")
"""Who is not known in a closed service: there they only see the pages that are for everybody."""


def command(name: str, *, only_first: bool = False) -> Actor:
    """A command on the machine itself."""
    return Actor("system", credential_id=name, unrestricted=True, only_first=only_first)


def lower(one: Role, other: Role) -> Role:
    """The lower of two roles."""
    return min(one, other, key=_rank)


def _rank(role: Role) -> int:
    return ROLES.index(role)
