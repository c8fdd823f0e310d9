"""English and French: by the switch at the foot of each page, else by what the browser prefers."""

import re
from http import HTTPStatus

from flask import Blueprint, Flask, redirect, request
from flask_babel import Babel, get_locale, gettext
from werkzeug.wrappers import Response

from app.console.targets import local
from app.models import ROLES
from app.web.headers import cookie_values

LANGUAGES = {"en": "English", "fr": "Français"}
_COOKIE = "fsa_language"
_YEAR_S = 365 * 86400
_VALUE = re.compile(r"\d+(?:[.,]\d+)*|'[^']*'|\b(?:member|viewer|editor|admin)\b")

_ROLES = {role: "administrator" if role == "admin" else role for role in ROLES}

blueprint = Blueprint("language", __name__)


def install_languages(app: Flask) -> None:
    """Give the templates of `app` their translations; the API stays English."""
    Babel(app, default_translation_directories="console/translations", locale_selector=_chosen)


def language() -> str:
    """The language of the current request: en or fr."""
    return str(get_locale())


def said(sentence: str) -> str:
    """A sentence of a service in the reader's language.

    It is looked up as it is, then without its numbers, roles and what it quotes, then in parts around a colon.
    """
    whole = str(gettext(sentence))
    if whole != sentence:
        return whole
    values: list[str] = []

    def take(match: re.Match[str]) -> str:
        values.append(match[0])
        return "{}"

    pattern = _VALUE.sub(take, sentence)
    found = str(gettext(pattern))
    if found != pattern:
        first, *rest = found.split("{}")
        return first + "".join(_value(value) + part for value, part in zip(values, rest, strict=False))
    head, colon, tail = sentence.partition(": ")
    return f"{said(head)}{gettext(': ')}{said(tail)}" if colon else sentence


def _value(value: str) -> str:
    """A role by its name, all else as it is."""
    return str(gettext(_ROLES[value])) if value in _ROLES else value


@blueprint.post("/language")
def choose() -> Response:
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
