"""What all pages share: how they are rendered, what browsers may do with them, and how errors look."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from app.errors import DomainError, Unauthorized
from app.web.access import actor, confirm
from app.web.guard import SAFE
from app.web.problems import STATUSES
from app.web.waiting import body_awaited

_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

blueprint = Blueprint("pages", __name__)


@blueprint.get("/console.css")
def style() -> Response:
    """The one style sheet."""
    response = Response(render_template("console.css"), content_type="text/css; charset=utf-8")
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response


def pages_of(noun: str) -> Blueprint:
    """A blueprint whose errors are pages; who has to sign in is led to where that is done."""
    found = Blueprint(noun, __name__)
    found.register_error_handler(DomainError, _refused)
    found.before_request(_await_form)
    return found


def page(template: str, status: int = 200, **values: Any) -> Response:
    """A page, never kept by a browser: what it shows is personal."""
    shown = render_template(template, who=actor(), is_open=actor().kind == "open", **values)
    response = Response(shown, status, content_type="text/html; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def faults_of(error: DomainError) -> Mapping[str, str]:
    """What is wrong, by field; under `form` what is of no field."""
    found = {fault.field.partition(".")[0]: fault.message for fault in getattr(error, "faults", [])}
    return found or {"form": str(error)}


def local(target: str) -> str:
    """`target` when it is a path of this service, else the first page: nobody is led away from here."""
    # Browsers read a backslash as a slash, and leave out tabs and line ends.
    is_plain = target.isprintable() and "\\" not in target
    return target if is_plain and target.startswith("/") and not target.startswith("//") else url_for("first.show")


def _await_form() -> None:
    """Read the form that was sent, before anything is done for who may have lost the right meanwhile."""
    if request.method not in SAFE:
        with body_awaited(known=actor().user_id is not None):
            request.form.get("")
        confirm()


def _refused(error: DomainError) -> WerkzeugResponse:
    if not isinstance(error, Unauthorized):
        status = STATUSES[type(error)]
        return page("refused.html", status, sentence=str(error), title=status.phrase)
    if request.method in SAFE:
        return redirect(f"{url_for('account.sign_in')}?{urlencode({'next': request.full_path.rstrip('?')})}")
    faults = {"form": "You are not signed in any more. Nothing was changed."}
    return page("sign_in.html", HTTPStatus.UNAUTHORIZED, given={}, faults=faults, target=url_for("first.show"))
