"""Signing in and out, and one's own record."""

from http import HTTPStatus

from flask import Response, redirect, request, url_for
from pydantic import ValidationError
from werkzeug.wrappers import Response as WerkzeugResponse

from app.console.pages import faults_of, local, page, pages_of
from app.errors import Forbidden, Invalid, Stale, TooMany, Unauthorized, Unavailable
from app.schemas import PasswordChange, SignIn
from app.services import sessions, users
from app.web.access import COOKIE, actor, caller, drop_cookie, keep_cookie, session
from app.web.problems import STATUSES
from app.web.reading import validated

blueprint = pages_of("account")


@blueprint.get("/sign-in")
def sign_in() -> Response:
    """The form."""
    return page("sign_in.html", given={}, faults={}, target=local(request.args.get("next", "/")))


@blueprint.post("/sign-in")
def enter() -> WerkzeugResponse:
    """Sign in, and go on to where one wanted to go."""
    target = local(request.form.get("next", "/"))
    given = {"username": request.form.get("username", "").strip()}
    try:
        offered = SignIn(username=given["username"], password=request.form.get("password", ""))
        cookie, _ = sessions.sign_in(offered, caller())
    except ValidationError:
        faults, status = {"form": "Type your username or email, and your password."}, HTTPStatus.UNPROCESSABLE_ENTITY
    except (Unauthorized, TooMany, Unavailable) as error:
        faults, status = {"form": str(error)}, STATUSES[type(error)]
    else:
        if earlier := request.cookies.get(COOKIE):
            sessions.drop(earlier)
        keep_cookie(cookie)
        return redirect(target, HTTPStatus.SEE_OTHER)
    return page("sign_in.html", status, given=given, faults=faults, target=target)


@blueprint.post("/sign-out")
def sign_out() -> WerkzeugResponse:
    """End the session of this browser."""
    current = session()
    if current is not None:
        sessions.end(current.user_id, current.id, caller(), "signed_out")
    drop_cookie()
    return redirect(url_for("account.sign_in"), HTTPStatus.SEE_OTHER)


@blueprint.get("/profile")
def profile() -> WerkzeugResponse:
    """One's own page."""
    user_id = actor().user_id
    if user_id is None:
        raise Forbidden("Nobody is signed in, so there is no profile.")
    return redirect(url_for("people.show", user_id=user_id))


@blueprint.get("/password")
def password() -> Response:
    """The form for a new password."""
    return page("password.html", faults={})


@blueprint.post("/password")
def change_password() -> WerkzeugResponse:
    """Change one's own password: it ends all sessions but this one."""
    user_id = actor().user_id
    if user_id is None:
        raise Forbidden("Nobody is signed in, so there is no password to change.")
    try:
        change = validated(PasswordChange, {name: request.form.get(name, "") for name in PasswordChange.model_fields})
        version = sessions.require_password(user_id, change.current_password, caller())
        users.set_password(user_id, change.new_password, version, caller())
    except (Invalid, Forbidden, Stale, TooMany) as error:
        return page("password.html", 422, faults=faults_of(error))
    keep_cookie(sessions.renewed(user_id, caller())[0])
    return redirect(url_for("people.show", user_id=user_id), HTTPStatus.SEE_OTHER)
