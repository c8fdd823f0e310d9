"""Clients with a session: of the API, of the pages and forms of the console, and of its bulk actions."""

import html
import re
from typing import Any
from urllib.parse import quote, unquote_plus

from tests.soak.client import Answer, Client
from tests.soak.site import PASSWORD
from tests.soak.token_clients import WORDS

ADDRESSES = 10
_HIDDEN = re.compile(r'name="(version|original|newest_id|key|expected|query)" value="([^"]*)"')
_REVOKE = re.compile(r'action="(/api-tokens/[0-9a-f-]+/revoke)"')
_ASSETS = re.compile(r'(?:href|src)="(/assets/[^"]+)"')


class SessionClient(Client):
    """An editor of the API who signs in, works and signs out. Some sessions end in other ways."""

    rate = 0.3

    def step(self) -> None:
        number = self.random.randrange(len(self.load.editors))
        self.sign_in(f"editor{number}")
        for _ in range(4):
            self.send("GET", "/api/me")
            self.send("GET", f"/api/users?q={quote(self.random.choice(WORDS)[:3])}&sort=name")
            self.own("PATCH", f"/api/users/{self.random.choice(self.load.base)}", {"active": True})
        self.own("PATCH", "/api/me", {"name": f"Editor {self.load.next_number() % 50}"})
        self.send("GET", "/api/me/sessions")
        self.end(self.load.editors[number])
        self.send("GET", "/api/me", expect=(401,))

    def sign_in(self, username: str) -> None:
        """Begin a session, now and then after a wrong password."""
        address = {"X-Forwarded-For": f"198.18.0.{self.random.randrange(ADDRESSES)}", "Origin": self.site.origin}
        self.headers = {}
        if self.random.random() < 0.05:
            body = {"username": username, "password": "not the password"}
            self.send("POST", "/api/session", body, expect=(401,), headers=address)
        body = {"username": username, "password": PASSWORD}
        answer = self.send("POST", "/api/session", body, expect=(201,), headers=address)
        self.headers = {"Cookie": cookie_of(answer)}

    def own(self, method: str, path: str, body: Any = None, expect: tuple[int, ...] = (200,)) -> Answer:
        """Send a write with the Origin of a page of the service."""
        return self.send(method, path, body, expect=expect, headers={"Origin": self.site.origin})

    def end(self, user_id: str) -> None:
        """End the session: by signing out, by the list of sessions, by an administrator, or by a new password."""
        admin = {"Authorization": f"Bearer {self.site.token}", "Cookie": ""}
        chance = self.random.random()
        if chance < 0.5:
            self.own("DELETE", "/api/session", expect=(204,))
        elif chance < 0.7:
            self.own("DELETE", "/api/me/sessions", expect=(204,))
        elif chance < 0.85:
            self.send("DELETE", f"/api/users/{user_id}/sessions", expect=(204,), headers=admin)
        else:
            self.send("PATCH", f"/api/users/{user_id}", {"password": PASSWORD}, headers=admin)


class ConsoleClient(Client):
    """An administrator at the console. Opens every page and sends every form."""

    rate = 0.2

    def step(self) -> None:
        self.sign_in(f"admin{self.random.randrange(len(self.load.admins))}")
        self.look_around()
        path = self.create()
        self.edit(path)
        self.form(f"{path}/delete")
        self.form(f"{path}/restore")
        self.form(f"{path}/purge", expect=(200,))
        self.form(f"{path}/purge", {"confirmed": "1"})
        self.create_and_revoke_token()
        self.form("/sign-out")
        self.send("GET", "/overview", expect=(302, 303))

    def sign_in(self, username: str) -> None:
        self.headers = {"X-Forwarded-For": f"198.18.1.{self.random.randrange(ADDRESSES)}", "Accept": "text/html"}
        self.send("GET", "/sign-in")
        answer = self.form("/sign-in", {"username": username, "password": PASSWORD, "next": "/overview"})
        self.headers["Cookie"] = cookie_of(answer)

    def look_around(self) -> None:
        """Open pages, and the files that they name."""
        page = self.send("GET", "/overview")
        for asset in sorted(set(_ASSETS.findall(page.text)))[:3]:
            self.send("GET", html.unescape(asset))
        word = self.random.choice(WORDS)
        for length in range(1, 4):
            self.send("GET", f"/people?q={quote(word[:length])}")
        for path in ("/overview/health", "/people?deleted=true", "/people?role=admin&sort=name", "/password"):
            self.send("GET", path)
        self.send("GET", "/profile", expect=(302, 303))
        self.form("/language", {"language": self.random.choice(("en", "fr")), "next": "/people"})
        self.form("/password", {"current_password": "wrong", "new_password": "x"}, (422,))

    def create(self) -> str:
        """Create a user by the form, which is sent twice. Returns the path of its page."""
        fields = {"username": self.name_of_new(), "name": "Passing By", "role": "member", "attributes": "{}"}
        hidden = {**hidden_fields(self.send("GET", "/people/new")), "has_active": "1"}
        answer = self.form("/people/new", {**fields, **hidden, "active": "on"})
        self.form("/people/new", {**fields, **hidden, "active": "on"})
        return answer.headers["Location"].partition("?")[0]

    def edit(self, path: str) -> None:
        """Save the form, and then the same form again, which is a conflict."""
        fields = hidden_fields(self.send("GET", path))
        self.form(path, {"name": "Edited", **fields})
        self.form(path, {"name": "Edited Again", **fields}, (409,))

    def create_and_revoke_token(self) -> None:
        fields = {"name": "console", "role": "member", "days": "30", "user_id": self.random.choice(self.load.base)}
        page = self.form("/api-tokens", {**fields, **hidden_fields(self.send("GET", "/api-tokens"))}, (201,))
        # The newest one is the first of the list.
        self.form(_REVOKE.findall(page.text)[0], {"next": "/api-tokens"})


class BulkClient(ConsoleClient):
    """An administrator who changes several users at once, which were created for that."""

    rate = 0.1

    def step(self) -> None:
        admin = {"Authorization": f"Bearer {self.site.token}"}
        bodies = [{"username": self.name_of_new()} for _ in range(6)]
        ids = [
            self.send("POST", "/api/users", body, expect=(201,), headers={**admin, "Cookie": ""}).json["id"]
            for body in bodies
        ]
        self.sign_in(f"admin{self.random.randrange(len(self.load.admins))}")
        self.apply("deactivate", ids)
        self.apply("activate", ids)
        self.apply("role", ids, role=self.random.choice(("viewer", "editor")))
        self.apply("role", ids, role="member")
        deleted = self.apply("delete", ids)
        undo = re.search(r"undo=([^&]+)", deleted.headers["Location"])
        if undo and self.random.random() < 0.5:
            self.send("GET", deleted.headers["Location"])
            self.form("/people/bulk", {"action": "restore", "deleted_at": unquote_plus(undo[1]), "query": ""})
        else:
            self.apply("restore", ids, query="deleted=true")
        for user_id in ids:
            self.form(f"/people/{user_id}/purge", {"confirmed": "1"})
        self.form("/sign-out")

    def apply(self, action: str, ids: list[str], query: str = "", **more: str) -> Answer:
        """Select the users, and confirm the action."""
        fields = {"action": action, "id": ids, **more}
        page = self.form("/people/bulk", {**fields, "query": query}, (200,))
        return self.form("/people/bulk", {**fields, **hidden_fields(page), "query": query})


def cookie_of(answer: Answer) -> str:
    return answer.headers["Set-Cookie"].partition(";")[0]


def hidden_fields(page: Answer) -> dict[str, str]:
    """The hidden fields of the form of a page."""
    main = page.text.partition("<main")[2].partition("</main>")[0]
    return {name: html.unescape(value) for name, value in _HIDDEN.findall(main)}
