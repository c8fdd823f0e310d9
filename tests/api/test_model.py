"""Hypothesis drives the API at random beside a plain-Python model, and compares after every step."""

import unicodedata
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from flask import Flask
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.support.api_client import SORTS, ApiClient

NAMES = ["Ada Lovelace", "ada", "Ådå", "Zoë Bob", "bob-ada", "田中", "B 2", "Straße"]
USERNAMES = ["ada", "ADA", "bob", "zoé", "Zoé", "x1", "x2", "strasse", "STRAßE"]
EMAILS = ["ada@a.org", "ADA@A.ORG", "bob@b.org", "zoë@b.org"]
WORDS = ["a", "ADA", "love", "bob ada", "zoe", "中", "田 中", "2", "org", "strasse", "nobody", "-"]
VALUES = st.sampled_from([None, True, False, 0, 1, 1.5, "1", "x", "", [1], {"deep": {"er": None}}])
ATTRIBUTES = st.dictionaries(st.sampled_from(["team", "n", "ü"]), VALUES, max_size=3)
OWN = st.fixed_dictionaries(
    {},
    optional={
        "username": st.sampled_from(USERNAMES),
        "email": st.none() | st.sampled_from(EMAILS),
        "name": st.sampled_from(NAMES),
        "role": st.sampled_from(["member", "viewer", "editor", "admin"]),
        "active": st.booleans(),
        "attributes": ATTRIBUTES,
    },
)
NULLABLE = st.fixed_dictionaries(
    {},
    optional={
        name: st.none() | values
        for name, values in {
            "username": st.sampled_from(USERNAMES),
            "email": st.sampled_from(EMAILS),
            "name": st.sampled_from(NAMES),
            "role": st.sampled_from(["member", "admin"]),
            "active": st.booleans(),
            "attributes": ATTRIBUTES,
        }.items()
    },
)


def fold(text: str) -> str:
    parts = unicodedata.normalize("NFD", text.casefold())
    return "".join(c for c in parts if not unicodedata.combining(c))


def words(text: str) -> set[str]:
    """The words of a text of NAMES, EMAILS and WORDS: Han by the character."""
    spaced = "".join(f" {c} " if c in "田中" else c if c.isalnum() else " " for c in fold(text))
    return set(spaced.split())


def identifiers(user: dict[str, Any]) -> set[str]:
    """What no other user may have as its username or email."""
    return {user[name].casefold() for name in ("username", "email") if user[name] is not None}


def same(one: Any, other: Any) -> bool:
    """Equal as JSON is: 1 is neither true nor 1.0, and names have no order."""
    return repr(sorted_(one)) == repr(sorted_(other))


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


def completed(fields: dict[str, Any]) -> dict[str, Any] | None:
    """What a body makes of a user; None when it names nobody."""
    username = fields.get("username") or fields.get("email")
    if not username:
        return None
    defaults = {"username": username, "email": None, "name": username, "role": "member", "active": True}
    given = {name: value for name, value in fields.items() if value is not None}
    return {**defaults, "attributes": {}, **given}


class Model(RuleBasedStateMachine):
    """The API beside two dictionaries."""

    client: ApiClient
    empty: Callable[[], None]
    users = Bundle("users")

    def __init__(self) -> None:
        super().__init__()
        type(self).empty()
        self.live: dict[str, dict[str, Any]] = {}
        self.trash: dict[str, dict[str, Any]] = {}
        self.actions: dict[str, list[str]] = {}

    def conflicts(self, fields: dict[str, Any], own_id: str | None = None) -> bool:
        return any(identifiers(fields) & identifiers(user) for user_id, user in self.live.items() if user_id != own_id)

    def keep(self, response: Any, fields: dict[str, Any], action: str, version: int) -> str:
        """Compare an answer that holds a user, and take over what the service chose."""
        shown = response.json
        for name, value in fields.items():
            assert same(shown[name], value), name
        assert shown["version"] == version
        assert response.headers["ETag"] == f'"{version}"'
        self.live[shown["id"]] = shown
        self.trash.pop(shown["id"], None)
        self.actions.setdefault(shown["id"], []).append(action)
        return shown["id"]

    @rule(target=users, fields=OWN)
    def create(self, fields: dict[str, Any]) -> Any:
        response, whole = self.client.post("/users", fields), completed(fields)
        if whole is None:
            assert response.status_code == 422
        elif self.conflicts(whole):
            assert response.status_code == 409
        else:
            assert response.status_code == 201
            return self.keep(response, whole, "created", 1)
        return multiple()

    @rule(user_id=users, fields=OWN, fresh=st.booleans())
    def put(self, user_id: str, fields: dict[str, Any], fresh: bool) -> None:
        tag = self.live[user_id]["version"] if user_id in self.live and fresh else 0
        headers = {"If-Match": f'"{tag}"'} if tag or not fresh else {}
        response, whole = self.client.put(f"/users/{user_id}", fields, headers=headers), completed(fields)
        if whole is None:
            assert response.status_code == 422
        elif user_id in self.trash:
            assert response.status_code == 409
        elif not fresh:
            assert response.status_code == 412
        elif self.conflicts(whole, user_id):
            assert response.status_code == 409
        else:
            assert response.status_code == 200
            self.changed(response, user_id, whole)

    @rule(user_id=users, patch=NULLABLE)
    def patch(self, user_id: str, patch: dict[str, Any]) -> None:
        response = self.client.patch(f"/users/{user_id}", patch)
        if user_id not in self.live:
            assert response.status_code == 404
            return
        before = self.live[user_id]
        fields = {name: before[name] for name in ("username", "email", "name", "role", "active", "attributes")}
        whole = completed(
            {**fields, **patch, "attributes": merge(fields["attributes"], patch.get("attributes", {})) or {}}
        )
        if whole is None:
            assert response.status_code == 422
        elif self.conflicts(whole, user_id):
            assert response.status_code == 409
        else:
            assert response.status_code == 200
            self.changed(response, user_id, whole)

    def changed(self, response: Any, user_id: str, whole: dict[str, Any]) -> None:
        before = self.live[user_id]
        if all(same(before[name], value) for name, value in whole.items()):
            assert same(response.json, before)
        else:
            self.keep(response, whole, "changed", before["version"] + 1)
            assert response.json["created_at"] == before["created_at"]
            assert response.json["updated_at"] > before["updated_at"]

    @rule(user_id=users)
    def delete(self, user_id: str) -> None:
        response = self.client.delete(f"/users/{user_id}")
        assert response.status_code == (204 if user_id in self.live else 404)
        if user_id in self.live:
            self.trash[user_id] = self.live.pop(user_id)
            self.trash[user_id]["version"] += 1
            self.actions[user_id].append("deleted")

    @rule(user_id=users)
    def restore(self, user_id: str) -> None:
        response = self.client.post(f"/users/{user_id}/restore")
        if user_id in self.live or self.conflicts(self.trash[user_id]):
            assert response.status_code == 409
        else:
            assert response.status_code == 200
            user = self.trash[user_id]
            names = ("username", "email", "name", "role", "active", "attributes", "created_at")
            self.keep(response, {name: user[name] for name in names}, "restored", user["version"] + 1)

    @rule(user_id=consumes(users))
    def purge(self, user_id: str) -> None:
        assert self.client.delete(f"/users/{user_id}?purge=true").status_code == 204
        self.live.pop(user_id, None)
        self.trash.pop(user_id, None)
        assert self.client.get(f"/users/{user_id}").status_code == 404
        entries = self.client.get(f"/users/{user_id}/history").json
        assert [entry["action"] for entry in entries] == ["purged", *reversed(self.actions[user_id])]

    @rule(user_id=users, limit=st.integers(1, 3))
    def read(self, user_id: str, limit: int) -> None:
        response = self.client.get(f"/users/{user_id}")
        assert response.status_code == (200 if user_id in self.live else 404)
        if user_id in self.live:
            assert same(response.json, self.live[user_id])
        newest = self.client.get(f"/users/{user_id}/history?limit={limit}").json
        assert [entry["action"] for entry in newest] == self.actions[user_id][::-1][:limit]

    @rule(
        sort=st.sampled_from(SORTS),
        limit=st.integers(1, 5),
        q=st.none() | st.sampled_from(WORDS),
        role=st.none() | st.sampled_from(["member", "admin"]),
        active=st.none() | st.booleans(),
        team=st.none() | st.sampled_from(["1", "x", "", "true", "null", "1.5"]),
    )
    def search(self, sort: str, limit: int, **asked: Any) -> None:
        query: dict[str, Any] = {name: asked[name] for name in ("q", "role") if asked[name] is not None}
        if asked["active"] is not None:
            query["active"] = str(asked["active"]).lower()
        if asked["team"] is not None:
            query["attributes.team"] = asked["team"]
        found = self.client.walk(sort=sort, limit=limit, **query)
        fitting = [user for user in self.live.values() if fits(user, **asked)]
        assert same(found, ordered(fitting, sort))

    @invariant()
    def lists_agree(self) -> None:
        assert same(self.client.walk(limit=200), ordered(list(self.live.values()), "created_at"))
        trash = self.client.walk(limit=200, deleted="true")
        assert {user["id"]: user["version"] for user in trash} == {k: u["version"] for k, u in self.trash.items()}


def sorted_(value: Any) -> Any:
    """A value whose repr does not depend on the order of its names."""
    if isinstance(value, dict):
        return {key: sorted_(value[key]) for key in sorted(value)}
    return [sorted_(item) for item in value] if isinstance(value, list) else value


def fits(user: dict[str, Any], q: str | None, role: str | None, active: bool | None, team: str | None) -> bool:
    own = words(" ".join([user["name"], user["username"], user["email"] or ""]))
    spelt = {True: "true", False: "false", None: "null"}
    value = user["attributes"].get("team", [])
    text = (
        None
        if isinstance(value, (list, dict))
        else spelt[value]
        if value is None or value is True or value is False
        else str(value)
    )
    return (
        all(any(word.startswith(prefix) for word in own) for prefix in words(q or ""))
        and role in (None, user["role"])
        and active in (None, user["active"])
        and team in (None, text)
    )


def ordered(users: list[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    field = sort.removeprefix("-")

    def key(user: dict[str, Any]) -> tuple[bytes, str]:
        value = user[field] or ""
        text = fold(value) if field == "name" else value.casefold() if field in ("username", "email") else value
        return text.encode(), user["id"]

    return sorted(users, key=key, reverse=sort.startswith("-"))


@pytest.mark.timeout(240)
def test_the_api_behaves_like_two_dictionaries(app: Flask, empty: Callable[[], None]) -> None:
    machine = type("Driven", (Model,), {"client": ApiClient(app), "empty": staticmethod(empty)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
