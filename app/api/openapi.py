"""The OpenAPI document: what flask-openapi3 reads from the views, completed by what signatures cannot express."""

from http import HTTPStatus
from typing import Any, cast

import orjson
from flask import current_app
from flask_openapi3 import OpenAPI

from app.api.declarations import Problem
from app.http.access import NO_RULE, RULES
from app.http.parsing import SESSION_COOKIE
from app.schemas import NO_NUL

_SCHEMA_REF = "#/components/schemas/{model}"
_PROBLEM = {"application/problem+json": {"schema": {"$ref": _SCHEMA_REF.format(model="Problem")}}}
_CREDENTIALS = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API token. In setup mode, before an administrator exists, no credential is needed.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION_COOKIE,
        "description": "Set by POST /api/session. Unsafe requests also need the Origin header that browsers send.",
    },
}
# Rules between fields. Client generators ignore `if` and `then` and make one class; with anyOf or oneOf they would make
# a class for each branch. Redocly's linter requires unevaluatedProperties in each branch.
_NEEDS_EMAIL = {"required": ["email"], "properties": {"email": {"type": "string"}}, "unevaluatedProperties": True}
_WITHOUT_USERNAME = {"properties": {"username": False}, "unevaluatedProperties": True}
_WITHOUT_EMAIL = {"properties": {"email": False}, "unevaluatedProperties": True}
_CONDITIONS: dict[str, dict[str, Any]] = {
    "UserDraft": {"if": _WITHOUT_USERNAME, "then": _NEEDS_EMAIL},
    "UserReplacement": {"if": _WITHOUT_USERNAME, "then": _NEEDS_EMAIL},
    "SignIn": {"if": _WITHOUT_USERNAME, "then": _NEEDS_EMAIL, "else": _WITHOUT_EMAIL},
}
_HEADERS: dict[str, tuple[str, str]] = {
    "ETag": ("string", "The version of the user, for If-Match and If-None-Match."),
    "Link": ("string", 'Other pages (RFC 8288): rel="next" until the last page, rel="prev", rel="first".'),
    "Location": ("string", "The path of the created resource."),
    "X-Total-Count": ("integer", "The number of matching users; only with Prefer: count=exact or count=estimated."),
    "Preference-Applied": ("string", "The preference of X-Total-Count (RFC 7240)."),
    "Idempotent-Replayed": (
        "string",
        "`true` if this is the stored response of an earlier request with the same Idempotency-Key.",
    ),
    "Retry-After": ("integer", "Seconds to wait before the next attempt."),
    "WWW-Authenticate": ("string", "The scheme of API tokens, Bearer."),
    "RateLimit": ("string", "The remaining quota (draft-ietf-httpapi-ratelimit-headers)."),
    "RateLimit-Policy": ("string", "The quota."),
    "Set-Cookie": ("string", "The session cookie: HttpOnly, SameSite=Lax, and Secure under https."),
    "X-Request-ID": ("string", "The id of the request: the client's own if it sent a valid one."),
}
_QUOTA = ("RateLimit", "RateLimit-Policy")
_HEADERS_BY_STATUS = {
    "401": ("WWW-Authenticate",),
    "429": ("Retry-After", *_QUOTA),
    "503": ("Retry-After",),
}
_USER = {"application/json": {"schema": {"$ref": _SCHEMA_REF.format(model="User")}}}
"""The content of a response that also has an ETag."""
_HEADERS_BY_OPERATION = {
    ("listUsers", "200"): ("Link", "X-Total-Count", "Preference-Applied"),
    ("getUserHistory", "200"): ("Link",),
    ("createUser", "201"): ("Location", "Idempotent-Replayed"),
    ("replaceUser", "201"): ("Location",),
    ("changeMyPassword", "204"): ("Set-Cookie",),
    ("createToken", "201"): ("Location",),
    ("signIn", "201"): ("Set-Cookie",),
    ("signOut", "204"): ("Set-Cookie",),
}


def openapi_document() -> dict[str, Any]:
    """The document (OpenAPI 3.1), generated once per application."""
    app = cast("OpenAPI", current_app)
    if "openapi_document" not in app.extensions:
        app.extensions["openapi_document"] = _complete(orjson.loads(orjson.dumps(app.api_doc)))
    return cast("dict[str, Any]", app.extensions["openapi_document"])


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    components = document["components"]
    components["schemas"].pop("ValidationErrorModel", None)
    problem = Problem.model_json_schema(ref_template=_SCHEMA_REF)
    components["schemas"].update(problem.pop("$defs"), Problem=problem)
    components["securitySchemes"] = _CREDENTIALS
    components["headers"] = {
        name: {"description": description, "schema": {"type": kind}} for name, (kind, description) in _HEADERS.items()
    }
    for name, condition in _CONDITIONS.items():
        components["schemas"][name].update(condition)
    document["security"] = [{name: []} for name in _CREDENTIALS]
    routes = current_app.url_map.bind("localhost")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            endpoint, _ = routes.match(path, method)
            if RULES.get(endpoint, NO_RULE).public:
                operation["security"] = []
            _complete_operation(method, operation)
    return document


def _complete_operation(method: str, operation: dict[str, Any]) -> None:
    # flask-openapi3 joins the lines of a docstring below the summary with <br/>.
    operation["description"] = operation["description"].replace("<br/>", " ").strip()
    for parameter in operation.get("parameters", []):
        parameter["schema"] = _without_null(parameter["schema"])
        if parameter["name"] == "attributes":
            parameter.update(style="deepObject", explode=True)
            parameter["schema"]["propertyNames"] = {"minLength": 1, **NO_NUL}
            parameter["schema"]["additionalProperties"].update(NO_NUL)
    is_health = "health" in operation["tags"]
    is_counted = method != "get" and operation.get("security") != []
    if is_health:
        # The generator adds it to every operation; health validates nothing.
        operation["responses"].pop("422", None)
    if "requestBody" in operation:
        operation["responses"]["408"] = {"description": "Request Timeout"}
    for status, response in operation["responses"].items():
        if int(status) >= HTTPStatus.BAD_REQUEST and not (is_health and status == "503"):
            response["content"] = _PROBLEM
        names = ("X-Request-ID", *_HEADERS_BY_STATUS.get(status, ()))
        names += ("ETag",) if status == "304" or response.get("content") == _USER else ()
        names += _QUOTA if is_counted and int(status) != HTTPStatus.TOO_MANY_REQUESTS else ()
        names += _HEADERS_BY_OPERATION.get((operation["operationId"], status), ())
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    if method == "patch":
        content = operation["requestBody"]["content"]
        content["application/merge-patch+json"] = content["application/json"]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without null: a parameter is given or missing, never null."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and value is not None}
    return {**rest, **kinds[0]} if kinds else rest
