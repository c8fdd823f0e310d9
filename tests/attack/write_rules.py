"""Requests that change users, beside the model."""

from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import rule

from tests.attack.fuzz_users import CURRENT, OWN, PASSWORD, PATCH, TAGS, WHO, WHOM, Pick
from tests.attack.machine import Beside
from tests.attack.model import FIELDS, KEPT, Credential, completed, condition, patched, same


class Writes(Beside):
    """Requests that change users."""

    @rule(by=WHO, fields=OWN, password=PASSWORD, key=st.sampled_from([None, None, "one", "two"]))
    def create(self, by: Pick, fields: dict[str, Any], password: str, key: str | None) -> None:
        who, body = self.who(by), _with(fields, password)
        response = self.send("POST", "/users", who, body, {"Idempotency-Key": key} if key else {})
        whole, model = completed(fields), self.model
        owner = (who.id or who.user_id, key)
        refusals = model.refuses(who, "editor")
        if not refusals:
            refusals = model.refuses_over(who, whole["role"]) if whole else {422}
        earlier = self.replies.get(owner) if key else None
        if earlier is not None and not refusals:
            self.replayed(response, body, *earlier)
        elif self.judge(response, refusals or model.refuses_names(whole or {}), 201):
            user_id = self.written(response, whole or {}, "created", who, _new(password))
            assert response.headers["Location"] == f"/api/users/{user_id}"
            if key:
                self.replies[owner] = (body, response.json)

    def replayed(self, response: Any, body: dict[str, Any], first: dict[str, Any], shown: dict[str, Any]) -> None:
        """The answer to a key that is in use. Two bodies that describe the same user may count as one."""
        if not same(body, first):
            assert response.status_code == 422 or same(completed(_fields(body)), completed(_fields(first)))
        if same(body, first) or response.status_code != 422:
            assert (response.status_code, response.headers.get("Idempotent-Replayed")) == (201, "true")
            assert same(response.json, shown)

    @rule(by=WHO, of=WHOM, fields=OWN, password=PASSWORD, tag=TAGS, current=CURRENT)
    def put(self, by: Pick, of: Pick, fields: dict[str, Any], password: str, tag: str, current: str | None) -> None:
        who, user_id, model = self.who(by), self.whom(of), self.model
        user, whole = model.live.get(user_id), completed(fields)
        body = {**_with(fields, password), **({"current_password": current} if current else {})}
        response = self.send("PUT", f"/users/{user_id}", who, body, condition(tag, user))
        refusals = model.refuses(who, "editor", user_id) or (set() if whole else {422})
        if not refusals and user_id in model.trash:
            refusals = {409}
        elif not refusals and user is None:
            refusals = model.refuses_over(who, whole["role"]) | model.refuses_names(whole)
            refusals |= model.refuses_version(tag, user)
        elif not refusals:
            refusals = model.refuses_change(who, user_id, whole, password, current) | model.refuses_version(tag, user)
        if self.judge(response, refusals, 201 if user is None else 200):
            self.changed(response, who, user_id, whole or {}, password)

    @rule(by=WHO, of=WHOM, patch=PATCH, password=PASSWORD | st.none(), tag=TAGS, current=CURRENT, me=st.booleans())
    def patch(
        self, by: Pick, of: Pick, patch: dict[str, Any], password: str | None, tag: str, current: str | None, me: bool
    ) -> None:
        who, model = self.who(by), self.model
        user_id = who.user_id if me else self.whom(of)
        user = model.live.get(user_id)
        body = {**_with(patch, password), **({"current_password": current} if current else {})}
        path = "/me" if me else f"/users/{user_id}"
        response = self.send("PATCH", path, who, body, condition(tag, user))
        refusals = model.refuses(who, "member" if me else "editor", user_id)
        if me and not refusals and not model.owns(who, user_id):
            refusals = {403, 422} if patch.keys() - set(FIELDS) else {403}
        whole = patched(user, patch) if user else None
        if not refusals and patch.keys() - set(FIELDS):
            refusals = {422}
        elif not refusals and user is None:
            refusals = {404}
        elif not refusals:
            refusals = model.refuses_version(tag, user) | (set() if whole else {422})
            refusals |= model.refuses_change(who, user_id, whole, password, current) if whole else set()
        if self.judge(response, refusals, 200):
            self.changed(response, who, user_id, whole or {}, password)

    def changed(
        self, response: Any, who: Credential, user_id: str, whole: dict[str, Any], password: str | None
    ) -> None:
        before = self.model.live.get(user_id)
        is_kept = password == KEPT or (password is None and self.model.passwords.get(user_id) is None)
        if before is None:
            self.written(response, whole, "created", who, _new(password))
        elif is_kept and all(same(before[name], value) for name, value in whole.items()):
            assert same(response.json, before)
        else:
            self.written(response, whole, "changed", who, password)
            assert response.json["created_at"] == before["created_at"]
            assert response.json["updated_at"] > before["updated_at"]

    @rule(by=WHO, of=WHOM, tag=TAGS)
    def delete(self, by: Pick, of: Pick, tag: str) -> None:
        who, user_id, model = self.who(by), self.whom(of), self.model
        user = model.live.get(user_id)
        response = self.send("DELETE", f"/users/{user_id}", who, headers=condition(tag, user))
        refusals = model.refuses(who, "editor") or (set() if user else {404})
        if user and not refusals:
            refusals = model.refuses_over(who, user["role"]) | model.refuses_version(tag, user)
            refusals |= model.refuses_removal(user_id)
        if self.judge(response, refusals, 204):
            model.delete(user_id, who)

    @rule(by=WHO, of=WHOM, tag=TAGS)
    def restore(self, by: Pick, of: Pick, tag: str) -> None:
        who, user_id, model = self.who(by), self.whom(of), self.model
        user = model.trash.get(user_id) or model.live.get(user_id)
        response = self.send("POST", f"/users/{user_id}/restore", who, headers=condition(tag, user))
        refusals = model.refuses(who, "editor") or (set() if user else {404})
        if user and not refusals:
            refusals = model.refuses_over(who, user["role"]) | model.refuses_version(tag, user)
            refusals |= {409} if user_id in model.live else model.refuses_names(user)
        if user and self.judge(response, refusals, 200):
            whole = {name: user[name] for name in (*FIELDS, "created_at")}
            self.written(response, whole, "restored", who)

    @rule(by=WHO, of=WHOM, tag=TAGS)
    def purge(self, by: Pick, of: Pick, tag: str) -> None:
        who, user_id, model = self.who(by), self.whom(of), self.model
        user = model.trash.get(user_id) or model.live.get(user_id)
        response = self.send("DELETE", f"/users/{user_id}?purge=true", who, headers=condition(tag, user))
        refusals = model.refuses(who, "admin") or (set() if user else {404})
        if user and not refusals:
            refusals = model.refuses_version(tag, user) | model.refuses_removal(user_id)
        if self.judge(response, refusals, 204):
            model.purge(user_id, who)
            self.replies = {key: reply for key, reply in self.replies.items() if reply[1]["id"] != user_id}
            assert self.observer.get(f"/users/{user_id}").status_code == 404
            self.known_history(user_id)


def _with(fields: dict[str, Any], password: str | None) -> dict[str, Any]:
    return fields if password == KEPT else {**fields, "password": password}


def _fields(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "password"}


def _new(password: str | None) -> str | None:
    return None if password == KEPT else password
