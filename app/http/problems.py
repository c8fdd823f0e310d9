"""Translates errors to responses: problem details (RFC 9457)."""

from http import HTTPStatus
from typing import Any

import orjson
import structlog
from flask import Response
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from app import errors
from app.http.context import context
from app.http.response_headers import quota_headers

log = structlog.get_logger(__name__)

STATUSES: dict[type[errors.DomainError], HTTPStatus] = {
    errors.BadRequest: HTTPStatus.BAD_REQUEST,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.PasswordRequired: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.AlreadyTaken: HTTPStatus.CONFLICT,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.VersionConflict: HTTPStatus.PRECONDITION_FAILED,
    errors.ValidationFailed: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    errors.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Busy: HTTPStatus.SERVICE_UNAVAILABLE,
}

_TITLES = {
    **HTTP_STATUS_CODES,
    413: "Content Too Large",
    414: "URI Too Long",
    422: "Unprocessable Content",
}
"""As in RFC 9110, section 15, which has other words than werkzeug and http.HTTPStatus."""


def problem(
    status: int, detail: str, field_errors: list[dict[str, str]] | None = None, headers: dict[str, str] | None = None
) -> Response:
    """A response of type application/problem+json."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title_of(status),
        "status": status,
        "detail": detail,
        "instance": context().request_id,
    }
    if context().trace_id:
        body["trace_id"] = context().trace_id
    if field_errors:
        body["errors"] = field_errors
    response = Response(orjson.dumps(body), status, headers, content_type="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    return response


def title_of(status: int) -> str:
    """The title of a status (RFC 9457, section 4.2.1)."""
    return _TITLES.get(status, "Error")


def headers_of(error: errors.DomainError | HTTPException) -> dict[str, str]:
    """Headers of the response to an error: Retry-After, Allow, RateLimit."""
    if isinstance(error, HTTPException):
        return {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    if isinstance(error, errors.RateLimited):
        return {"Retry-After": str(error.quota.reset_s), **quota_headers(error.quota)}
    return {"Retry-After": "1"} if isinstance(error, errors.Unavailable) else {}


def domain_problem(error: errors.DomainError) -> Response:
    """The response to a domain error."""
    field_errors = [
        {"field": field_error.field, "message": str(field_error.message)} for field_error in error.field_errors
    ]
    return problem(STATUSES[type(error)], str(error.message), field_errors, headers_of(error))


def http_problem(error: HTTPException) -> Response:
    """The response to an error of Flask or werkzeug: 404, 405 with Allow, 413, 415 ..."""
    # Flask passes only errors with a status to a handler, and no redirects.
    status = error.code or 500
    return problem(status, error.description or title_of(status), headers=headers_of(error))


def unforeseen_problem(error: Exception) -> Response:
    """The response to an unexpected error. The error is logged and not shown."""
    log.error("unforeseen", request_id=context().request_id, exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here. The request id helps to find it.")
