"""Renders templates, and installs what they use: filters, and values that every page needs."""

from datetime import datetime
from typing import Any

from flask import Flask, Response, render_template, request
from flask_babel import get_locale

from app.auth.permissions import SETUP_ACTOR
from app.console.assets import assets
from app.console.i18n import LANGUAGES
from app.http.access import actor, session
from app.http.services import services
from app.models import ROLES

_BROWSERS = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "Chrom": "Chrome", "Safari": "Safari"}
_SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Mac": "macOS",
    "Linux": "Linux",
}
"""A substring of a User-Agent and the name that it stands for. The first match wins: Android contains Linux."""
_MAX_CHARACTERS = 80


def install_templates(app: Flask, adminer_url: str | None) -> None:
    """Register the filters and the global values of templates in `app`. adminer_url: a link, if it is set."""
    environment = app.jinja_env
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters.update(parse_timestamp=datetime.fromisoformat, browser_name=browser_name)
    environment.globals.update(assets=assets, language=get_locale, is_fragment=is_fragment)
    environment.globals.update(languages=LANGUAGES, roles=ROLES, adminer_url=adminer_url)


def render(template: str, status: int = 200, **values: Any) -> Response:
    """Render a page or a fragment. Browsers must not store it, because it contains personal data."""
    current_session = session()
    body = render_template(
        template,
        actor=actor(),
        actor_name=current_session and current_session.name,
        # This request may have created the first administrator.
        in_setup_mode=actor() == SETUP_ACTOR and not services().state.is_secured,
        **values,
    )
    response = Response(body, status, content_type="text/html; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    return response


def is_fragment() -> bool:
    """Whether a script requests a part of the page."""
    return request.headers.get("HX-Request-Type") == "partial"


def browser_name(agent: str | None) -> str:
    """A short name for a User-Agent, such as `Firefox · Linux`; the User-Agent itself if it is not a browser's."""
    if not agent or "Mozilla/" not in agent:
        return (agent or "")[:_MAX_CHARACTERS]
    name = next((name for part, name in _BROWSERS.items() if part in agent), agent[:_MAX_CHARACTERS])
    system = next((name for part, name in _SYSTEMS.items() if part in agent), None)
    return f"{name} · {system}" if system else name
