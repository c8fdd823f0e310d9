"""/api/session: sign in, who am I, sign out."""

import orjson
from flask import Response
from flask_openapi3 import Tag

from app.api.declarations import JSON, StrictBlueprint, problems
from app.auth.permissions import Actor
from app.auth.schemas import Identity, SignIn
from app.auth.sessions import Session
from app.http.auth import actor, audit_context, drop_cookie, session, sign_in
from app.http.minimal_response import MinimalResponse
from app.http.services import services

blueprint = StrictBlueprint(
    "session",
    __name__,
    abp_tags=[Tag(name="session", description="Sign in, see who is signed in, sign out.")],
    abp_responses=problems(400, 401, 403, 429, 503),
)


@blueprint.post(
    "/session", operation_id="signIn", summary="Sign in", responses={201: Identity, **problems(413, 415, 422)}
)
def begin(body: SignIn) -> Response:
    """With a username or email and a password. The session is a cookie that no script can read; it always gets a new
    id, and ends the one that the request came with.
    """
    begun = sign_in(body)
    return _identity(begun.actor, begun, 201)


@blueprint.get("/session", operation_id="getSession", summary="Who am I?", responses={200: Identity})
def show() -> Response:
    """The role is that of the credential: a token's may be lower than its user's, and then no user is shown."""
    return _identity(actor(), session())


@blueprint.delete("/session", operation_id="signOut", summary="Sign out", responses={204: None})
def end() -> Response:
    """Ends the session of the cookie. A token is not ended so: see /api/tokens."""
    current = session()
    if current is not None:
        services().sessions.revoke(current.user_id, current.id, audit_context(), "signed_out")
        drop_cookie()
    return Response(status=204)


def _identity(who: Actor, current: Session | None, status: int = 200) -> Response:
    # What a lowered token may not read at /api/me, it does not read here.
    own_id = who.user_id if who.full_scope else None
    fields = {
        "kind": who.kind,
        "role": who.role,
        "user": orjson.Fragment(services().user_reads.get(own_id).body) if own_id else None,
        "session": {**current.public_fields(), "current": True} if current else None,
    }
    response = MinimalResponse(orjson.dumps(fields), status, content_type=JSON)
    response.headers["Cache-Control"] = "no-store"
    return response
