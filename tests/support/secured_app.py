"""An application with an administrator, and clients that use a session cookie or an API token."""

import functools
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from flask import Flask
from nacl.pwhash import argon2id
from werkzeug.test import TestResponse

from app.auth import sessions
from app.auth.permissions import AuditContext
from app.http.parsing import SESSION_COOKIE
from app.http.services import services
from tests.support.api_client import ApiClient

PASSWORD = "correct horse battery"
SAME_ORIGIN = {"Origin": "http://localhost"}
"""The headers by which a browser identifies a request from a page of this service."""


class UserClient(ApiClient):
    """A client with fixed headers. It ignores cookies that responses set."""

    def __init__(self, app: Flask, headers: Mapping[str, str], user: Mapping[str, Any]) -> None:
        super().__init__(app)
        self.flask_client = app.test_client(use_cookies=False)
        self.headers, self.user, self.id = dict(headers), user, str(user.get("id"))

    def __call__(self, method: str, path: str, **kwargs: Any) -> TestResponse:
        return super().__call__(method, path, **{**kwargs, "headers": {**self.headers, **kwargs.get("headers", {})}})


class SecuredApp:
    """An application with an administrator. `admin` is the administrator's client, `anonymous` has no credential."""

    def __init__(self, app: Flask, **admin: str) -> None:
        self.app = app
        self.anonymous = UserClient(app, {}, {})
        own = {"username": "root", "role": "admin", "password": PASSWORD, **admin}
        with _kept_hashes():
            self.admin = self.session_client(self.anonymous.create_user(**own))

    def create_user(self, role: str = "member", **fields: Any) -> dict[str, Any]:
        """Create a user with this role."""
        if "password" not in fields:
            return self.admin.create_user(role=role, **fields)
        with _kept_hashes():
            return self.admin.create_user(role=role, **fields)

    def session_cookie(self, user: Mapping[str, Any], age_s: float = 0.0) -> str:
        """The cookie of a new session that began `age_s` ago. No password is hashed."""
        now: Any = sessions.time  # the clock of a test, if it has set one
        clock = SimpleNamespace(time=lambda: now.time() - age_s, monotonic=time.monotonic, sleep=time.sleep)
        with self.app.app_context(), patch.object(sessions, "time", clock):
            return services().sessions.create_after_reset(
                uuid.UUID(user["id"]), AuditContext(address="192.0.2.1", agent="Browser/1")
            )[0]

    def session_client(self, user: Mapping[str, Any], age_s: float = 0.0) -> UserClient:
        """A client with a session that began `age_s` ago."""
        return self.cookie_client(self.session_cookie(user, age_s), user)

    def cookie_client(self, secret: str, user: Mapping[str, Any] | None = None) -> UserClient:
        """A client with this session cookie."""
        return UserClient(self.app, {"Cookie": f"{SESSION_COOKIE}={secret}", **SAME_ORIGIN}, user or {})

    def token(self, user: Mapping[str, Any], role: str | None = None, **fields: Any) -> dict[str, Any]:
        """Create a token with its secret. role: the role of the user if None."""
        body = {"name": "a program", "user_id": user["id"], "role": role or user["role"], **fields}
        response = self.admin.post("/tokens", body)
        assert response.status_code == 201, response.text
        return response.json

    def token_client(self, user: Mapping[str, Any], role: str | None = None, **fields: Any) -> UserClient:
        """A client with a new token of the user."""
        return self.bearer_client(self.token(user, role, **fields)["token"], user)

    def bearer_client(self, token: str, user: Mapping[str, Any] | None = None) -> UserClient:
        """A client with this token."""
        return UserClient(self.app, {"Authorization": f"Bearer {token}"}, user or {})

    def sign_in(self, body: Any, address: str = "127.0.0.1", **headers: str) -> TestResponse:
        """Try to sign in from this address."""
        return self.anonymous.post("/session", body, headers=headers, environ_base={"REMOTE_ADDR": address})


_hash = functools.cache(argon2id.str)
_LOCK = threading.RLock()


@contextmanager
def _kept_hashes() -> Iterator[None]:
    """Hash a password once per process: each hash takes 40 ms, and most tests make users with the same password."""
    with _LOCK, patch.object(argon2id, "str", _hash):
        yield


def cookie_of(response: TestResponse) -> str:
    """The session cookie that a response sets; empty if the response deletes the cookie."""
    (line,) = [line for line in response.headers.getlist("Set-Cookie") if line.startswith(f"{SESSION_COOKIE}=")]
    return line.partition(";")[0].partition("=")[2]
