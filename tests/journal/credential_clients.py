"""Clients that begin, use and end credentials: tokens and sessions. They use ended ones again and again."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg

from tests.journal.cluster import PASSWORD, Cluster
from tests.journal.http_client import Answer, HttpClient
from tests.journal.operations import Journal
from tests.journal.session_clients import cookie_of, forwarded_for
from tests.journal.token_clients import Writer

USES = 6
REMEMBERED = 30
CREDENTIALS_PER_USER = 20
"""How many credentials a user has before another user is created: sign-ins to one account are limited."""


class CredentialClient(Writer):
    """Begins a credential of a new user, uses it on both hosts, ends it, and uses it again."""

    rate = 3.0
    hang_up_share = 0.02

    def __init__(self, name: str, cluster: Cluster, journal: Journal, seed: str) -> None:
        super().__init__(name, cluster, journal, seed, [])
        self.user_id, self.left = "", 0
        self.ended: list[tuple[str, dict[str, str]]] = []

    def step(self) -> None:
        if self.left == 0 or not self.user_id:
            self.user_id, self.left = self.create_user(), CREDENTIALS_PER_USER
        begun = self.begin() if self.user_id else None
        if begun is None:
            self.stop.wait(0.3)
            return
        self.left -= 1
        name, credential = begun
        for _ in range(USES):
            self.use(name, credential)
        if self.end(name, credential):
            self.ended = [*self.ended[-REMEMBERED:], begun]
        for _ in range(2 * USES):
            self.use(name, credential)
        for old in self.random.sample(self.ended, min(4, len(self.ended))):
            self.use(*old)

    def create_user(self) -> str:
        operation = self.operation("create")
        answer = self.settled(operation, {"username": operation.marker, "password": PASSWORD})
        user_id = answer.json["id"] if answer.status == 201 else ""
        self.record(operation, answer, target=user_id)
        self.username = operation.marker
        return user_id

    def use(self, name: str, credential: dict[str, str]) -> None:
        operation = self.operation("use", name)
        answer = self.send(operation, "GET", "/api/me", None, credential)
        self.record(operation, answer, valid={200: True, 401: False}.get(answer.status or 0))

    @abstractmethod
    def begin(self) -> tuple[str, dict[str, str]] | None:
        """Begin a credential. Returns its name and its headers, or None without an answer."""

    def end(self, name: str, credential: dict[str, str]) -> bool:
        """End it in a random way, until that is acknowledged. Then its user can have another one."""
        way = self.random.choice(self.ways(name, credential))
        is_ended = way().status in (200, 204, 401, 404)
        path = f"/api/users/{self.user_id}"
        for repair in (("POST", f"{path}/restore", None), ("PATCH", path, {"active": True})):
            self.settle("set", self.user_id, *repair)
        return is_ended

    def ways(self, name: str, credential: dict[str, str]) -> list[Callable[[], Answer]]:  # noqa: ARG002 - others need it
        """The ways to end it; each returns its last answer."""
        path = f"/api/users/{self.user_id}"
        return [
            lambda: self.settle("end", name, "PATCH", path, {"active": False}),
            lambda: self.settle("end", name, "DELETE", path),
        ]


class TokenEnder(CredentialClient):
    """Revokes tokens: one by one, by SQL, and with their user."""

    def begin(self) -> tuple[str, dict[str, str]] | None:
        operation = self.operation("begin")
        body = {"name": "short", "user_id": self.user_id, "role": "member"}
        answer = self.send(operation, "POST", "/api/tokens", body)
        name = f"token {answer.json['id']}" if answer.status == 201 else ""
        self.record(operation, answer, target=name)
        return (name, {"Authorization": f"Bearer {answer.json['token']}"}) if name else None

    def ways(self, name: str, credential: dict[str, str]) -> list[Callable[[], Answer]]:
        token_id = name.removeprefix("token ")
        one = lambda: self.settle("end", name, "DELETE", f"/api/tokens/{token_id}")  # noqa: E731
        return [*super().ways(name, credential), one, one, lambda: self.delete_by_sql(name, token_id)]

    def delete_by_sql(self, name: str, token_id: str) -> Answer:
        operation = self.operation("end", name)
        operation = replace(operation, interface="sql", host=None)
        answer = Answer(204, {}, b"")
        try:
            with psycopg.connect(self.cluster.postgres.url, autocommit=True, connect_timeout=3) as connection:
                connection.execute("SET statement_timeout = '3s'")
                connection.execute("DELETE FROM tokens WHERE id = %s", [token_id])
        except psycopg.Error as error:
            answer = Answer(None, {}, b"", type(error).__name__)
        self.record(operation, answer)
        return answer


class SessionEnder(CredentialClient):
    """Ends sessions: by signing out, by an administrator, by a new password, and with their user."""

    interface = "session"

    def begin(self) -> tuple[str, dict[str, str]] | None:
        operation = self.operation("begin")
        body = {"username": self.username, "password": PASSWORD}
        answer = HttpClient.send(
            self, operation, "POST", "/api/session", body, {"Authorization": "none"} | forwarded_for(operation)
        )
        name = f"session {operation.number}" if answer.status == 201 else ""
        self.record(operation, answer, target=name)
        # Without the header of the administrator.
        return (name, {"Authorization": "none", "Cookie": cookie_of(answer)}) if name else None

    def ways(self, name: str, credential: dict[str, str]) -> list[Callable[[], Answer]]:
        path = f"/api/users/{self.user_id}"
        return [
            *super().ways(name, credential),
            lambda: self.sign_out(name, credential),
            lambda: self.settle("end", name, "DELETE", f"{path}/sessions"),
            lambda: self.settle("end", name, "PATCH", path, {"password": PASSWORD}),
        ]

    def sign_out(self, name: str, credential: dict[str, Any]) -> Answer:
        answer = Answer(None, {}, b"")
        while answer.outcome == "unknown" and not self.stop.wait(0.05):
            operation = self.operation("end", name)
            origin = {"Origin": self.cluster.hosts[operation.host or 0].origin}
            answer = self.send(operation, "DELETE", "/api/session", None, {**credential, **origin})
            self.record(operation, answer)
        return answer
