"""Shapes at the border: what comes in, what goes out, what can be asked."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator
from pydantic_core import PydanticCustomError

from app.values import Attributes, Cursor, Email, Flag, Limit, Moment, Name, Password, Role, Username

READ_ONLY = ("id", "version", "created_at", "updated_at", "deleted_at")
"""Ignored in a body, so that what GET gave can be sent back with PUT."""


def _draft_schema(schema: dict[str, Any]) -> None:
    """What pydantic can't say by itself: read-only fields are taken and ignored, and one name has to be there."""
    schema["anyOf"] = [
        {"required": ["username"]},
        {"required": ["email"], "properties": {"email": {"type": "string"}}},
    ]
    schema["properties"].update({name: {"readOnly": True, "description": "ignored"} for name in READ_ONLY})
    schema["example"] = {"email": "katherine@example.com", "name": "Katherine Johnson", "attributes": {"plan": "pro"}}
    for name in ("username", "name"):
        del schema["properties"][name]["default"]


class UserDraft(BaseModel):
    """A user as a client writes it: the body of POST and PUT. What is left out takes its default."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_draft_schema)

    username: Username = Field(default="", description="unique in any case; `email` when left out")
    email: Email | None = None
    name: Name = Field(default="", description="any language; `username` when left out")
    role: Role = "member"
    active: bool = True
    attributes: Attributes = Field(default_factory=dict)
    password: Password | None = None

    def completed(self) -> "UserDraft":
        """The draft with its username and name filled in. Raises: ValueError, when both names are missing."""
        username = self.username or self.email
        if not username:
            raise ValueError("email or username has to be there")
        return self.model_copy(update={"username": username, "name": self.name or username[:200]})


def _patch_schema(schema: dict[str, Any]) -> None:
    schema["properties"].update({name: {"readOnly": True, "description": "ignored"} for name in READ_ONLY})
    schema["example"] = {"name": "Katherine Goble", "attributes": {"plan": None}}
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


class User(BaseModel):
    """A user as the service gives it."""

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

    id: int
    version: int
    at: datetime
    action: Literal[
        "created", "changed", "deleted", "restored", "purged", "signed_in", "signed_out", "sign_in_failed",
        "sign_in_locked", "unlocked", "session_ended", "sessions_ended", "token_created", "token_revoked",
    ]  # fmt: skip
    actor: str | None = Field(
        description="user:<id>, token:<id> user:<id>, or a command; null in open mode and before signing in"
    )
    address: str | None
    agent: str | None
    request_id: str | None
    changes: list[FieldChange]


def _sign_in_schema(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [{"required": ["username"]}, {"required": ["email"]}]
    schema["examples"] = [{"email": "ada@example.com", "password": "a long sentence"}]
    for name in ("username", "email"):
        field = schema["properties"][name]
        field.update(next(kind for kind in field.pop("anyOf") if kind["type"] != "null"))
        del field["default"]


class SignIn(BaseModel):
    """Who one is, and the password that shows it."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_sign_in_schema)

    username: str | None = Field(default=None, min_length=1, max_length=254, description="username, or else email")
    email: str | None = Field(default=None, min_length=1, max_length=254)
    password: str = Field(max_length=1024, json_schema_extra={"format": "password", "writeOnly": True})

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if (self.username is None) == (self.email is None):
            raise PydanticCustomError("rule", "must have either username or email")
        return self

    @property
    def login(self) -> str:
        """The username or email, as typed."""
        return self.username or self.email or ""


class PasswordChange(BaseModel):
    """A new password for oneself."""

    model_config = ConfigDict(extra="forbid", strict=True)

    current_password: str = Field(max_length=1024, json_schema_extra={"format": "password", "writeOnly": True})
    new_password: Password


class Session(BaseModel):
    """A signed-in browser."""

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

    kind: Literal["open", "session", "token"]
    role: Role
    user: User | None = Field(description="null in open mode, and for a token with a lower role than its user")
    session: Session | None = None


class TokenDraft(BaseModel):
    """An API token to make."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name = Field(description="what it is for")
    role: Role = Field(description="never above its user's")
    user_id: Annotated[uuid.UUID, Strict(strict=False)] | None = Field(
        default=None, description="whom it acts for; yourself when left out"
    )
    expires_at: Annotated[Moment, Strict(strict=False)] | None = Field(default=None, description="never when left out")


class Token(BaseModel):
    """An API token. Its secret is shown once, when it is made."""

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

    token: str = Field(description="for `Authorization: Bearer`; shown now and never again")


# U+0000 is refused with the whole query string.
_NO_NUL: dict[str, Any] = {"pattern": r"^[^\x00]*$"}


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
        json_schema_extra=_NO_NUL,
    )
    email: Annotated[str, Field(min_length=1, max_length=254, json_schema_extra=_NO_NUL)] | None = None
    username: Annotated[str, Field(min_length=1, max_length=254, json_schema_extra=_NO_NUL)] | None = None
    role: Role | None = None
    active: Flag | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None
    deleted: Flag = Field(default=False, description="true lists the trash instead")
    attributes: dict[str, str] = Field(default_factory=dict, exclude=True)


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
