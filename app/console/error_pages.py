"""Error pages: for every error of the console, and outside /api for browsers. Other clients receive problem details."""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

import structlog
from flask import Blueprint, Flask, Response, redirect, request, url_for
from flask_babel import gettext
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from app.console.drafts import draft_of_request, redirect_unexpected_draft
from app.console.messages import bad_request_message, summarize
from app.console.rendering import is_fragment, render
from app.console.safe_redirect import local
from app.errors import DomainError, Unauthorized
from app.http.context import context
from app.http.csrf import SAFE
from app.http.problems import STATUSES, domain_problem, headers_of, http_problem, unforeseen_problem

log = structlog.get_logger(__name__)

_TYPES = ("application/problem+json", "application/json", "text/html")
"""The types of an error response. A client that accepts any type receives the first."""
_TARGET = re.compile(r"[a-z]+#([a-z-]+)", re.ASCII)


def console_blueprint(name: str) -> Blueprint:
    """A blueprint that answers every error with a page."""
    blueprint = Blueprint(name, __name__)
    blueprint.register_error_handler(DomainError, domain_error_page)
    blueprint.register_error_handler(HTTPException, http_error_page)
    blueprint.register_error_handler(Exception, unexpected_error_page)
    blueprint.before_request(redirect_unexpected_draft)
    return blueprint


def install_error_pages(app: Flask) -> None:
    """Register the error handlers of `app`: pages for browsers, problem details for other clients."""
    app.register_error_handler(DomainError, _negotiate(domain_error_page, domain_problem))
    app.register_error_handler(HTTPException, _negotiate(http_error_page, http_problem))
    app.register_error_handler(Exception, _negotiate(unexpected_error_page, unforeseen_problem))


def domain_error_page(error: DomainError) -> WerkzeugResponse:
    """The page for an error of the domain. Unauthorized leads to the sign-in page."""
    if isinstance(error, Unauthorized):
        return _require_sign_in()
    return _render_error(error, STATUSES[type(error)], summarize(error))


def with_error(response: Response, error: DomainError) -> Response:
    """`response`, which shows a form with `error`, with the status and the headers of the error."""
    response.status_code = STATUSES[type(error)]
    response.headers.update(headers_of(error))
    return response


def http_error_page(error: HTTPException) -> Response:
    """The page for an error of Flask or werkzeug, such as an unknown address or a form that is too large."""
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    messages = {
        HTTPStatus.NOT_FOUND: gettext("This page does not exist."),
        HTTPStatus.METHOD_NOT_ALLOWED: gettext("This address has no page. It only accepts forms."),
        HTTPStatus.REQUEST_TIMEOUT: gettext("The form took too long to arrive. Send it again."),
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: gettext("The form is too large."),
        HTTPStatus.REQUEST_URI_TOO_LONG: gettext("This address is too long."),
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: gettext(
            "The request headers are too large. Deleting the cookies of this site may help."
        ),
    }
    return _render_error(error, status, messages.get(HTTPStatus(status), bad_request_message()))


def unexpected_error_page(error: Exception) -> Response:
    """The page for a bug of the service. It shows the request id instead of the error."""
    request_id = context().request_id
    log.error("unforeseen", request_id=request_id, exc_info=error)
    message = gettext("An unexpected error occurred. Report this request id to the operator: %(id)s", id=request_id)
    return render("error.html", HTTPStatus.INTERNAL_SERVER_ERROR, message=message, title=gettext("Internal error"))


def _render_error(error: DomainError | HTTPException, status: int, message: str) -> Response:
    """The page for an error, or the fragment that replaces the target of a script."""
    titles = {
        HTTPStatus.FORBIDDEN: gettext("Access denied"),
        HTTPStatus.NOT_FOUND: gettext("Not found"),
        HTTPStatus.CONFLICT: gettext("Conflict"),
        HTTPStatus.SERVICE_UNAVAILABLE: gettext("Temporarily unavailable"),
        HTTPStatus.TOO_MANY_REQUESTS: gettext("Too many requests"),
    }
    title = titles.get(HTTPStatus(status), gettext("Invalid request"))
    target = _TARGET.fullmatch(request.headers.get("HX-Target", "")) if is_fragment() else None
    values = {"message": message, "title": title, "target": target and target[1]}
    response = render("_error.html" if target else "error.html", status, **values)
    response.headers.update(headers_of(error))
    return response


def _negotiate(to_page: Callable[[Any], Any], to_problem: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda error: to_page(error) if _wants_page() else to_problem(error)


def _wants_page() -> bool:
    is_api = f"{request.path}/".startswith("/api/")
    return not is_api and request.accept_mimetypes.best_match(_TYPES) == "text/html"


def _require_sign_in() -> WerkzeugResponse:
    """Redirect to the sign-in page. A form gets the sign-in page itself, which carries its data as a draft."""
    if request.method in SAFE:
        target = _current_page() if is_fragment() else request.full_path.rstrip("?")
        location = f"{url_for('console_account.sign_in_form')}?{urlencode({'next': target})}"
        if is_fragment():
            return Response(status=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": location})
        return redirect(location)
    draft = draft_of_request()
    target = url_for("console_setup.show") if draft is None else request.path
    values: dict[str, Any] = {"form": {}, "errors": {}, "target": target, "draft": draft, "is_signed_out": True}
    return render("sign_in.html", HTTPStatus.UNAUTHORIZED, **values)


def _current_page() -> str:
    """The path of the page that requests a fragment."""
    try:
        url = urlsplit(request.headers.get("HX-Current-URL", ""))
    except ValueError:
        return "/"
    return local(f"{url.path}?{url.query}".rstrip("?"))
