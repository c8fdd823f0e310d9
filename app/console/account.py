"""Sign-in and sign-out, and the account of the signed-in user."""

from http import HTTPStatus
from typing import Any

from flask import Response, redirect, request, url_for
from flask_babel import gettext
from pydantic import ValidationError
from werkzeug.wrappers import Response as WerkzeugResponse

from app.auth.schemas import PasswordChange, SignIn
from app.console.drafts import DRAFT, is_own_form
from app.console.error_pages import console_blueprint, with_error
from app.console.i18n import translate
from app.console.messages import errors_by_field
from app.console.rendering import render
from app.console.safe_redirect import local
from app.errors import N_, Forbidden, RateLimited, Unauthorized, Unavailable, ValidationFailed, VersionConflict
from app.http.access import actor, audit_context, drop_cookie, keep_cookie, session
from app.http.access import sign_in as begin_session
from app.http.parsing import validated
from app.http.services import services

blueprint = console_blueprint("console_account")


@blueprint.get("/sign-in")
def sign_in_form() -> Response:
    """The sign-in page."""
    return render("sign_in.html", form={}, errors={}, target=local(request.args.get("next", "/")), draft=None)


@blueprint.post("/sign-in")
def sign_in() -> WerkzeugResponse:
    """Sign in, and redirect to the page that required it. A draft is sent back to its form."""
    target = local(request.form.get("next", "/"))
    draft = request.form.get(DRAFT) if is_own_form() else None
    form = {"username": request.form.get("username", "").strip()}
    values: dict[str, Any] = {"form": form, "target": target, "draft": draft}
    try:
        begin_session(SignIn(username=form["username"], password=request.form.get("password", "")))
    except ValidationError:
        errors = {"form": gettext("Enter your username or email and your password.")}
        return render("sign_in.html", HTTPStatus.UNPROCESSABLE_ENTITY, errors=errors, **values)
    except (Unauthorized, RateLimited, Unavailable) as error:
        return with_error(render("sign_in.html", errors={"form": translate(error.message)}, **values), error)
    if draft is None:
        return redirect(target, HTTPStatus.SEE_OTHER)
    # The form of this page sends the draft to `target`. A redirect with 307 would send the password, too.
    return render("resume_draft.html", target=target, draft=draft)


@blueprint.post("/sign-out")
def sign_out() -> WerkzeugResponse:
    """End the current session."""
    current = session()
    if current is not None:
        services().sessions.revoke(current.user_id, current.id, audit_context(), "signed_out")
    drop_cookie()
    return redirect(url_for(".sign_in_form"), HTTPStatus.SEE_OTHER)


@blueprint.get("/profile")
def profile() -> WerkzeugResponse:
    """Redirect to the page of the signed-in user."""
    user_id = actor().user_id
    if user_id is None:
        raise Forbidden(N_("You have no profile because you are not signed in."))
    return redirect(url_for("console_user.show", user_id=user_id))


@blueprint.get("/password")
def password_form() -> Response:
    """The form to change the own password."""
    return render("password.html", errors={})


@blueprint.post("/password")
def change_password() -> WerkzeugResponse:
    """Change the own password. This ends all other sessions of the user."""
    user_id = actor().user_id
    if user_id is None:
        raise Forbidden(N_("You have no password to change because you are not signed in."))
    try:
        change = validated(PasswordChange, {name: request.form.get(name, "") for name in PasswordChange.model_fields})
        services().users.set_own_password(user_id, change, audit_context())
    except (ValidationFailed, Forbidden, VersionConflict, RateLimited) as error:
        return with_error(render("password.html", errors=errors_by_field(error)), error)
    keep_cookie(services().sessions.create_after_reset(user_id, audit_context())[0])
    return redirect(url_for("console_user.show", user_id=user_id, done="password"), HTTPStatus.SEE_OTHER)
