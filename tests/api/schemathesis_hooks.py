"""What a schema can't say of good data, and what would end the run: the credential that it runs with."""

import os
import uuid
from typing import Any

import schemathesis

from app.http.parsing import SESSION_COOKIE
from app.schemas import UserDraft

OWN_TOKEN = os.environ["TEST_TOKEN_ID"]


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:  # noqa: ARG001 - schemathesis wants these names
    """Keep the one administrator the only one, so that the service itself refuses to lose it, and its token."""
    body = case.body if isinstance(case.body, dict) else {}
    if body.get("role") == "admin" and case.path.startswith(("/api/users", "/api/me")):
        body["role"] = "editor"
    if case.path == "/api/tokens/{token_id}" and case.path_parameters.get("token_id") == OWN_TOKEN:
        case.path_parameters["token_id"] = str(uuid.uuid4())
    if case.cookies:
        # It makes a session up beside the token, as the document has both: two credentials at once are 401.
        case.cookies.pop(SESSION_COOKIE, None)
    if case.meta is not None and case.meta.generation.mode.is_positive:
        _make_better(case, body)


def _make_better(case: Any, body: dict[str, Any]) -> None:
    """In good requests: no cursor that is made up (400, see test_queries), every Idempotency-Key is a new one, a
    password is not among the most common (422, see test_sign_in), and a token is for oneself and ends in the future
    (422 otherwise, see test_tokens).
    """
    if case.query:
        case.query.pop("cursor", None)
    if case.headers and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = uuid.uuid4().hex
    for name in ("password", "new_password"):
        if body.get(name) == "0" * len(body.get(name) or ""):
            body[name] = f"{body[name][2:]}#7"
    if case.method == "PATCH" and body.get("username", "") is None:
        # Of who has no email: 422, see test_crud.
        del body["username"]
    if case.path == "/api/tokens":
        body.pop("user_id", None)
        if body.get("expires_at") is not None:
            body["expires_at"] = "2999-12-31T23:59:59Z"


@schemathesis.hook
def filter_body(context: Any, body: Any) -> bool:  # noqa: ARG001 - as above
    """Drop attributes of more than 16 KiB, 8 levels or 64 bits, and U+0000: test_fields and test_requests have them."""
    if "\\x00" in repr(body):
        return False
    if isinstance(body, dict) and isinstance(body.get("attributes"), dict):
        try:
            UserDraft.model_validate({"attributes": body["attributes"]})
        except ValueError:
            return False
    return True
