"""Signing in and out, and one's own record."""

from http import HTTPStatus

from flask import Response, redirect, request, url_for
from flask_babel import gettext
from pydantic import ValidationError
from werkzeug.wrappers import Response as WerkzeugResponse

from app.auth import sessions
from app.console.i18n import translate
from app.console.rendering import DRAFT, faults_of, is_own_page, page, pages_of
from app.console.safe_redirect import local
from app.errors import N_, Forbidden, Invalid, Stale, TooMany, Unauthorized, Unavailable
from app.http.auth import actor, caller, drop_cookie, keep_cookie, session
from app.http.auth import enter as sign_in_with
from app.http.parsing import validated
from app.http.problems import STATUSES
from app.schemas import PasswordChange, SignIn
from app.users import commands

blueprint = pages_of("console_account")


@blueprint.get("/sign-in")
def sign_in_form() -> Response:
    """The form."""
    return page("sign_in.html", given={}, faults={}, target=local(request.args.get("next", "/")), draft=None)


@blueprint.post("/sign-in")
def sign_in() -> WerkzeugResponse:
    """Sign in, and go on to where one wanted to go: to a form that was filled already, with what was typed."""
    target, draft = local(request.form.get("next", "/")), request.form.get(DRAFT) if is_own_page() else None
    given = {"username": request.form.get("username", "").strip()}
    try:
        offered = SignIn(username=given["username"], password=request.form.get("password", ""))
        sign_in_with(offered)
    except ValidationError:
        faults = {"form": gettext("Type your username or email, and your password.")}
        status = HTTPStatus.UNPROCESSABLE_ENTITY
    except (Unauthorized, TooMany, Unavailable) as error:
        faults, status = {"form": translate(error.message)}, STATUSES[type(error)]
    else:
        # A redirect by 307 would send the password on with the draft.
        return redirect(target, HTTPStatus.SEE_OTHER) if draft is None else _continue(target, draft)
    return page("sign_in.html", status, given=given, faults=faults, target=target, draft=draft)


def _continue(target: str, draft: str) -> Response:
    """A page whose form sends the draft, and nothing else, to the form that it came from."""
    return page("resume_draft.html", target=target, draft=draft)


@blueprint.post("/sign-out")
def sign_out() -> WerkzeugResponse:
    """End the session of this browser."""
    current = session()
    if current is not None:
        sessions.end(current.user_id, current.id, caller(), "signed_out")
    drop_cookie()
    return redirect(url_for("console_account.sign_in_form"), HTTPStatus.SEE_OTHER)


@blueprint.get("/profile")
def profile() -> WerkzeugResponse:
    """One's own page."""
    user_id = actor().user_id
    if user_id is None:
        raise Forbidden(N_("Nobody is signed in, so there is no profile."))
    return redirect(url_for("console_user.show", user_id=user_id))


@blueprint.get("/password")
def password_form() -> Response:
    """The form for a new password."""
    return page("password.html", faults={})


@blueprint.post("/password")
def change_password() -> WerkzeugResponse:
    """Change one's own password: it ends all sessions but this one."""
    user_id = actor().user_id
    if user_id is None:
        raise Forbidden(N_("Nobody is signed in, so there is no password to change."))
    try:
        change = validated(PasswordChange, {name: request.form.get(name, "") for name in PasswordChange.model_fields})
        commands.set_own_password(user_id, change, caller())
    except (Invalid, Forbidden, Stale, TooMany) as error:
        return page("password.html", HTTPStatus.UNPROCESSABLE_ENTITY, faults=faults_of(error))
    keep_cookie(sessions.renewed(user_id, caller())[0])
    return redirect(url_for("console_user.show", user_id=user_id, done="password"), HTTPStatus.SEE_OTHER)
