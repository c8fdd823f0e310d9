"""Users of each role, their credentials, and targets. Each request can be undone."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
import redis
from flask import Flask
from psycopg import sql

from app.http.services import services_of
from embedded import Stack
from tests.attack.permissions import LADDER, Credential
from tests.support.empty_tables import INTERNAL, empty_tables
from tests.support.secured_app import PASSWORD, SecuredApp, UserClient

TABLES = ("users", "history", "tokens", "idempotency_keys")
"""Triggers write the table `identifiers`."""
ANONYMOUS = Credential("anonymous", None, None, is_token=False)
_DIGESTS = sql.SQL(" UNION ALL ").join(
    sql.SQL("SELECT coalesce(md5(string_agg(md5({row}), '' ORDER BY md5({row}))), '') FROM {table}").format(
        table=sql.Identifier(table),
        # A read with a token updates when it was last used.
        row=sql.SQL("(id, user_id, role, expires_at)::text" if table == "tokens" else "{table}::text").format(
            table=sql.Identifier(table)
        ),
    )
    for table in TABLES
)


@dataclass(frozen=True)
class Agent:
    """A credential, the headers that send it, and its user."""

    credential: Credential
    headers: Mapping[str, str]
    user: Mapping[str, Any]


class World:
    """An application with users. `reset` restores the rows and sessions that it had first."""

    def __init__(self, app: Flask, servers: Stack) -> None:
        self.app = app
        # The option marks changes as internal, so that triggers do not record them in the history.
        self._database = psycopg.connect(servers.postgres.url, autocommit=True, options=INTERNAL)
        self._redis = redis.Redis.from_url(servers.redis.url)
        empty_tables(self._database)
        self._redis.flushall()
        self.secured_app = SecuredApp(app)
        self.users = {role: self._create(role, role) for role in LADDER}
        self.agents = [Agent(ANONYMOUS, {}, self._create("anonymous", "member")), *self._valid(), *self._over()]
        self.targets = self._make_targets()
        self.client = app.test_client(use_cookies=False)
        self._save()

    def close(self) -> None:
        """Delete everything. A remaining administrator would end the setup mode of services that later tests start."""
        for table in TABLES:
            self._execute("DROP TABLE {saved}", table)
        empty_tables(self._database)
        self._redis.flushall()
        self._database.close()
        self._redis.close()

    def users_of(self, agent: Agent) -> dict[str, Mapping[str, Any]]:
        """The targets of the requests of an agent."""
        return {"own": agent.user, **self.targets}

    def is_changed(self) -> bool:
        """Whether any row is not as it was first."""
        return self._digests() != self._saved_digests

    def sessions(self, user: Mapping[str, Any]) -> set[str]:
        """The ids of the sessions of a user."""
        response = self.secured_app.admin.get(f"/users/{user['user_id']}/sessions")
        return {session["id"] for session in response.json} if response.status_code == 200 else set()

    def reset(self) -> None:
        """Restore all rows and sessions, and empty all caches."""
        with self._database.transaction():
            for table in reversed(TABLES):
                self._execute("DELETE FROM {table}", table)
            for table in TABLES:
                self._execute("INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {saved}", table)
        self.reset_sessions()
        services_of(self.app).generations.invalidate()

    def reset_sessions(self) -> None:
        """Restore all sessions. A renewed session would end after a minute."""
        with self._redis.pipeline() as pipeline:
            pipeline.flushdb()
            for key, value in self._keys.items():
                pipeline.restore(key, 0, value)
            pipeline.execute()

    def _save(self) -> None:
        for table in TABLES:
            self._execute("CREATE TABLE {saved} AS TABLE {table}", table)
        self._saved_digests = self._digests()
        self._keys = {key: self._redis.dump(key) for key in self._redis.scan_iter("fsa:session*")}

    def _execute(self, statement: LiteralString, table: str) -> None:
        names = {"table": sql.Identifier(table), "saved": sql.Identifier(f"saved_{table}")}
        self._database.execute(sql.SQL(statement).format(**names))

    def _digests(self) -> list[Any]:
        return self._database.execute(_DIGESTS).fetchall()

    def _create(self, name: str, role: str) -> dict[str, Any]:
        """A user with a session and a token, which requests may end."""
        user = self.secured_app.create_user(
            role, username=name, name=name.title(), email=f"{name}.secret@example.org", password=PASSWORD
        )
        self.secured_app.session_cookie(user)
        (session,) = self.secured_app.admin.get(f"/users/{user['id']}/sessions").json
        token_id = self.secured_app.token(user)["id"]
        return {**user, "user_id": user["id"], "session_id": session["id"], "token_id": token_id}

    def _valid(self) -> list[Agent]:
        agents = []
        for role, user in self.users.items():
            session, token = self.secured_app.session_client(user), self.secured_app.token_client(user)
            agents.append(_agent(f"a session of {role}", session, role, role))
            agents.append(_agent(f"a token of {role}", token, role, role))
        for own, role in (("viewer", "member"), ("editor", "viewer"), ("admin", "viewer"), ("admin", "editor")):
            client = self.secured_app.token_client(self.users[own], role)
            agents.append(_agent(f"a token of {own} narrowed to {role}", client, role, own))
        return agents

    def _over(self) -> list[Agent]:
        """Credentials of administrators that are no longer valid, or never were."""
        names = ("expired", "revoked", "ended", "forged", "demoted", "inactive", "deleted")
        users = {name: self._create(name, "admin") for name in names}
        sessions = {name: self.secured_app.session_client(user) for name, user in users.items()}
        tokens = {name: self.secured_app.token_client(user) for name, user in users.items()}
        admin = self.secured_app.admin
        self._database.execute("UPDATE tokens SET expires_at = now() WHERE user_id = %s", [users["expired"]["id"]])
        for token in admin.get("/tokens").json:
            if token["username"] == "revoked":
                admin.delete(f"/tokens/{token['id']}")
        admin.delete(f"/users/{users['ended']['id']}/sessions")
        admin.patch(f"/users/{users['demoted']['id']}", {"role": "member"})
        admin.patch(f"/users/{users['inactive']['id']}", {"active": False})
        admin.delete(f"/users/{users['deleted']['id']}")
        for clients, header in ((sessions, "Cookie"), (tokens, "Authorization")):
            right = clients["forged"].headers[header]
            clients["forged"].headers[header] = right[:-8] + right[-8:][::-1]
        over = [("token", tokens, names[:2]), ("session", sessions, names[2:3])]
        over += [(kind, clients, ("forged", "inactive", "deleted")) for kind, clients in _kinds(tokens, sessions)]
        agents = [
            _agent(f"a {kind} of an administrator, {name}", clients[name], None, None)
            for kind, clients, chosen in over
            for name in chosen
        ]
        users["demoted"]["role"] = "member"
        return agents + [
            _agent(f"a {kind} of an administrator, demoted", clients["demoted"], "member", "member")
            for kind, clients in _kinds(tokens, sessions)
        ]

    def _make_targets(self) -> dict[str, dict[str, Any]]:
        targets = {name: self._create(f"target-{name}", "member") for name in ("member", "trashed", "purged")}
        targets["admin"] = self._create("target-admin", "admin")
        self.secured_app.admin.delete(f"/users/{targets['trashed']['id']}")
        self.secured_app.admin.delete(f"/users/{targets['purged']['id']}?purge=true")
        ids = {"user_id": str(uuid.uuid4()), "token_id": str(uuid.uuid4()), "session_id": "0" * 64}
        fields = {"username": "unknown", "email": "unknown.secret@example.org", "role": "member", "name": "Unknown"}
        return {**targets, "unknown": {**fields, **ids}}


def _agent(name: str, client: UserClient, role: str | None, user_role: str | None) -> Agent:
    is_token = "Authorization" in client.headers
    return Agent(Credential(name, role, user_role, is_token), dict(client.headers), client.user)


def _kinds(tokens: dict[str, UserClient], sessions: dict[str, UserClient]) -> list[tuple[str, dict[str, UserClient]]]:
    return [("token", tokens), ("session", sessions)]
