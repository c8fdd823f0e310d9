"""API tokens: see, make and revoke them."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from flask import Response, redirect, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from app.console.pages import faults_of, page, pages_of
from app.errors import Forbidden, Invalid
from app.schemas import TokenDraft
from app.services import tokens
from app.web.access import caller
from app.web.reading import token_id_of, validated

blueprint = pages_of("console_tokens")

LASTING = {"30": "30 days", "90": "90 days", "365": "a year", "": "for ever"}


@blueprint.get("/api-tokens")
def index() -> Response:
    """All tokens, and the form for another."""
    return _page({"role": "viewer", "days": "90"}, {}, HTTPStatus.OK)


@blueprint.post("/api-tokens")
def create() -> Response:
    """Make a token. Its secret is on this page and never again, so there is no redirect."""
    given = {name: request.form.get(name, "") for name in ("name", "role", "days")}
    try:
        draft = validated(TokenDraft, {"name": given["name"], "role": given["role"], "expires_at": _end(given["days"])})
        made = tokens.make(draft, caller())
    except (Invalid, Forbidden) as error:
        return _page(given, dict(faults_of(error)), HTTPStatus.UNPROCESSABLE_ENTITY)
    return _page({"role": "viewer", "days": "90"}, {}, HTTPStatus.CREATED, made)


@blueprint.post("/api-tokens/<token_id>/revoke")
def revoke(token_id: str) -> WerkzeugResponse:
    """End a token."""
    tokens.revoke(token_id_of(token_id), caller())
    return redirect(url_for(".index"), HTTPStatus.SEE_OTHER)


def _page(given: dict[str, str], faults: dict[str, str], status: int, made: tokens.Made | None = None) -> Response:
    return page("tokens.html", status, tokens=tokens.listed(), given=given, faults=faults, made=made, lasting=LASTING)


def _end(days: str) -> str | None:
    if days not in LASTING or not days:
        return None
    return (datetime.now(UTC) + timedelta(days=int(days))).isoformat()
