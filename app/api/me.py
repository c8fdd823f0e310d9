"""/api/me: one's own record, sessions and password."""

import uuid

from flask import Response
from flask_openapi3 import Tag
from pydantic import BaseModel, Field

from app.api.declarations import (
    ReadHeader,
    StrictBlueprint,
    WriteHeader,
    precondition,
    problems,
    read_response,
    user_response,
)
from app.api.sessions import SessionList, sessions_response
from app.auth.schemas import PasswordChange
from app.cache.keys import user_key
from app.errors import N_, FieldError, Forbidden, ValidationFailed
from app.http.auth import actor, audit_context, keep_cookie, session
from app.http.response_cache import cacheable
from app.http.services import services
from app.schemas import User, UserPatch


class OwnSessionPath(BaseModel):
    """The path of one of one's own sessions."""

    session_id: str = Field(description="id of the session", pattern="^[0-9a-f]{64}$")


blueprint = StrictBlueprint(
    "me",
    __name__,
    abp_tags=[Tag(name="me", description="The user who makes the request: own record, password and sessions.")],
    abp_responses=problems(400, 401, 403, 404, 429, 503),
)
_WRITE = problems(409, 412, 413, 415, 422)


@blueprint.get("/me", operation_id="getMe", summary="Read yourself", responses={200: User, 304: None})
def show(header: ReadHeader) -> Response:
    """The user of the session, or of the token."""
    user_id = _me()
    response = read_response(services().user_reads.get(user_id), header)
    # An ETag is a version, and that of another user may be the same: who signs in next would be shown this one.
    response.headers["Cache-Control"] = "no-store"
    return cacheable(response, user_key(user_id), by_actor=True)


@blueprint.patch("/me", operation_id="updateMe", summary="Change yourself", responses={200: User, **_WRITE})
def change(body: UserPatch, header: WriteHeader) -> Response:
    """JSON merge patch (RFC 7396) of name, email, password, or the attributes that a setting names.

    Another email or password needs `current_password`, or a sign-in less than five minutes old; a token may change
    neither. A new password ends all your sessions.
    """
    return user_response(services().users.update(_me(), body, precondition(header), audit_context()))


@blueprint.put(
    "/me/password", operation_id="changeMyPassword", summary="Change your password", responses={204: None, **_WRITE}
)
def change_password(body: PasswordChange) -> Response:
    """Ends all your sessions but this one, which gets a new id. Not for tokens."""
    user_id = _me()
    try:
        services().users.set_own_password(user_id, body, audit_context())
    except ValidationFailed as error:
        raise ValidationFailed(
            [FieldError(f"new_{field_error.field}", field_error.message) for field_error in error.field_errors]
        ) from None
    if session() is not None:
        keep_cookie(services().sessions.create_after_reset(user_id, audit_context())[0])
    return Response(status=204)


@blueprint.get(
    "/me/sessions", operation_id="listMySessions", summary="List your sessions", responses={200: SessionList}
)
def own_sessions() -> Response:
    """Where you are signed in."""
    return sessions_response(services().sessions.get_list(_me()))


@blueprint.delete("/me/sessions", operation_id="endMySessions", summary="End all your sessions", responses={204: None})
def end_sessions() -> Response:
    """This one too."""
    services().sessions.revoke_all(_me(), audit_context())
    return Response(status=204)


@blueprint.delete(
    "/me/sessions/<session_id>", operation_id="endMySession", summary="End one of your sessions", responses={204: None}
)
def end_session(path: OwnSessionPath) -> Response:
    """At once: its next request is 401."""
    services().sessions.revoke(_me(), path.session_id, audit_context())
    return Response(status=204)


def _me() -> uuid.UUID:
    who = actor()
    if who.user_id is None:
        raise Forbidden(N_("Nobody is signed in, so there is no `me`."))
    if not who.full_scope:
        raise Forbidden(N_("This token has a lower role than its user, so it may not act as the user."))
    return who.user_id
