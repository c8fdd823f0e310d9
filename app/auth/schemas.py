"""Request and response bodies of sign-in, sessions and API tokens."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, Strict, model_validator

from app.errors import N_
from app.schemas import USER_EXAMPLE, USER_ID, Body, CurrentPassword, Schema, User
from app.types import Name, Password, Role, Timestamp
from app.validation import RuleError

_SESSION_EXAMPLE: dict[str, Any] = {
    "id": "5e" * 32,
    "user_id": USER_ID,
    "address": "192.0.2.7",
    "agent": "Mozilla/5.0",
    "created_at": "2026-01-31T09:30:00.000000Z",
    "last_seen_at": "2026-01-31T10:00:00.000000Z",
    "expires_at": "2026-01-31T22:00:00.000000Z",
    "current": True,
}
_TOKEN_EXAMPLE: dict[str, Any] = {
    "id": "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5c",
    "user_id": USER_ID,
    "username": "katherine@example.com",
    "name": "nightly report",
    "role": "viewer",
    "created_at": "2026-01-31T09:30:00.000000Z",
    "expires_at": "2027-01-31T09:30:00.000000Z",
    "last_used_at": None,
}


def _sign_in_schema(schema: dict[str, Any]) -> None:
    schema["example"] = {"email": "ada@example.com", "password": "a long sentence"}
    for name in ("username", "email"):
        field = schema["properties"][name]
        field.update(next(kind for kind in field.pop("anyOf") if kind["type"] != "null"))
        del field["default"]


class SignIn(Body):
    """The credentials of a user."""

    model_config = ConfigDict(json_schema_extra=_sign_in_schema)

    username: str | None = Field(default=None, min_length=1, max_length=254)
    """username, or else email"""
    email: str | None = Field(default=None, min_length=1, max_length=254)
    password: str = Field(max_length=1024, json_schema_extra={"writeOnly": True})

    @model_validator(mode="after")
    def _require_one_name(self) -> Self:
        if (self.username is None) == (self.email is None):
            raise RuleError(N_("must have either username or email"))
        return self

    @property
    def login(self) -> str:
        """The username or the email, as the client sent it."""
        return self.username or self.email or ""


class PasswordChange(Body):
    """A new password of the user who makes the request."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"current_password": "a long sentence", "new_password": "another long sentence"}}
    )

    current_password: CurrentPassword
    new_password: Password


class Session(Schema):
    """A session of a signed-in user."""

    model_config = ConfigDict(json_schema_extra={"example": _SESSION_EXAMPLE})

    id: str
    user_id: uuid.UUID
    address: str | None
    agent: str | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    """if it is not used before"""
    current: bool
    """whether it is the session of this request"""


class Identity(Schema):
    """The actor of this request, with its role."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"kind": "session", "role": "member", "user": USER_EXAMPLE, "session": _SESSION_EXAMPLE}
        }
    )

    kind: Literal["open", "session", "token"]
    role: Role
    user: User | None
    """null in setup mode, and for a token with a lower role than its user"""
    session: Session | None = None


class TokenDraft(Body):
    """The body of POST: an API token to create."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"name": "nightly report", "role": "viewer", "expires_at": "2999-01-31T09:30:00Z"}
        }
    )

    name: Name
    """its purpose"""
    role: Role
    """at most the role of its user"""
    user_id: Annotated[uuid.UUID, Strict(strict=False)] | None = None
    """the user that the token acts for; by default you"""
    expires_at: Annotated[Timestamp, Strict(strict=False)] | None = None
    """by default the token never expires"""


class Token(Schema):
    """An API token. Only the response to its creation contains its secret."""

    model_config = ConfigDict(json_schema_extra={"example": _TOKEN_EXAMPLE})

    id: uuid.UUID
    user_id: uuid.UUID
    username: str
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    """to the minute"""


class NewToken(Token):
    """An API token with its secret."""

    model_config = ConfigDict(json_schema_extra={"example": {**_TOKEN_EXAMPLE, "token": "fsa_..."}})

    token: str
    """for `Authorization: Bearer`; no other response contains it"""
