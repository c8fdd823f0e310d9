"""Renders templates with the values that every page needs."""

from contextlib import suppress
from typing import Any, cast

import orjson
from flask import Response, render_template, request

from app.auth.permissions import SETUP_ACTOR, SIGNED_OUT_ACTOR
from app.console.assets import asset_url
from app.console.i18n import LANGUAGES, language
from app.errors import DomainError
from app.http.access import actor
from app.http.services import services
from app.models import ROLES


def render(template: str, status: int = 200, **values: Any) -> Response:
    """Render a page or a fragment. Browsers must not store it, because it contains personal data."""
    is_secured = services().infrastructure.state.is_secured
    current_actor = SIGNED_OUT_ACTOR if is_secured and actor() == SETUP_ACTOR else actor()
    body = render_template(
        template,
        actor=current_actor,
        actor_name=_actor_name(),
        in_setup_mode=current_actor == SETUP_ACTOR,
        asset=asset_url,
        language=language(),
        languages=LANGUAGES,
        roles=ROLES,
        is_fragment=is_fragment(),
        adminer_url=services().settings.adminer_url,
        **values,
    )
    response = Response(body, status, content_type="text/html; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    return response


def is_fragment() -> bool:
    """Whether a script requests a part of the page."""
    return request.headers.get("HX-Request-Type") == "partial"


def _actor_name() -> str | None:
    """The name of the signed-in user. None: unknown, because an error page must not fail on this look-up."""
    current_actor = actor()
    with suppress(DomainError):
        if current_actor.user_id is not None and current_actor.owns(current_actor.user_id):
            return cast("str", orjson.loads(services().user_reads.get(current_actor.user_id).body)["name"])
    return None
