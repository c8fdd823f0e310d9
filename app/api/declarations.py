"""A blueprint whose views declare their parameters once, for validation and for OpenAPI.

flask-openapi3 reads `path`, `query`, `header` and `body` from the signature of a view for the OpenAPI document.
app.http.parsing validates requests in place of flask-openapi3, which accepts unknown and repeated names.
"""

import functools
import uuid
from collections.abc import Callable
from typing import Any

from flask import Response, request
from flask_openapi3 import APIBlueprint
from pydantic import BaseModel, ConfigDict, Field

from app.http.minimal_response import MinimalResponse
from app.http.parsing import read_body, read_query, token_id_of, user_id_of
from app.schemas import NoQuery
from app.users.serialization import Document

JSON = "application/json"
_PATHS: dict[str, Callable[[str], Any]] = {"user_id": user_id_of, "token_id": token_id_of}


class UserPath(BaseModel):
    """The path of one user."""

    user_id: uuid.UUID = Field(description="id of the user")


class FieldError(BaseModel):
    """A bad field, and the rule that it breaks."""

    field: str
    message: str


class Problem(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Unprocessable Content",
                "status": 422,
                "detail": "Some fields are invalid.",
                "instance": "7c0e6f9d2b5a4e41",
                "errors": [{"field": "email", "message": "is not an email address"}],
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str = Field(description="the request id")
    errors: list[FieldError] | None = Field(default=None, description="every bad field at once")


def problems(*statuses: int) -> dict[Any, Any]:
    """The statuses of errors, for the declaration of a view."""
    return dict.fromkeys(statuses, Problem)


class ReadHeader(BaseModel):
    """Headers of a conditional read."""

    if_none_match: str | None = Field(default=None, alias="If-None-Match", description="304 while the ETag is this")


class WriteHeader(BaseModel):
    """Headers of a conditional write."""

    if_match: str | None = Field(default=None, alias="If-Match", description="412 unless the ETag is this")
    if_none_match: str | None = Field(default=None, alias="If-None-Match", description="* with PUT: only create")


class StrictBlueprint(APIBlueprint):
    """A blueprint whose views get validated `query` and `body`, and ids as UUIDs."""

    @staticmethod
    def create_view_func(*declared: Any, **_: Any) -> Callable[..., Any]:
        """The view that Flask calls. declared: the parameters in the order of flask-openapi3."""
        func, header, _cookie, path, query, _form, body, *_rest = declared

        @functools.wraps(func)
        def view(**parameters: Any) -> Any:
            if path is not None:
                found = {name: _PATHS.get(name, str)(text) for name, text in parameters.items()}
                parameters = {"path": path.model_construct(**found)}
            if query is not None:
                parameters["query"] = read_query(request, query)
            elif request.query_string:
                read_query(request, NoQuery)
            if header is not None:
                parameters["header"] = _read_header(header)
            if body is not None:
                parameters["body"] = read_body(request, body)
            return func(**parameters)

        return view


def _read_header(model: type[BaseModel]) -> BaseModel:
    """The headers of `model`, as text. The view interprets them."""
    values: dict[str, Any] = {
        name: request.headers.get(field.alias or name) for name, field in model.model_fields.items()
    }
    return model.model_construct(**values)


def precondition(header: WriteHeader) -> Callable[[int | None], bool]:
    """If-Match and If-None-Match (RFC 9110, section 13) as a condition on the current version (None: no user)."""
    wanted, unwanted = request.if_match, request.if_none_match

    def allowed(version: int | None) -> bool:
        tag = str(version)
        if header.if_match is not None and (version is None or not (wanted.star_tag or wanted.is_strong(tag))):
            return False
        known = version is not None and (unwanted.star_tag or unwanted.contains_weak(tag))
        return header.if_none_match is None or not known

    return allowed


def read_response(document: Document, header: ReadHeader) -> Response:
    """One user, or 304 if the client has this version (RFC 9110, section 13.1.2)."""
    response = user_response(document)
    tags = request.if_none_match
    if header.if_none_match is not None and (tags.star_tag or tags.contains_weak(str(document.version))):
        response.status_code, response.data = 304, b""
    return response


def user_response(document: Document, status: int = 200) -> Response:
    """One user with its ETag."""
    response = MinimalResponse(document.body, status, content_type=JSON)
    response.headers["ETag"] = f'"{document.version}"'
    response.headers["Cache-Control"] = "private, no-cache"
    return response
