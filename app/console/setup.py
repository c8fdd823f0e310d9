"""Setup mode: a browser creates the first administrator. Afterwards the console requires sign-in."""

from http import HTTPStatus

from flask import redirect, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from app.auth.schemas import SignIn
from app.console.error_pages import console_blueprint, with_error
from app.console.messages import errors_by_field
from app.console.rendering import render
from app.errors import N_, AlreadyTaken, Conflict, FieldError, NotFound, ValidationFailed
from app.http.access import audit_context
from app.http.access import sign_in as begin_session
from app.http.parsing import validated
from app.http.services import services
from app.schemas import UserDraft

blueprint = console_blueprint("console_setup")

_FIELDS = ("name", "email", "password")


@blueprint.get("/")
def show() -> WerkzeugResponse:
    """The form for the first administrator. Redirects to the dashboard once there is an administrator."""
    if services().admins.is_secured():
        return redirect(url_for("console_dashboard.show"))
    return render("setup.html", form={}, errors={})


@blueprint.post("/first")
def create_first_admin() -> WerkzeugResponse:
    """Create the first administrator and sign them in."""
    if services().admins.is_secured():
        raise NotFound(N_("An administrator already exists."))
    form = {field: request.form.get(field, "") for field in _FIELDS}
    try:
        services().bootstrap_admin.create(_validate(form), audit_context())
    except (ValidationFailed, AlreadyTaken) as error:
        return with_error(render("setup.html", form=form, errors=errors_by_field(error)), error)
    except Conflict:
        # Another process created one.
        return redirect(url_for(".show"), HTTPStatus.SEE_OTHER)
    begin_session(SignIn(email=form["email"], password=form["password"]))
    return redirect(url_for("console_dashboard.show"), HTTPStatus.SEE_OTHER)


def _validate(form: dict[str, str]) -> UserDraft:
    """The administrator that the form describes. Raises: ValidationFailed"""
    missing = [FieldError(field, N_("is required")) for field in ("email", "password") if not form[field]]
    if missing:
        raise ValidationFailed(missing)
    return validated(UserDraft, {**{field: value for field, value in form.items() if value}, "role": "admin"})
