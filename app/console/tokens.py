"""API tokens: see, make and revoke them."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response, redirect, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response as WerkzeugResponse

from app.auth import tokens
from app.console.rendering import faults_of, page, pages_of, refilled
from app.console.safe_redirect import local
from app.console.user_form import drafted
from app.errors import N_, Fault, Forbidden, Invalid
from app.http.auth import actor, caller
from app.http.parsing import token_id_of, user_id_of, validated
from app.schemas import TokenDraft
from app.users import commands

blueprint = pages_of("console_tokens")
refilled("console_tokens.create")

_FIELDS = ("name", "role", "days", "user_id", "newest")
_DAYS = ("", "30", "90", "365")
"""How long a token may last; "": for ever."""


@blueprint.get("/api-tokens")
def index() -> Response:
    """All tokens, and the form for another: for oneself, or for the user whose id is asked for."""
    return _page(_blank(request.args.get("user_id", "")), {}, HTTPStatus.OK)


@blueprint.post("/api-tokens")
def create() -> Response:
    """Make a token. Its secret is on this page and never again, so there is no redirect."""
    draft = drafted()
    sent = draft if draft is not None else request.form
    given = {name: sent.get(name, "") for name in _FIELDS}
    if draft is not None:
        return _page(given, {}, HTTPStatus.OK)
    try:
        values = {"name": given["name"], "role": given["role"], "expires_at": _end(given["days"])}
        asked = validated(TokenDraft, {**values, "user_id": given["user_id"] or None})
        if _was_made(asked, given["newest"]):
            return _page(given, {"form": gettext("This form was sent twice, and its token is in the list.")}, 409)
        made = tokens.make(asked, caller())
    except (Invalid, Forbidden) as error:
        return _page(given, dict(faults_of(error)), HTTPStatus.UNPROCESSABLE_ENTITY)
    return _page(_blank(given["user_id"]), {}, HTTPStatus.CREATED, made)


@blueprint.post("/api-tokens/<token_id>/revoke")
def revoke(token_id: str) -> WerkzeugResponse:
    """End a token, and go back to the page that asked."""
    tokens.revoke(token_id_of(token_id), caller())
    return redirect(local(request.form.get("next", url_for(".index"))), HTTPStatus.SEE_OTHER)


def _page(given: dict[str, str], faults: dict[str, str], status: int, made: tokens.Made | None = None) -> Response:
    lasting = {"30": gettext("30 days"), "90": gettext("90 days"), "365": gettext("a year"), "": gettext("for ever")}
    values: dict[str, Any] = {"tokens": tokens.listed(), "given": given, "faults": faults, "made": made}
    user_id = user_id_of(given["user_id"]) if given["user_id"] else None
    is_other = user_id is not None and user_id != actor().user_id
    person = orjson.loads(commands.fetch(user_id).body) if user_id and is_other else None
    return page("tokens.html", status, lasting=lasting, person=person, **values)


def _blank(user_id: str) -> dict[str, str]:
    # The newest token of all that the sender has seen tells a form that is sent twice.
    newest = max((str(token["id"]) for token in tokens.listed()), default="")
    return {"name": "", "role": "viewer", "days": "90", "user_id": user_id, "newest": newest}


def _was_made(asked: TokenDraft, newest: str) -> bool:
    """Whether a token like this was made for the same user since the form was shown."""
    wanted = (asked.name, asked.role, asked.user_id or actor().user_id)
    return any(
        (token["name"], token["role"], token["user_id"]) == wanted and str(token["id"]) > newest
        for token in tokens.listed()
        if "newest" in request.form
    )


def _end(days: str) -> datetime | None:
    """When a token ends; None: never. Raises: Invalid"""
    if days not in _DAYS:
        raise Invalid([Fault("days", N_("is not known"))])
    return datetime.now(UTC) + timedelta(days=int(days)) if days else None
