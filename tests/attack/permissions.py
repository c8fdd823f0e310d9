"""Who may do what, as docs/api.md and docs/console.md say, route by route; and the status that follows for a request.

A line has the method, the path, who may, and the status of a permitted request, by target. A route without a target
has one status. Words of the second column, joined by commas:

    anyone                          no credential is needed
    member, viewer, editor, admin   the lowest role
    own                             or the user of the record, with any role
    lower                           administrators, and others only for users of a lower role
    self                            a token with a lower role than its user may not: it does not act as its user
    session                         tokens may not
    led                             a user who may not is led to another page
    others                          for the own record, the status is that of `own` instead of a refusal

Targets: the user of the request (own), a member, an administrator, a member in the trash, a purged user, and an id
that never was.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

LADDER = ("member", "viewer", "editor", "admin")
TARGETS = ("own", "member", "admin", "trashed", "purged", "unknown")

API = """
route                                            who            own member admin trashed purged unknown
GET    /api/users                                viewer         200
POST   /api/users                                editor         201
GET    /api/users/{user_id}                      viewer,own     200 200    200   404     404    404
PUT    /api/users/{user_id}                      editor,own,lower 200 200  200   409     201    201
PATCH  /api/users/{user_id}                      editor,own,lower 200 200  200   404     404    404
DELETE /api/users/{user_id}                      editor,lower   204 204    204   404     404    404
DELETE /api/users/{user_id}?purge=true           admin          204 204    204   204     404    404
POST   /api/users/{user_id}/restore              editor,lower   409 409    409   200     404    404
GET    /api/users/{user_id}/history              viewer         200 200    200   200     200    404
GET    /api/users/{user_id}/sessions             admin,own      200 200    200   404     404    404
DELETE /api/users/{user_id}/sessions             admin,own      204 204    204   404     404    404
DELETE /api/users/{user_id}/sessions/{session_id} admin,own     204 204    204   404     404    404
POST   /api/users/{user_id}/unlock               admin          204 204    204   404     404    404
GET    /api/tokens                               admin          200
POST   /api/tokens                               admin          201
DELETE /api/tokens/{token_id}                    admin          204 204    204   404     404    404
GET    /api/me                                   member,self    200
PATCH  /api/me                                   member,self    200
PUT    /api/me/password                          member,self,session 204
GET    /api/me/sessions                          member,self    200
DELETE /api/me/sessions                          member,self    204
DELETE /api/me/sessions/{session_id}             member,self    204 404    404   404     404    404
POST   /api/session                              anyone         201
GET    /api/session                              member         200
DELETE /api/session                              member         204
GET    /api/health                               anyone         200
GET    /api/health/live                          anyone         200
GET    /api/health/ready                         anyone         200
GET    /api/openapi.json                         anyone         200
GET    /api/docs                                 anyone         200
GET    /api/docs/{name}                          anyone         200
"""

CONSOLE = """
route                                            who            own member admin trashed purged unknown
GET    /                                         anyone         302
POST   /first                                    anyone         404
GET    /assets/{digest}/{name}                   anyone         200
POST   /language                                 anyone         303
GET    /sign-in                                  anyone         200
POST   /sign-in                                  anyone         303
POST   /sign-out                                 member         303
GET    /profile                                  member         302
GET    /password                                 member         200
POST   /password                                 member,self,session      303
GET    /overview                                 viewer,led     200
GET    /overview/health                          anyone         200
GET    /api-tokens                               admin          200
POST   /api-tokens                               admin          201
POST   /api-tokens/{token_id}/revoke             admin          303 303    303   404     404    404
GET    /people                                   viewer         200
POST   /people/bulk                              editor,lower,others  409 303    303   409     409    409
GET    /people/new                               editor         200
POST   /people/new                               editor         303
GET    /people/{user_id}                         viewer,own     200 200    200   200     404    404
POST   /people/{user_id}                         editor,own,lower 303 303  303   409     404    404
POST   /people/{user_id}/delete                  editor,lower   303 303    303   303     303    303
POST   /people/{user_id}/restore                 editor,lower   409 409    409   303     404    404
POST   /people/{user_id}/purge                   admin          303 303    303   303     404    404
POST   /people/{user_id}/unlock                  admin          303 303    303   404     404    404
POST   /people/{user_id}/sessions/{session_id}/end admin,own    303 303    303   404     404    404
"""
MISSING = """{method} {path} is in no line. Add one to tests/attack/permissions.py: method, path, who may, and the
status of a permitted request for each target; and its body to tests/attack/bodies.py if it needs one."""


@dataclass(frozen=True)
class Credential:
    """What a request is sent with. role: None without a valid credential. user_role: of its user."""

    name: str
    role: str | None
    user_role: str | None
    is_token: bool

    @property
    def is_narrowed(self) -> bool:
        return self.role != self.user_role


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    method: str
    path: str
    who: frozenset[str]
    statuses: Mapping[str, int]

    @property
    def pattern(self) -> tuple[str, str]:
        """Method and path, with {} for each parameter and without query."""
        return self.method, re.sub(r"{\w+}", "{}", self.path.partition("?")[0])

    @property
    def query(self) -> str:
        """The query of the path, with its question mark."""
        return "".join(self.path.partition("?")[1:])

    def allows(self, credential: Credential, target: str) -> bool:
        """Whether a request with this credential may do this to this target."""
        if "anyone" in self.who or credential.role is None:
            return "anyone" in self.who
        if ("session" in self.who and credential.is_token) or ("self" in self.who and credential.is_narrowed):
            return False
        if "own" in self.who and target == "own" and not credential.is_narrowed:
            return True
        if LADDER.index(credential.role) < min(LADDER.index(word) for word in self.who & {*LADDER}):
            return False
        is_unrestricted = "lower" not in self.who or ("others" in self.who and target == "own")
        return is_unrestricted or _is_lower(credential, target)

    def expected(self, credential: Credential, target: str) -> int:
        """The status of a request with this credential for this target."""
        if self.allows(credential, target):
            return self.statuses[target]
        if credential.role is not None:
            return 302 if "led" in self.who else 403
        # A browser that is signed out is led to the sign-in page.
        return 302 if self.method == "GET" and not self.path.startswith("/api/") else 401


def _is_lower(credential: Credential, target: str) -> bool:
    if credential.role == "admin":
        return True
    role = {"own": credential.user_role, "admin": "admin"}.get(target, "member")
    return LADDER.index(str(role)) < LADDER.index(str(credential.role))


def read(table: str) -> list[Line]:
    """The lines of a table."""
    lines = []
    for row in table.strip().splitlines()[1:]:
        method, path, who, *statuses = row.split()
        targets = TARGETS if len(statuses) > 1 else TARGETS[:1]
        words = frozenset(who.split(","))
        lines.append(Line(method, path, words, dict(zip(targets, map(int, statuses), strict=True))))
    return lines
