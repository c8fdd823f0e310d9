"""Clients with a session: of the API, and of the forms of the console."""

import html
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.journal.cluster import PASSWORD, Cluster
from tests.journal.http_client import Answer, RepeatingClient
from tests.journal.operations import Journal, Operation
from tests.journal.token_clients import read_user

_HIDDEN = re.compile(r'name="(version|original)" value="([^"]*)"')


class SessionClient(RepeatingClient):
    """An editor who signs in, changes subjects and reads them. Signs in again if the session was lost."""

    interface = "session"
    rate = 15.0

    def __init__(self, name: str, cluster: Cluster, journal: Journal, seed: str, subjects: list[str]) -> None:
        super().__init__(name, cluster, journal, seed)
        self.subjects, self.headers = subjects, {}
        self.username = name.replace(" ", "-")
        cluster.request("POST", "/api/users", {"username": self.username, "role": "editor", "password": PASSWORD})

    def step(self) -> None:
        if not self.headers:
            self.sign_in()
        elif self.random.random() < 0.5:
            self.update(self.operation("update", self.random.choice(self.subjects)))
        else:
            self.read(self.random.choice(self.subjects))

    def sign_in(self) -> None:
        operation = self.operation("sign_in", self.username)
        body = {"username": self.username, "password": PASSWORD}
        answer = self.send(operation, "POST", "/api/session", body, forwarded_for(operation))
        self.record(operation, answer)
        if answer.status == 201:
            self.headers = {"Cookie": cookie_of(answer)}
        else:
            self.stop.wait(0.5)

    def send(
        self, operation: Operation, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}
    ) -> Answer:
        """Send it with the Origin of its host. If the answer is that nobody is signed in, sign in at the next step."""
        assert operation.host is not None
        origin = {"Origin": self.cluster.hosts[operation.host].origin}
        answer = super().send(operation, method, path, body, {**origin, **headers})
        if answer.status == 401 or answer.headers.get("Location", "").startswith("/sign-in"):
            self.headers = {}
        return answer

    def update(self, operation: Operation) -> None:
        self.write(operation, "PATCH", f"/api/users/{operation.target}", {"name": operation.marker})

    def read(self, user_id: str) -> None:
        read_user(self, user_id)


class ConsoleClient(SessionClient):
    """The same with pages and forms."""

    interface = "console"
    rate = 10.0

    def update(self, operation: Operation) -> None:
        """Send the form of a page that was read on the same host."""
        page = self.page(operation.target, operation.host)
        if page is None:
            return
        form = {"name": operation.marker, **page}
        data = "&".join(f"{name}={_quoted(value)}" for name, value in form.items()).encode()
        # The page took its time: the write begins now.
        begun = self.operation("update", operation.target, operation.host)
        begun = replace(begun, marker=operation.marker)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self.send(begun, "POST", f"/people/{operation.target}", data, headers)
        is_saved = answer.status == 303 and "done=saved" in answer.headers.get("Location", "")
        self.record(begun, answer, **({} if is_saved or answer.outcome == "unknown" else {"outcome": "refused"}))

    def read(self, user_id: str) -> None:
        self.page(user_id, None)

    def page(self, user_id: str, host: int | None) -> dict[str, str] | None:
        """Read the page of a user. Returns the hidden fields of its form."""
        operation = self.operation("read", user_id, host)
        answer = self.send(operation, "GET", f"/people/{user_id}")
        fields = {name: html.unescape(value) for name, value in _HIDDEN.findall(answer.body.decode(errors="replace"))}
        shown = {user_id: [int(fields["version"]), json.loads(fields["original"])["name"]]} if fields else {}
        status = 401 if answer.status == 302 else answer.status
        self.record(
            operation, answer, shown=shown, status=status, outcome="refused" if status == 401 else answer.outcome
        )
        return fields or None


def cookie_of(answer: Answer) -> str:
    return answer.headers["Set-Cookie"].partition(";")[0]


def forwarded_for(operation: Operation) -> dict[str, str]:
    """An address of its own for each sign-in, because sign-ins from one address are limited."""
    return {"X-Forwarded-For": f"198.18.{operation.number // 250 % 250}.{operation.number % 250}"}


def _quoted(value: Any) -> str:
    return re.sub(rb"[^A-Za-z0-9]", lambda found: b"%%%02X" % found[0][0], str(value).encode()).decode()
