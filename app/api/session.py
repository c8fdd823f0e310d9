"""/api/session: sign in, get the current identity, sign out."""

import orjson
from flask import Response

from app.api.declarations import StrictBlueprint, json_response, problems
from app.auth.permissions import Actor
from app.auth.schemas import Identity, SignIn
from app.auth.session_store import Session
from app.auth.sessions import SESSION_ENDED
from app.errors import NotFound, Unauthorized
from app.http.access import actor, audit_context, drop_cookie, session, sign_in
from app.http.services import services

blueprint = StrictBlueprint(
    "session", "Sign in, get the current identity, sign out.", problems(400, 401, 403, 429, 503)
)


@blueprint.post("/session", operation_id="signIn", responses={201: Identity, **problems(413, 415, 422)})
def create(body: SignIn) -> Response:
    """Sign in

    Takes a username or email, and a password. Sets a session cookie that scripts cannot read. The session always has
    a new id. The session of the request ends.
    """
    new_session = sign_in(body)
    try:
        return _identity_response(new_session.actor, new_session, 201)
    except NotFound:  # The user was deleted meanwhile.
        raise Unauthorized(SESSION_ENDED) from None


@blueprint.get("/session", operation_id="getSession", responses={200: Identity})
def get() -> Response:
    """Get the current identity

    `role` is the role of the credential. A token with a lower role than its user gets no `user`.
    """
    return _identity_response(actor(), session())


@blueprint.delete("/session", operation_id="signOut", responses={204: None})
def delete() -> Response:
    """Sign out

    Ends the session of the cookie. It does not revoke a token: see /api/tokens.
    """
    current = session()
    if current is not None:
        services().sessions.revoke(current.user_id, current.id, audit_context(), "signed_out")
        drop_cookie()
    return Response(status=204)


def _identity_response(identity: Actor, current: Session | None, status: int = 200) -> Response:
    # A token with a lower role may not read its user, here as at /api/me.
    own_id = identity.user_id if identity.full_scope else None
    fields = {
        "kind": identity.kind,
        "role": identity.role,
        "user": orjson.Fragment(services().user_reads.get(own_id).body) if own_id else None,
        "session": {**current.public_fields(), "current": True} if current else None,
    }
    return json_response(fields, status)
