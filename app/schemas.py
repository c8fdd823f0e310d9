"""Shapes at the border: what comes in, what goes out, what can be asked."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationInfo, field_validator, model_validator

from app.errors import N_, FieldError, ValidationFailed
from app.types import Attributes, Cursor, Email, Flag, Limit, Name, Password, Role, Timestamp, Username
from app.validation_messages import rule

READ_ONLY = ("id", "version", "created_at", "updated_at", "deleted_at")
"""Ignored in a body, so that what GET gave can be sent back with PUT."""


_USER_ID = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"
_USER_EXAMPLE: dict[str, Any] = {
    "id": _USER_ID,
    "username": "katherine@example.com",
    "email": "katherine@example.com",
    "name": "Katherine Johnson",
    "role": "member",
    "active": True,
    "attributes": {"plan": "pro"},
    "version": 1,
    "created_at": "2026-01-31T09:30:00.000000Z",
    "updated_at": "2026-01-31T09:30:00.000000Z",
}
_SESSION_EXAMPLE: dict[str, Any] = {
    "id": "5e" * 32,
    "user_id": _USER_ID,
    "address": "192.0.2.7",
    "agent": "Mozilla/5.0",
    "created_at": "2026-01-31T09:30:00.000000Z",
    "last_seen_at": "2026-01-31T10:00:00.000000Z",
    "expires_at": "2026-01-31T22:00:00.000000Z",
    "current": True,
}
_TOKEN_EXAMPLE: dict[str, Any] = {
    "id": "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5c",
    "user_id": _USER_ID,
    "username": "katherine@example.com",
    "name": "nightly report",
    "role": "viewer",
    "created_at": "2026-01-31T09:30:00.000000Z",
    "expires_at": "2027-01-31T09:30:00.000000Z",
    "last_used_at": None,
}


def _draft_schema(schema: dict[str, Any]) -> None:
    schema["example"] = {"email": "katherine@example.com", "name": "Katherine Johnson", "attributes": {"plan": "pro"}}
    for name in ("username", "name"):
        del schema["properties"][name]["default"]


CurrentPassword = Annotated[
    str,
    Field(
        max_length=1024,
        description="your password now, to change your own username, email or password more than five minutes after"
        " signing in",
        json_schema_extra={"writeOnly": True},
    ),
]


class UserDraft(BaseModel):
    """A user as a client makes it: the body of POST. What is left out takes its default."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_draft_schema)

    username: Username = Field(
        default="", description="unique in canonical form, and no other user's email; `email` when left out"
    )
    email: Email | None = None
    name: Name = Field(default="", description="any language; `username` when left out")
    role: Role = "member"
    active: bool = True
    attributes: Attributes = Field(default_factory=dict)
    password: Password | None = None

    def completed(self) -> "UserDraft":
        """The draft with its username and name filled in. Raises: ValidationFailed, when both names are missing."""
        username = self.username or self.email
        if not username:
            missing = N_("email or username has to be there")
            raise ValidationFailed([FieldError("email", missing), FieldError("username", missing)])
        return self.model_copy(update={"username": username, "name": self.name or username[:200]})


class UserReplacement(UserDraft):
    """A user as a client replaces it: the body of PUT. What is left out takes its default; a password stays."""

    current_password: CurrentPassword | None = Field(default=None, json_schema_extra={"writeOnly": True})


def _patch_schema(schema: dict[str, Any]) -> None:
    schema["example"] = {"name": "Katherine Goble", "attributes": {"city": None}}
    for field in schema["properties"].values():
        field.pop("default", None)


class UserPatch(BaseModel):
    """A JSON merge patch (RFC 7396) of a user: what is left out stays, null gives the default back."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_patch_schema)

    username: Username | None = None
    email: Email | None = None
    name: Name | None = None
    role: Role | None = None
    active: bool | None = None
    # Checked whole after merging: nulls in here take keys away.
    attributes: dict[str, Any] | None = None
    password: Password | None = None
    current_password: CurrentPassword | None = Field(default=None, json_schema_extra={"writeOnly": True})


class User(BaseModel):
    """A user as the service gives it."""

    model_config = ConfigDict(json_schema_extra={"example": _USER_EXAMPLE})

    id: uuid.UUID = Field(description="UUIDv7 when made by the service")
    username: str
    email: str | None
    name: str
    role: Role
    active: bool
    attributes: dict[str, Any]
    version: int = Field(ge=1, description="+1 with every change; the ETag")
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = Field(default=None, description="only in the trash")


class FieldChange(BaseModel):
    """One field before and after. A password shows neither."""

    field: str
    old: Any = None
    new: Any = None


class HistoryEntry(BaseModel):
    """Who changed what, when and from where. A purged user's entries keep no values."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 4711,
                "version": 2,
                "at": "2026-01-31T09:45:00.000000Z",
                "action": "changed",
                "actor": f"user:{_USER_ID}",
                "address": "192.0.2.7",
                "agent": "curl/8.5.0",
                "request_id": "7c0e6f9d2b5a4e41",
                "changes": [{"field": "name", "old": "Katherine", "new": "Katherine Johnson"}],
            }
        }
    )

    id: int
    version: int
    at: datetime
    action: Literal[
        "created", "changed", "deleted", "restored", "purged", "signed_in", "signed_out", "sign_in_failed",
        "sign_in_locked", "unlocked", "session_ended", "sessions_ended", "token_created", "token_revoked",
    ]  # fmt: skip
    actor: str | None = Field(
        description="user:<id>, token:<id> user:<id>, a command, or sql:<role of PostgreSQL>;"
        " null in open mode and before signing in"
    )
    address: str | None
    agent: str | None
    request_id: str | None
    changes: list[FieldChange]


def _sign_in_schema(schema: dict[str, Any]) -> None:
    schema["example"] = {"email": "ada@example.com", "password": "a long sentence"}
    for name in ("username", "email"):
        field = schema["properties"][name]
        field.update(next(kind for kind in field.pop("anyOf") if kind["type"] != "null"))
        del field["default"]


class SignIn(BaseModel):
    """Who one is, and the password that shows it."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_sign_in_schema)

    username: str | None = Field(default=None, min_length=1, max_length=254, description="username, or else email")
    email: str | None = Field(default=None, min_length=1, max_length=254)
    password: str = Field(max_length=1024, json_schema_extra={"writeOnly": True})

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if (self.username is None) == (self.email is None):
            raise rule(N_("must have either username or email"))
        return self

    @property
    def login(self) -> str:
        """The username or email, as typed."""
        return self.username or self.email or ""


class PasswordChange(BaseModel):
    """A new password for oneself."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"example": {"current_password": "a long sentence", "new_password": "another long sentence"}},
    )

    current_password: CurrentPassword
    new_password: Password


class Session(BaseModel):
    """A signed-in browser."""

    model_config = ConfigDict(json_schema_extra={"example": _SESSION_EXAMPLE})

    id: str
    user_id: uuid.UUID
    address: str | None
    agent: str | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime = Field(description="if it is not used until then")
    current: bool = Field(description="whether it is the session of this request")


class Identity(BaseModel):
    """Who makes this request, and what they may do."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"kind": "session", "role": "member", "user": _USER_EXAMPLE, "session": _SESSION_EXAMPLE}
        }
    )

    kind: Literal["open", "session", "token"]
    role: Role
    user: User | None = Field(description="null in open mode, and for a token with a lower role than its user")
    session: Session | None = None


class TokenDraft(BaseModel):
    """An API token to make."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "example": {"name": "nightly report", "role": "viewer", "expires_at": "2999-01-31T09:30:00Z"}
        },
    )

    name: Name = Field(description="what it is for")
    role: Role = Field(description="never above its user's")
    user_id: Annotated[uuid.UUID, Strict(strict=False)] | None = Field(
        default=None, description="whom it acts for; yourself when left out"
    )
    expires_at: Annotated[Timestamp, Strict(strict=False)] | None = Field(
        default=None, description="never when left out"
    )


class Token(BaseModel):
    """An API token. Its secret is shown once, when it is made."""

    model_config = ConfigDict(json_schema_extra={"example": _TOKEN_EXAMPLE})

    id: uuid.UUID
    user_id: uuid.UUID
    username: str
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="to the minute")


class NewToken(Token):
    """An API token with its secret."""

    model_config = ConfigDict(json_schema_extra={"example": {**_TOKEN_EXAMPLE, "token": "fsa_..."}})

    token: str = Field(description="for `Authorization: Bearer`; shown now and never again")


NO_NUL: dict[str, Any] = {"pattern": r"^[^\x00]*$"}
"""JSON Schema: U+0000 is refused with the whole query string."""


MAX_FILTERS = 10
_FILTERS = ("email", "username", "role", "active", "created_after", "created_before")


class ListQuery(BaseModel):
    """What a list of users can be asked for. Besides, any `attributes.<key>=<text>` is an exact filter."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = 50
    cursor: Cursor | None = None
    sort: Literal[
        "created_at", "updated_at", "name", "username", "email",
        "-created_at", "-updated_at", "-name", "-username", "-email",
    ] = Field(default="created_at", description="`-` for descending; ties are broken by id")  # fmt: skip
    q: str = Field(
        default="",
        max_length=200,
        description="every word is a prefix of a word of name, username or email",
        json_schema_extra=NO_NUL,
    )
    email: Annotated[str, Field(min_length=1, max_length=254, json_schema_extra=NO_NUL)] | None = None
    username: Annotated[str, Field(min_length=1, max_length=254, json_schema_extra=NO_NUL)] | None = None
    role: Role | None = None
    active: Flag | None = None
    created_after: Timestamp | None = None
    created_before: Timestamp | None = None
    deleted: Flag = Field(default=False, description="true lists the trash instead")
    attributes: dict[str, str] = Field(
        default_factory=dict,
        exclude=True,
        description="exact filters: `attributes[plan]=pro`, also spelled `attributes.plan=pro`;"
        f" {MAX_FILTERS} at most, with all other filters",
    )

    @field_validator("attributes")
    @classmethod
    def _few(cls, attributes: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        others = sum(info.data.get(name) is not None for name in _FILTERS) + bool(info.data.get("q"))
        if len(attributes) + others > MAX_FILTERS:
            raise rule(N_("must not make more than %(most)s filters, with all others", most=MAX_FILTERS))
        return attributes


class HistoryQuery(BaseModel):
    """Which page of a history."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = 50
    cursor: Cursor | None = None


class DeleteQuery(BaseModel):
    """How a user is deleted."""

    model_config = ConfigDict(extra="forbid")

    purge: Flag = Field(default=False, description="true leaves no personal data, in the history either")


class NoQuery(BaseModel):
    """No query parameter at all."""

    model_config = ConfigDict(extra="forbid")
