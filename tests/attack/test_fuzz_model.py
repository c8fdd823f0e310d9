"""Random requests of all roles, by session and token, beside a model: every answer is the model's."""

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import psycopg
from hypothesis.stateful import rule

from tests.attack.bulk_rules import Bulk
from tests.attack.fuzz_users import PASSWORDS, WHO, WHOM, WORDS, Pick
from tests.attack.fuzzing import fuzz_machine
from tests.attack.model import ROLES, Credential, fits, ordered, same
from tests.attack.rounds import Rounds
from tests.support.api_client import SORTS
from tests.support.secured_app import SecuredApp, cookie_of


class Credentials(Bulk):
    """Requests for sessions, tokens and passwords."""

    @rule(by=WHO, of=WHOM, role=st.sampled_from(ROLES))
    def create_token(self, by: Pick, of: Pick, role: str) -> None:
        who, user_id, model = self.who(by), self.whom(of), self.model
        response = self.send("POST", "/tokens", who, {"name": "fuzzed", "role": role, "user_id": user_id})
        user, refusals = model.live.get(user_id), model.refuses(who, "admin")
        if not refusals and (user is None or not user["active"] or ROLES.index(role) > ROLES.index(user["role"])):
            refusals = {422}
        if self.judge(response, refusals, 201):
            self.add_token(response.json)

    @rule(by=WHO, which=st.integers(0, 40))
    def revoke_token(self, by: Pick, which: int) -> None:
        who, model = self.who(by), self.model
        tokens = [one for one in model.credentials if one.kind == "token"]
        token = tokens[which % len(tokens)] if tokens else Credential(id=self.ids[0], is_dead=True)
        response = self.send("DELETE", f"/tokens/{token.id}", who)
        if self.judge(response, model.refuses(who, "admin") or ({404} if token.is_dead else set()), 204):
            token.is_dead = True

    @rule(of=WHOM, is_recent=st.booleans())
    def begin_session(self, of: Pick, is_recent: bool) -> None:
        """A session, without a sign-in by HTTP, which takes 40 ms."""
        user_id = self.whom(of)
        user = self.model.live.get(user_id)
        if user and user["active"]:
            cookie = self.site.session_cookie(user, 0.0 if is_recent else 301.0)
            self.add_session(user_id, cookie, is_recent=is_recent)

    @rule(of=WHOM, password=st.sampled_from(PASSWORDS), by_email=st.booleans())
    def sign_in(self, of: Pick, password: str, by_email: bool) -> None:
        user_id = self.whom(of)
        user = self.model.live.get(user_id)
        name = "email" if by_email and user and user["email"] else "username"
        body = {name: user[name] if user else "nobody", "password": password}
        response = self.send("POST", "/session", Credential(), body)
        is_right = user is not None and user["active"] and self.model.passwords[user_id] == password
        if self.judge(response, set() if is_right else {401}, 201):
            assert same(response.json["user"], user)
            self.add_session(user_id, cookie_of(response))

    @rule(by=WHO)
    def sign_out(self, by: Pick) -> None:
        who = self.who(by)
        response = self.send("DELETE", "/session", who)
        if self.judge(response, self.model.refuses(who, "member"), 204):
            who.is_dead = who.kind == "session"

    @rule(by=WHO, of=WHOM, me=st.booleans())
    def end_sessions(self, by: Pick, of: Pick, me: bool) -> None:
        who, model = self.who(by), self.model
        user_id = who.user_id if me else self.whom(of)
        path = "/me/sessions" if me else f"/users/{user_id}/sessions"
        refusals = model.refuses(who, "member" if me else "admin", user_id)
        if me and not refusals and not model.owns(who, user_id):
            refusals = {403}
        refusals = refusals or (set() if user_id in model.live else {404})
        listed = self.send("GET", path, who)
        if self.judge(listed, refusals, 200):
            known = [one for one in model.credentials if one.kind == "session" and one.user_id == user_id]
            assert len(listed.json) == sum(model.role_of(one) is not None for one in known)
            assert sum(one["current"] for one in listed.json) == (who.kind == "session" and who.user_id == user_id)
        if self.judge(self.send("DELETE", path, who), refusals, 204):
            model.end(user_id, tokens=False)

    @rule(by=WHO, current=st.sampled_from(PASSWORDS), new=st.sampled_from([*PASSWORDS, "short"]))
    def change_password(self, by: Pick, current: str, new: str) -> None:
        who, model = self.who(by), self.model
        body = {"current_password": current, "new_password": new}
        response = self.send("PUT", "/me/password", who, body)
        refusals = model.refuses(who, "member") or ({422} if new == "short" else set())
        # A narrowed token has no own record, and no token changes a password.
        is_allowed = who.kind == "session" and model.passwords.get(who.user_id) == current
        if self.judge(response, refusals or (set() if is_allowed else {403}), 204):
            user = model.live[who.user_id]
            shown = self.observer.get(f"/users/{who.user_id}").json
            changed = {"version": user["version"] + 1, "updated_at": shown["updated_at"]}
            model.store({**user, **changed}, "changed", who, new)
            self.add_session(who.user_id, cookie_of(response))


class Everything(Credentials):
    """Requests that read."""

    @rule(by=WHO, of=WHOM, limit=st.integers(1, 3), is_known=st.booleans())
    def read(self, by: Pick, of: Pick, limit: int, is_known: bool) -> None:
        who, user_id, model = self.who(by), self.whom(of), self.model
        user = model.live.get(user_id)
        headers = {"If-None-Match": f'"{user["version"]}"'} if user and is_known else {}
        response = self.send("GET", f"/users/{user_id}", who, headers=headers)
        refusals = model.refuses(who, "viewer", user_id) or (set() if user else {404})
        if self.judge(response, refusals, 304 if headers else 200) and not headers:
            assert same(response.json, user)
        newest = self.send("GET", f"/users/{user_id}/history?limit={limit}", who)
        refusals = model.refuses(who, "viewer") or (set() if user_id in model.history else {404})
        if self.judge(newest, refusals, 200):
            everything = self.observer.get(f"/users/{user_id}/history?limit=200").json
            assert newest.json == everything[:limit]
        self.known_history(user_id)

    @rule(by=WHO)
    def read_own(self, by: Pick) -> None:
        who, model = self.who(by), self.model
        refusals = model.refuses(who, "member")
        identity = self.send("GET", "/session", who)
        is_own = model.owns(who, who.user_id)
        if self.judge(identity, refusals, 200):
            assert (identity.json["kind"], identity.json["role"]) == (who.kind, model.role_of(who))
            assert same(identity.json["user"], model.live[who.user_id] if is_own else None)
        me = self.send("GET", "/me", who)
        if self.judge(me, refusals or (set() if is_own else {403}), 200):
            assert same(me.json, model.live[who.user_id])

    @rule(by=WHO)
    def read_tokens(self, by: Pick) -> None:
        who, model = self.who(by), self.model
        response = self.send("GET", "/tokens", who)
        if self.judge(response, model.refuses(who, "admin"), 200):
            own = {one["id"] for one in response.json if one["user_id"] != self.observer_id}
            assert own == {one.id for one in model.credentials if one.kind == "token" and not one.is_dead}

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
        found = self.observer.walk(sort=sort, limit=limit, **query)
        fitting = [user for user in self.model.live.values() if fits(user, **asked)]
        assert same(found, ordered(fitting, sort))

    @rule(by=WHO, query=st.sampled_from(["", "?deleted=true", "?q=a", "?limit=1"]))
    def list_users(self, by: Pick, query: str) -> None:
        who = self.who(by)
        self.judge(self.send("GET", f"/users{query}", who), self.model.refuses(who, "viewer"), 200)


def test_the_api_behaves_like_the_model(
    rounds: Rounds, new_site: Callable[[], SecuredApp], database: psycopg.Connection[Any]
) -> None:
    given = {"start": staticmethod(new_site), "sql": database}
    fuzz_machine(rounds, type("Driven", (Everything,), given), examples=6, steps=40)
