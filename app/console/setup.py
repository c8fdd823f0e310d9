"""The first visit of a browser to a fresh service: make the first administrator. Gone once there is one."""

from http import HTTPStatus

from flask import Response, redirect, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from app.auth import admins
from app.console.i18n import translate
from app.console.rendering import page, pages_of
from app.errors import N_, Conflict, Fault, Invalid, NotFound, Taken
from app.http.auth import caller, enter
from app.http.parsing import validated
from app.schemas import SignIn, UserDraft
from app.users import bootstrap_admin

blueprint = pages_of("console_setup")

_FIELDS = ("name", "email", "password")


@blueprint.get("/")
def show() -> WerkzeugResponse:
    """Offer to make the first administrator; once there is one, lead on to the overview."""
    if admins.door().is_closed():
        return redirect(url_for("console_dashboard.show"))
    return _page({}, [], 200)


@blueprint.post("/first")
def create_first_admin() -> WerkzeugResponse:
    """Make the first administrator and sign them in."""
    if admins.door().is_closed():
        raise NotFound(N_("There is an administrator already."))
    given = {field: request.form.get(field, "") for field in _FIELDS}
    try:
        draft = _draft(given)
        bootstrap_admin.found(draft, caller())
    except (Invalid, Taken) as error:
        return _page(given, error.faults, 422)
    except Conflict:
        # Another process may have made it, of which this one has not heard yet.
        admins.door().look()
        return redirect(url_for("console_setup.show"), HTTPStatus.SEE_OTHER)
    enter(SignIn(email=given["email"], password=given["password"]))
    return redirect(url_for("console_dashboard.show"), HTTPStatus.SEE_OTHER)


def _draft(given: dict[str, str]) -> UserDraft:
    """The administrator that the form describes. Raises: Invalid"""
    missing = [Fault(field, N_("is needed")) for field in ("email", "password") if not given[field]]
    if missing:
        raise Invalid(missing)
    return validated(UserDraft, {**{field: value for field, value in given.items() if value}, "role": "admin"})


def _page(given: dict[str, str], faults: list[Fault], status: int) -> Response:
    return page("setup.html", status, given=given, faults={fault.field: translate(fault.message) for fault in faults})
