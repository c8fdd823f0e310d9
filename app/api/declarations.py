"""A blueprint whose views declare their parameters once, for validation and for OpenAPI.

flask-openapi3 reads `path`, `query`, `header` and `body` from the signature of a view for the OpenAPI document.
app.http.parsing validates requests in place of flask-openapi3, which accepts unknown and repeated names.
"""

import functools
import uuid
from collections.abc import Callable
from typing import Annotated, Any

import orjson
from flask import Response
from flask.globals import request_ctx
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from werkzeug.http import parse_etags

from app.http.parsing import read_body, read_query, user_id_of
from app.schemas import NoQuery
from app.users.reads import Document

JSON = "application/json"


class UserPath(BaseModel):
    """The path of one user."""

    user_id: Annotated[uuid.UUID, BeforeValidator(user_id_of)] = Field(description="id of the user")


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
    trace_id: str | None = Field(default=None, description="the id of the trace, if the request is traced")
    errors: list[FieldError] | None = Field(default=None, description="every bad field at once")


def problems(*statuses: int) -> dict[Any, Any]:
    """The statuses of errors, for the declaration of a view. Their content, Problem, is added by app.api.openapi."""
    return dict.fromkeys(statuses)


class ReadHeader(BaseModel):
    """Headers of a conditional read."""

    if_none_match: str | None = Field(default=None, alias="If-None-Match", description="304 while the ETag is this")


class WriteHeader(BaseModel):
    """Headers of a conditional write."""

    if_match: str | None = Field(default=None, alias="If-Match", description="412 unless the ETag is this")
    if_none_match: str | None = Field(default=None, alias="If-None-Match", description="* with PUT: only create")

    def allows(self, version: int | None) -> bool:
        """Whether a user of this version may be written (RFC 9110, section 13). None: there is no such user."""
        if version is None:
            return self.if_match is None
        if self.if_match is not None and not parse_etags(self.if_match).contains(str(version)):
            return False
        return not parse_etags(self.if_none_match).contains_weak(str(version))


class StrictBlueprint(APIBlueprint):
    """A blueprint whose views get validated `query` and `body`, and ids as UUIDs. Headers are text.

    description: of its operations, for the OpenAPI document. errors: those that any of them may return.
    """

    def __init__(self, name: str, description: str, errors: dict[Any, Any]) -> None:
        tag = Tag(name=name, description=description)
        super().__init__(name, __name__, abp_tags=[tag], abp_responses=errors)

    @staticmethod
    def create_view_func(*declared: Any, **_: Any) -> Callable[..., Any]:
        """The view that Flask calls. declared: the parameters in the order of flask-openapi3."""
        func, header, _cookie, path, query, _form, body, *_rest = declared
        names = [] if header is None else [field.alias for field in header.model_fields.values()]

        @functools.wraps(func)
        def view(**parts: Any) -> Any:
            request = request_ctx.request
            parameters: dict[str, Any] = {}
            if path is not None:
                parameters["path"] = path.model_validate(parts)
            if query is not None:
                parameters["query"] = read_query(request, query)
            elif request.query_string:
                read_query(request, NoQuery)
            if header is not None:
                values = map(request.headers.get, names)
                parameters["header"] = header.model_validate(dict(zip(names, values, strict=True)))
            if body is not None:
                parameters["body"] = read_body(request, body)
            return func(**parameters)

        return view


def user_response(document: Document, status: int = 200, header: ReadHeader | None = None) -> Response:
    """One user with its ETag.

    header: of a conditional read: 304 if the client has this version (RFC 9110, section 13.1.2).
    """
    headers = {"ETag": f'"{document.version}"', "Cache-Control": "private, no-cache"}
    response = Response(document.body, status, headers, content_type=JSON)
    if header is not None and parse_etags(header.if_none_match).contains_weak(str(document.version)):
        response.status_code, response.data = 304, b""
    return response


def json_response(body: object, status: int = 200) -> Response:
    """A JSON response that no cache stores."""
    return Response(orjson.dumps(body), status, {"Cache-Control": "no-store"}, content_type=JSON)
