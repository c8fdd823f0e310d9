"""English and French: by the switch at the foot of each page, else by what the browser prefers."""

from http import HTTPStatus

from flask import Blueprint, Flask, redirect, request
from flask_babel import Babel, get_locale, gettext
from werkzeug.wrappers import Response

from app.console.safe_redirect import local
from app.errors import Message
from app.http.headers import cookie_values

LANGUAGES = {"en": "English", "fr": "Français"}
_COOKIE = "fsa_language"
_YEAR_S = 365 * 86400

blueprint = Blueprint("console_language", __name__)


def install_languages(app: Flask) -> None:
    """Give the templates of `app` their translations; the API stays English."""
    Babel(app, default_translation_directories="console/translations", locale_selector=_chosen)


def language() -> str:
    """The language of the current request: en or fr."""
    return str(get_locale())


def translate(message: Message) -> str:
    """A message in the reader's language, and so the messages among its values."""
    values = {name: translate(value) if isinstance(value, Message) else value for name, value in message.values.items()}
    return str(gettext(message.template, **values))


@blueprint.post("/language")
def set_language() -> Response:
    """Keep the language that was chosen, and go back to the page."""
    response = redirect(local(request.form.get("next", "/")), HTTPStatus.SEE_OTHER)
    chosen = request.form.get("language")
    if chosen in LANGUAGES:
        response.set_cookie(
            _COOKIE, chosen, max_age=_YEAR_S, httponly=True, samesite="Lax", secure=request.is_secure, path="/"
        )
    return response


def _chosen() -> str:
    kept = [value for value in cookie_values(request.environ, _COOKIE) if value in LANGUAGES]
    return kept[0] if kept else request.accept_languages.best_match(LANGUAGES, "en")
