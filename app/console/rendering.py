"""What all pages share: how they are rendered, what browsers may do with them, and how errors look."""

import re
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import orjson
import structlog
from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from app.auth import admins
from app.auth.permissions import NOBODY, OPEN
from app.console.assets import asset_url
from app.console.i18n import LANGUAGES, language, translate
from app.console.safe_redirect import local
from app.errors import DomainError, Forbidden, Invalid, Malformed, Unauthorized
from app.extensions import resources
from app.http.auth import actor
from app.http.context import context
from app.http.csrf import SAFE, is_same_origin
from app.http.problems import STATUSES, headers_of
from app.models import ROLES
from app.users import commands

log = structlog.get_logger(__name__)

DRAFT = "draft"
"""The field that carries what was typed into a form through signing in again."""
_TARGET = re.compile(r"[a-z]+#([a-z-]+)", re.ASCII)
_NAME_CHARACTERS = 50
_REFILLED: set[str] = set()


def pages_of(noun: str) -> Blueprint:
    """A blueprint whose errors are pages; who has to sign in is led to where that is done."""
    found = Blueprint(noun, __name__)
    found.register_error_handler(DomainError, refused)
    found.register_error_handler(HTTPException, misused)
    found.register_error_handler(Exception, unforeseen)
    found.before_request(_redirect_draft)
    return found


def refilled(endpoint: str) -> None:
    """Declare that the form of `endpoint` shows what was typed when it gets a DRAFT, and changes nothing then."""
    _REFILLED.add(endpoint)


def is_own_page() -> bool:
    """Whether the browser says that a page of this service sent the form. No other page's form is shown or kept."""
    return is_same_origin(request.scheme, request.environ.get("HTTP_HOST", ""), request.headers)


def page(template: str, status: int = 200, **values: Any) -> Response:
    """A page, or a fragment for one that is shown already. Never kept by a browser: what it shows is personal."""
    who = NOBODY if actor() == OPEN and admins.door().was_closed else actor()
    shown = render_template(
        template,
        who=who,
        own_name=_own_name(),
        is_open=who == OPEN,
        asset=asset_url,
        language=language(),
        languages=LANGUAGES,
        roles=ROLES,
        is_fragment=is_fragment(),
        adminer_url=resources().settings.adminer_url,
        **values,
    )
    response = Response(shown, status, content_type="text/html; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    return response


def is_fragment() -> bool:
    """Whether a script asks, that takes only a part of the page."""
    return request.headers.get("HX-Request-Type") == "partial"


def faults_of(error: DomainError) -> Mapping[str, str]:
    """What is wrong, by field; under `form` what is of no field, or of one that the form may not have."""
    found: dict[str, list[str]] = {}
    for fault in getattr(error, "faults", []):
        found.setdefault(fault.field.partition(".")[0], []).append(translate(fault.message))
    by_field = {field: "; ".join(messages) for field, messages in found.items()}
    is_whole = not by_field or isinstance(error, Forbidden)
    return {**by_field, "form": translate(error.message)} if is_whole else by_field


def sentence_of(error: DomainError) -> str:
    """What is wrong, in words for a reader: rules of fields are for programs, and for forms that show those fields."""
    if not isinstance(error, Invalid | Malformed):
        return translate(error.message)
    own = [translate(fault.message) for fault in error.faults if fault.field == "form"]
    names = ", ".join(dict.fromkeys(fault.field[:_NAME_CHARACTERS].replace("'", "") for fault in error.faults))
    if own:
        return " ".join(own)
    if request.method in SAFE:
        if not names:
            return str(gettext("This address can't be read."))
        return str(gettext("Something in this address is not right: '%(names)s'.", names=names))
    if not names:
        return _unusable()
    return str(gettext("Something in this form is not right: '%(names)s'.", names=names))


def _unusable() -> str:
    return str(gettext("The service can't use what the browser sent."))


def _own_name() -> str | None:
    """The name of who is signed in, if it can be told: a page that says what is wrong must not fail for it."""
    who = actor()
    with suppress(DomainError):
        if who.user_id is not None and who.owns(who.user_id):
            return cast("str", orjson.loads(commands.fetch(who.user_id).body)["name"])
    return None


def _redirect_draft() -> WerkzeugResponse | None:
    """A form with a DRAFT changes nothing: endpoints that do not show it redirect to the first page."""
    if request.method in SAFE or DRAFT not in request.form:
        return None
    if request.endpoint not in _REFILLED and request.endpoint != "console_account.sign_in":
        return redirect(url_for("console_setup.show"), HTTPStatus.SEE_OTHER)
    return None


def refused(error: DomainError) -> WerkzeugResponse:
    """What a service refuses, as a page; who has to sign in is led to where that is done."""
    if isinstance(error, Unauthorized):
        return _sign_in_first()
    status = STATUSES[type(error)]
    titles = {
        HTTPStatus.FORBIDDEN: gettext("Not allowed"),
        HTTPStatus.NOT_FOUND: gettext("Not found"),
        HTTPStatus.CONFLICT: gettext("Not possible now"),
        HTTPStatus.SERVICE_UNAVAILABLE: gettext("Not available at the moment"),
        HTTPStatus.TOO_MANY_REQUESTS: gettext("Too much at once"),
    }
    title = titles.get(status, gettext("Something is not right"))
    target = _TARGET.fullmatch(request.headers.get("HX-Target", "")) if is_fragment() else None
    shown = {"sentence": sentence_of(error), "title": title, "target": target and target[1]}
    response = page("_error.html" if target else "error.html", status, **shown)
    response.headers.update(headers_of(error))
    return response


def _current_page() -> str:
    """The page that asks for a fragment."""
    try:
        here = urlsplit(request.headers.get("HX-Current-URL", ""))
    except ValueError:
        return "/"
    return local(f"{here.path}?{here.query}".rstrip("?"))


def misused(error: HTTPException) -> WerkzeugResponse:
    """What Flask and werkzeug raise, as a page: addresses and methods that there are not, forms that are too large."""
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    if status < HTTPStatus.BAD_REQUEST:
        return error.get_response()
    sentences = {
        HTTPStatus.NOT_FOUND: gettext("There is no such page."),
        HTTPStatus.METHOD_NOT_ALLOWED: gettext("There is no page here, only something that a form sends to."),
        HTTPStatus.REQUEST_TIMEOUT: gettext("The form did not arrive in time. Please send it again."),
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: gettext("The form is too large."),
        HTTPStatus.REQUEST_URI_TOO_LONG: gettext("This address is too long."),
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: gettext(
            "The browser sent too much with this request. Deleting the cookies of this site may help."
        ),
    }
    title = gettext("Not found") if status == HTTPStatus.NOT_FOUND else gettext("Something is not right")
    sentence = sentences.get(HTTPStatus(status), _unusable())
    response = page("error.html", status, sentence=sentence, title=title)
    response.headers.update(headers_of(error))
    return response


def unforeseen(error: Exception) -> Response:
    """A fault of ours, as a page that does not show it."""
    log.error("unforeseen", exc_info=error)
    sentence = gettext(
        "Something went wrong here. Tell who runs the service this number: %(id)s", id=context().request_id
    )
    return page("error.html", HTTPStatus.INTERNAL_SERVER_ERROR, sentence=sentence, title=gettext("An error"))


def _sign_in_first() -> WerkzeugResponse:
    if request.method in SAFE:
        target = _current_page() if is_fragment() else request.full_path.rstrip("?")
        place = f"{url_for('console_account.sign_in_form')}?{urlencode({'next': target})}"
        return Response(status=401, headers={"HX-Redirect": place}) if is_fragment() else redirect(place)
    draft, target = None, url_for("console_setup.show")
    # Another site could send a form of its own here, to be found filled in after signing in.
    if request.endpoint in _REFILLED and is_own_page():
        target = request.path
        typed = [(name, value) for name, value in request.form.items(multi=True) if not name.endswith("password")]
        draft = request.form.get(DRAFT) or urlencode(typed)
    return page(
        "sign_in.html", HTTPStatus.UNAUTHORIZED, given={}, faults={}, target=target, draft=draft, has_ended=True
    )
