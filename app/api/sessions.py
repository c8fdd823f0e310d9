"""/api/users/{id}/sessions: list and end the sessions of a user, and unlock a user."""

from typing import Annotated

from flask import Response
from pydantic import Field, RootModel

from app.api.declarations import StrictBlueprint, UserPath, json_response, problems
from app.auth import session_store
from app.auth.schemas import Session
from app.http.access import audit_context, session
from app.http.services import services

SessionId = Annotated[str, Field(description="id of the session", json_schema_extra={"pattern": "^[0-9a-f]{64}$"})]


class SessionPath(UserPath):
    """The path of one session of a user."""

    session_id: SessionId


class SessionList(RootModel[list[Session]]):
    """All sessions of a user, last seen first."""


blueprint = StrictBlueprint(
    "sessions",
    "List and end the sessions of a user; unlock a user after failed sign-ins.",
    problems(400, 401, 403, 404, 429, 503),
)


@blueprint.get("/users/<user_id>/sessions", operation_id="listUserSessions", responses={200: SessionList})
def list_sessions(path: UserPath) -> Response:
    """List a user's sessions

    Address, browser, start and last use of each session.
    """
    return sessions_response(services().sessions.get_list(path.user_id))


@blueprint.delete("/users/<user_id>/sessions", operation_id="endUserSessions", responses={204: None})
def revoke_all(path: UserPath) -> Response:
    """End all sessions of a user

    Tokens stay valid: see /api/tokens.
    """
    services().sessions.revoke_all(path.user_id, audit_context())
    return Response(status=204)


@blueprint.delete("/users/<user_id>/sessions/<session_id>", operation_id="endUserSession", responses={204: None})
def revoke(path: SessionPath) -> Response:
    """End a session

    The next request of the session fails with 401.
    """
    services().sessions.revoke(path.user_id, path.session_id, audit_context())
    return Response(status=204)


@blueprint.post("/users/<user_id>/unlock", operation_id="unlockUser", responses={204: None})
def unlock(path: UserPath) -> Response:
    """Unlock a user

    Resets the failed sign-ins of the user, from every address.
    """
    services().login.unlock(path.user_id, audit_context())
    return Response(status=204)


def sessions_response(listed: list[session_store.Session]) -> Response:
    """A JSON array of sessions. `current` marks the session of this request."""
    current = session()
    body = [{**one.public_fields(), "current": current is not None and one.id == current.id} for one in listed]
    return json_response(body)
