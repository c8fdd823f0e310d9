"""/api/me: the own record, password and sessions of the user who makes the request."""

import uuid

from flask import Response
from pydantic import BaseModel

from app.api.declarations import ReadHeader, StrictBlueprint, WriteHeader, problems, user_response
from app.api.sessions import SessionId, SessionList, sessions_response
from app.auth.schemas import PasswordChange
from app.cache.generations import user_key
from app.errors import N_, Forbidden
from app.http.access import actor, audit_context, keep_cookie, session
from app.http.response_cache import cacheable
from app.http.services import services
from app.schemas import User, UserPatch


class OwnSessionPath(BaseModel):
    """The path of an own session."""

    session_id: SessionId


blueprint = StrictBlueprint(
    "me", "The user who makes the request: record, password and sessions.", problems(400, 401, 403, 404, 429, 503)
)
_WRITE = problems(409, 412, 413, 415, 422)


@blueprint.get("/me", operation_id="getMe", responses={200: User, 304: None})
def get(header: ReadHeader) -> Response:
    """Get your own user

    The user of the session, or of the token.
    """
    user_id = _own_id()
    response = user_response(services().user_reads.get(user_id), header=header)
    # The ETag is a version, and another user may have the same. A browser cache must not show it to the next user.
    response.headers["Cache-Control"] = "no-store"
    return cacheable(response, user_key(user_id), by_actor=True)


@blueprint.patch("/me", operation_id="updateMe", responses={200: User, **_WRITE})
def update(body: UserPatch, header: WriteHeader) -> Response:
    """Update your own user

    JSON merge patch (RFC 7396) of name, email, password and self-editable attributes.

    A new email or password requires `current_password`, or a sign-in less than five minutes ago. A token may change
    neither. A new password ends all your sessions.
    """
    return user_response(services().users.update(_own_id(), body, header.allows, audit_context()))


@blueprint.put("/me/password", operation_id="changeMyPassword", responses={204: None, **_WRITE})
def change_password(body: PasswordChange) -> Response:
    """Change your password

    Ends your other sessions. The current session gets a new id. Tokens may not use this route.
    """
    user_id = _own_id()
    services().users.set_own_password(user_id, body, audit_context())
    if session() is not None:
        keep_cookie(services().sessions.create_after_reset(user_id, audit_context())[0])
    return Response(status=204)


@blueprint.get("/me/sessions", operation_id="listMySessions", responses={200: SessionList})
def list_sessions() -> Response:
    """List your sessions

    Your sessions, last seen first.
    """
    return sessions_response(services().sessions.get_list(_own_id()))


@blueprint.delete("/me/sessions", operation_id="endMySessions", responses={204: None})
def revoke_sessions() -> Response:
    """End all your sessions

    Also ends the current session.
    """
    services().sessions.revoke_all(_own_id(), audit_context())
    return Response(status=204)


@blueprint.delete("/me/sessions/<session_id>", operation_id="endMySession", responses={204: None})
def revoke_session(path: OwnSessionPath) -> Response:
    """End one of your sessions

    The next request of the session fails with 401.
    """
    services().sessions.revoke(_own_id(), path.session_id, audit_context())
    return Response(status=204)


def _own_id() -> uuid.UUID:
    current_actor = actor()
    if current_actor.user_id is None:
        raise Forbidden(N_("This request has no user. Sign in, or send an API token."))
    if not current_actor.full_scope:
        raise Forbidden(N_("This token has a lower role than its user, so it may not act as its user."))
    return current_actor.user_id
