"""A model of the users, from docs/api.md: the answers that requests must get. No code of the service."""

import unicodedata
from dataclasses import dataclass, field
from typing import Any

User = dict[str, Any]
ROLES = ["member", "viewer", "editor", "admin"]
FIELDS = ("username", "email", "name", "role", "active", "attributes")
SIGN_IN_FIELDS = {"username", "email", "password"}
KEPT = "kept"
"""In place of a password: the body has none, so it does not change."""


@dataclass
class Credential:
    """A session or a token. kind "none": no credential, or one that nobody has. role: of a token."""

    kind: str = "none"
    headers: dict[str, str] = field(default_factory=dict)
    user_id: str = ""
    role: str = "admin"
    id: str = ""
    is_recent: bool = True
    is_dead: bool = False

    @property
    def label(self) -> str:
        """The actor in the history."""
        return f"user:{self.user_id}" if self.kind == "session" else f"token:{self.id} user:{self.user_id}"


class Model:
    """The users by id, and what requests do to them. `refuses_...` return the statuses that may refuse a request."""

    def __init__(self) -> None:
        self.live: dict[str, User] = {}
        self.trash: dict[str, User] = {}
        self.passwords: dict[str, str | None] = {}
        self.credentials: list[Credential] = []
        self.history: dict[str, list[tuple[str, int, str | None]]] = {}
        self.purged: dict[str, int] = {}

    def role_of(self, who: Credential) -> str | None:
        """The role of a credential now. None: it is not valid."""
        user = self.live.get(who.user_id)
        if user is None or not user["active"] or who.is_dead:
            return None
        return min(user["role"], who.role, key=ROLES.index)

    def owns(self, who: Credential, user_id: str) -> bool:
        """Whether the credential acts as this user. A narrowed token does not."""
        return who.user_id == user_id in self.live and self.role_of(who) == self.live[user_id]["role"]

    def refuses(self, who: Credential, least: str, owner: str = "") -> set[int]:
        """Whether a route refuses a credential, whatever else is wrong."""
        role = self.role_of(who)
        if role is None:
            return {401}
        return set() if ROLES.index(role) >= ROLES.index(least) or self.owns(who, owner) else {403}

    def refuses_over(self, who: Credential, role: str) -> set[int]:
        """Whether a credential may create, delete or restore users of a role."""
        own = self.role_of(who) or "member"
        is_above = own == "admin" or (own == "editor" and ROLES.index(role) < ROLES.index(own))
        return set() if is_above else {403}

    def refuses_change(
        self, who: Credential, user_id: str, whole: User, password: Any, current: str | None
    ) -> set[int]:
        """Whether a credential may change a live user to `whole`. password: "kept", None, or the new one."""
        user, role = self.live[user_id], self.role_of(who)
        changed = {name for name in FIELDS if not same(user[name], whole[name])}
        if password not in (KEPT, self.passwords[user_id]) or password not in (KEPT, None):
            changed.add("password")
        found = self.refuses_names(whole, user_id)
        if self.owns(who, user_id) and role != "admin":
            found |= {403} if changed & {"username", "role", "active", "attributes"} else set()
        elif role != "admin":
            found |= self.refuses_over(who, user["role"]) | ({403} if "role" in changed else set())
        if who.user_id == user_id and changed & SIGN_IN_FIELDS:
            is_known = who.is_recent if current is None else current == self.passwords[user_id]
            found |= {403} if who.kind == "token" or not is_known else set()
        stays = whole["role"] == "admin" and whole["active"] and password is not None
        return found | (set() if stays else self.refuses_removal(user_id))

    def refuses_names(self, whole: User, own_id: str = "") -> set[int]:
        """Whether another user has this username or email."""
        others = (user for user_id, user in self.live.items() if user_id != own_id)
        return {409} if any(identifiers(whole) & identifiers(user) for user in others) else set()

    def refuses_removal(self, *user_ids: str) -> set[int]:
        """Whether no administrator who can sign in would be left."""
        admins = {key for key, user in self.live.items() if user["role"] == "admin" and user["active"]}
        return {409} if {key for key in admins if self.passwords[key] is not None} <= set(user_ids) else set()

    def refuses_bulk(
        self, who: Credential, action: str, chosen: list[User], changing: list[User], new: User
    ) -> set[int]:
        """Whether a credential may change users at once. changing: those that do not have the new values already."""
        ids = [user["id"] for user in changing]
        found = {403} if "role" in new and self.role_of(who) != "admin" else set()
        found |= {409} if who.user_id in ids else set()
        for user in chosen:
            if user in changing or not self.owns(who, user["id"]):
                found |= self.refuses_over(who, user["role"])
        if action == "restore":
            taken = [name for user in [*self.live.values(), *changing] for name in identifiers(user)]
            return found | ({409} if len(taken) != len(set(taken)) else set())
        stays = new.get("active") or new.get("role") == "admin"
        return found | (set() if stays else self.refuses_removal(*ids))

    def refuses_version(self, tag: str, user: User | None) -> set[int]:
        """Whether the condition of a request fails: If-Match, If-None-Match. See `condition`."""
        holds = {"": True, "right": user is not None, "any": user is not None, "wrong": False, "new": user is None}
        return set() if holds[tag] else {412}

    def store(self, shown: User, action: str, who: Credential, password: str | None = KEPT) -> None:
        """Take over a user that the service has written, and what follows for its sessions and tokens."""
        user_id = shown["id"]
        had = self.passwords.get(user_id)
        self.passwords[user_id] = had if password == KEPT else password
        self.live[user_id] = shown
        self.trash.pop(user_id, None)
        self.record(user_id, action, shown["version"], who)
        if not shown["active"] or (action == "changed" and password != KEPT and (password or had)):
            self.end(user_id, tokens=not shown["active"])

    def delete(self, user_id: str, who: Credential) -> None:
        self.trash[user_id] = self.live.pop(user_id)
        self.trash[user_id]["version"] += 1
        self.record(user_id, "deleted", self.trash[user_id]["version"], who)
        self.end(user_id)

    def purge(self, user_id: str, who: Credential) -> None:
        user = self.live.pop(user_id, None) or self.trash.pop(user_id)
        self.purged[user_id] = user["version"] + 1
        self.history[user_id] = [(action, version, None) for action, version, _ in self.history[user_id]]
        self.record(user_id, "purged", user["version"] + 1, who)
        self.end(user_id)

    def record(self, user_id: str, action: str, version: int, who: Credential) -> None:
        self.history.setdefault(user_id, []).append((action, version, who.label))

    def end(self, user_id: str, *, tokens: bool = True) -> None:
        """End the sessions of a user, and its tokens."""
        for credential in self.credentials:
            if credential.user_id == user_id and (tokens or credential.kind == "session"):
                credential.is_dead = True

    def next_version(self, user_id: str) -> int:
        known = self.live.get(user_id) or self.trash.get(user_id)
        return (known["version"] if known else self.purged.get(user_id, 0)) + 1


def condition(tag: str, user: User | None) -> dict[str, str]:
    """The headers of a conditional request."""
    version = user["version"] if user else 1
    return {
        "": {}, "right": {"If-Match": f'"0", "{version}"'}, "wrong": {"If-Match": f'"{version + 1}", W/"{version}"'},
        "any": {"If-Match": "*"}, "new": {"If-None-Match": "*"},
    }[tag]  # fmt: skip


def identifiers(user: User) -> set[str]:
    """What no other user may have as its username or email."""
    return {user[name].casefold() for name in ("username", "email") if user[name] is not None}


def same(one: Any, other: Any) -> bool:
    """Equal as JSON is: 1 is neither true nor 1.0, and names have no order."""
    return repr(sorted_(one)) == repr(sorted_(other))


def sorted_(value: Any) -> Any:
    """A value whose repr does not depend on the order of its names."""
    if isinstance(value, dict):
        return {key: sorted_(value[key]) for key in sorted(value)}
    return [sorted_(item) for item in value] if isinstance(value, list) else value


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def completed(fields: dict[str, Any]) -> User | None:
    """What a body makes of a user; None when it names nobody, or has a field that no user has."""
    username = fields.get("username") or fields.get("email")
    if not username or fields.keys() - set(FIELDS):
        return None
    defaults = {"username": username, "email": None, "name": username, "role": "member", "active": True}
    given = {name: value for name, value in fields.items() if value is not None}
    return {**defaults, "attributes": {}, **given}


def patched(user: User, patch: dict[str, Any]) -> User | None:
    """A user after a merge patch; null is the default of a field."""
    attributes = merge(user["attributes"], patch.get("attributes", {})) or {}
    return completed({**{name: user[name] for name in FIELDS}, **patch, "attributes": attributes})


def fold(text: str) -> str:
    parts = unicodedata.normalize("NFD", text.casefold())
    return "".join(c for c in parts if not unicodedata.combining(c))


def words(text: str) -> set[str]:
    """The words of a text: Han by the character."""
    spaced = "".join(f" {c} " if c in "田中" else c if c.isalnum() else " " for c in fold(text))
    return set(spaced.split())


def fits(user: User, q: str | None, role: str | None, active: bool | None, team: str | None) -> bool:
    """Whether a search with these filters finds a user."""
    own = words(" ".join([user["name"], user["username"], user["email"] or ""]))
    value = user["attributes"].get("team", [])
    spelt = {"True": "true", "False": "false", "None": "null"}
    text = None if isinstance(value, (list, dict)) else value if isinstance(value, str) else str(value)
    return (
        all(any(word.startswith(prefix) for word in own) for prefix in words(q or ""))
        and role in (None, user["role"])
        and active in (None, user["active"])
        and team in (None, text if isinstance(value, str) or text is None else spelt.get(text, text))
    )


def ordered(users: list[User], sort: str) -> list[User]:
    """Users in the order of a list."""
    name = sort.removeprefix("-")

    def key(user: User) -> tuple[bytes, str]:
        value = user[name] or ""
        text = fold(value) if name == "name" else value.casefold() if name in ("username", "email") else value
        return text.encode(), user["id"]

    return sorted(users, key=key, reverse=sort.startswith("-"))
