"""Request bodies, response bodies and query parameters of the users. auth.schemas has those of sign-in and tokens."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from app.errors import N_
from app.types import Attributes, Cursor, Email, Flag, Limit, Name, Password, Role, Timestamp, Username
from app.validation import RuleError

READ_ONLY = ("id", "version", "created_at", "updated_at", "deleted_at")
"""Fields that are ignored in a body, so that a client can send the response of GET back with PUT."""


USER_ID = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"
USER_EXAMPLE: dict[str, Any] = {
    "id": USER_ID,
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


def _draft_schema(schema: dict[str, Any]) -> None:
    schema["example"] = {"email": "katherine@example.com", "name": "Katherine Johnson", "attributes": {"plan": "pro"}}
    for name in ("username", "name"):
        del schema["properties"][name]["default"]


CurrentPassword = Annotated[
    str,
    Field(
        max_length=1024,
        description="your present password, to change your own username, email or password more than five minutes after"
        " signing in",
        json_schema_extra={"writeOnly": True},
    ),
]


class Schema(BaseModel):
    """The base of bodies and query parameters. A string below a field is its description in OpenAPI."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Body(Schema):
    """The body of a request. Unknown names and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)


class UserBody(Body):
    """The body of a write. The fields READ_ONLY are ignored."""


class UserDraft(UserBody):
    """The body of POST: a user to create. A missing field has its default."""

    model_config = ConfigDict(json_schema_extra=_draft_schema)

    # The description of the type Username would take precedence over a string below.
    username: Username = Field(
        default="", description="unique in canonical form, and no other user's email; `email` when left out"
    )
    email: Email | None = None
    name: Name = ""
    """any language; `username` when left out"""
    role: Role = "member"
    active: bool = True
    attributes: Attributes = Field(default_factory=dict)
    password: Password | None = None


class UserReplacement(UserDraft):
    """The body of PUT. A missing field has its default, but a missing password is not changed."""

    current_password: CurrentPassword | None = Field(default=None, json_schema_extra={"writeOnly": True})


def _patch_schema(schema: dict[str, Any]) -> None:
    schema["example"] = {"name": "Katherine Goble", "attributes": {"city": None}}
    for field in schema["properties"].values():
        field.pop("default", None)


class UserPatch(UserBody):
    """A JSON merge patch (RFC 7396) of a user. A missing field is not changed; null resets a field to its default."""

    model_config = ConfigDict(json_schema_extra=_patch_schema)

    username: Username | None = None
    email: Email | None = None
    name: Name | None = None
    role: Role | None = None
    active: bool | None = None
    # Validated after merging: null removes a key.
    attributes: dict[str, Any] | None = None
    password: Password | None = None
    current_password: CurrentPassword | None = Field(default=None, json_schema_extra={"writeOnly": True})


class User(Schema):
    """The representation of a user in responses."""

    model_config = ConfigDict(json_schema_extra={"example": USER_EXAMPLE})

    id: uuid.UUID
    """a UUIDv7 if the service created it"""
    username: str
    email: str | None
    name: str
    role: Role
    active: bool
    attributes: dict[str, Any]
    version: int = Field(ge=1)
    """+1 with every change; the ETag"""
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    """only in the trash"""


class FieldChange(BaseModel):
    """The old and the new value of a field. Both are null for a password."""

    field: str
    old: Any = None
    new: Any = None


class HistoryEntry(BaseModel):
    """A change of a user: the actor, the time, the address and the fields. Entries of a purged user have no values."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 4711,
                "version": 2,
                "at": "2026-01-31T09:45:00.000000Z",
                "action": "changed",
                "actor": f"user:{USER_ID}",
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
        " null in setup mode and before signing in"
    )
    address: str | None
    agent: str | None
    request_id: str | None
    changes: list[FieldChange]


NO_NUL: dict[str, Any] = {"pattern": r"^[^\x00]*$"}
"""JSON Schema of a query parameter: a query string that contains U+0000 is refused."""


MAX_FILTERS = 10
_Identifier = Annotated[str, Field(min_length=1, max_length=254, json_schema_extra=NO_NUL)]
_NO_FILTERS = ("limit", "cursor", "sort", "deleted")


class ListQuery(Schema):
    """Query parameters of a list of users. In addition, `attributes.<key>=<text>` is an exact filter."""

    limit: Limit = 50
    cursor: Cursor | None = None
    sort: Literal[
        "created_at", "updated_at", "name", "username", "email",
        "-created_at", "-updated_at", "-name", "-username", "-email",
    ] = "created_at"  # fmt: skip
    """`-` for descending; ties are broken by id"""
    q: str = Field(default="", max_length=200, json_schema_extra=NO_NUL)
    """every word is a prefix of a word of name, username or email"""
    email: _Identifier | None = None
    username: _Identifier | None = None
    role: Role | None = None
    active: Flag | None = None
    created_after: Timestamp | None = None
    created_before: Timestamp | None = None
    deleted: Flag = False
    """true lists the trash instead"""
    attributes: dict[str, str] = Field(
        default_factory=dict,
        description="exact filters: `attributes[plan]=pro`, also spelled `attributes.plan=pro`;"
        f" {MAX_FILTERS} at most, with all other filters",
    )

    @field_validator("attributes")
    @classmethod
    def _limit_filters(cls, attributes: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        others = [name for name, value in info.data.items() if name not in _NO_FILTERS and value not in (None, "")]
        if len(attributes) + len(others) > MAX_FILTERS:
            raise RuleError(N_("must not make more than %(most)s filters, with all others", most=MAX_FILTERS))
        return attributes


class HistoryQuery(BaseModel):
    """Query parameters of a page of the history."""

    limit: Limit = 50
    cursor: Cursor | None = None


class DeleteQuery(Schema):
    """Query parameters of DELETE."""

    purge: Flag = False
    """true leaves no personal data, in the history either"""


class NoQuery(BaseModel):
    """For operations without query parameters."""
