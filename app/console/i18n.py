"""English and French: the language of a cookie, else the language that the browser prefers."""

from http import HTTPStatus

from flask import Blueprint, Flask, redirect, request
from flask_babel import Babel, gettext
from werkzeug.wrappers import Response

from app.console.safe_redirect import local
from app.errors import Message
from app.http.parsing import cookie_values

LANGUAGES = {"en": "English", "fr": "Français"}
_COOKIE = "fsa_language"
_MAX_AGE_S = 365 * 86400

blueprint = Blueprint("console_language", __name__)


def install_languages(app: Flask) -> None:
    """Enable translations in the templates of `app`. The API is always English."""
    Babel(app, default_translation_directories="console/translations", locale_selector=_select_language)
    app.jinja_env.filters["translate"] = translate


def translate(message: Message) -> str:
    """A message in the reader's language. Values that are messages are translated too."""
    values = {name: translate(value) if isinstance(value, Message) else value for name, value in message.values.items()}
    return str(gettext(message.template, **values))


@blueprint.post("/language")
def set_language() -> Response:
    """Store the language in a cookie, and redirect to the page that sent the form."""
    response = redirect(local(request.form.get("next", "/")), HTTPStatus.SEE_OTHER)
    code = request.form.get("language")
    if code in LANGUAGES:
        response.set_cookie(_COOKIE, code, max_age=_MAX_AGE_S, httponly=True, samesite="Lax", secure=request.is_secure)
    return response


def _select_language() -> str | None:
    for code in cookie_values(request.environ, _COOKIE):
        if code in LANGUAGES:
            return code
    return request.accept_languages.best_match(LANGUAGES, "en")
