"""The page of the API tokens: list, create and revoke."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response, redirect, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response as WerkzeugResponse

from app.auth.schemas import TokenDraft
from app.console.drafts import sent_draft
from app.console.error_pages import console_blueprint, with_error
from app.console.i18n import translate
from app.console.messages import errors_by_field
from app.console.rendering import render
from app.console.safe_redirect import local
from app.errors import N_, FieldError, Forbidden, ValidationFailed
from app.http.access import actor, audit_context
from app.http.parsing import token_id_of, user_id_of, validated
from app.http.services import services

blueprint = console_blueprint("console_tokens")

_Token = dict[str, Any]
"""The public fields of a token."""
_FIELDS = ("name", "role", "days", "user_id", "newest_id")
_EMPTY_FORM = {"name": "", "role": "viewer", "days": "90"}
_LIFETIMES = {"30": N_("30 days"), "90": N_("90 days"), "365": N_("1 year"), "": N_("Never expires")}
"""The lifetimes in days to choose from. Empty: the token never expires."""


@blueprint.get("/api-tokens")
def index() -> Response:
    """All tokens, and the form for a new one. The query parameter `user_id` names its user; default: the actor."""
    form = {**_EMPTY_FORM, "user_id": request.args.get("user_id", "")}
    return _render_tokens(services().tokens.get_list(), form, {})


@blueprint.post("/api-tokens")
def create() -> Response:
    """Create a token. There is no redirect, because only this response contains the secret."""
    draft = sent_draft()
    sent = request.form if draft is None else draft
    form = {name: sent.get(name, "") for name in _FIELDS}
    tokens = services().tokens.get_list()
    if draft is not None:
        return _render_tokens(tokens, form, {})
    try:
        values = {"name": form["name"], "role": form["role"], "expires_at": _expires_at(form["days"])}
        new_token = validated(TokenDraft, {**values, "user_id": form["user_id"] or None})
        if _is_duplicate(new_token, form["newest_id"], tokens):
            error = gettext("This form was sent twice. The token was created once and is in the list.")
            return _render_tokens(tokens, form, {"form": error}, HTTPStatus.CONFLICT)
        created = services().tokens.create(new_token, audit_context())
    except (ValidationFailed, Forbidden) as error:
        return with_error(_render_tokens(tokens, form, errors_by_field(error)), error)
    next_form = {**_EMPTY_FORM, "user_id": form["user_id"]}
    return _render_tokens([created, *tokens], next_form, {}, HTTPStatus.CREATED, created)


@blueprint.post("/api-tokens/<token_id>/revoke")
def revoke(token_id: str) -> WerkzeugResponse:
    """Revoke a token, and redirect to the page that sent the form."""
    services().tokens.revoke(token_id_of(token_id), audit_context())
    return redirect(local(request.form.get("next", url_for(".index"))), HTTPStatus.SEE_OTHER)


def _render_tokens(
    tokens: list[_Token],
    form: dict[str, str],
    errors: Mapping[str, str],
    status: int = HTTPStatus.OK,
    created: _Token | None = None,
) -> Response:
    user_id = user_id_of(form["user_id"]) if form["user_id"] else None
    is_other_user = user_id is not None and user_id != actor().user_id
    return render(
        "tokens.html",
        status,
        tokens=tokens,
        user=orjson.loads(services().user_reads.get(user_id).body) if user_id and is_other_user else None,
        lifetimes={days: translate(label) for days, label in _LIFETIMES.items()},
        # The newest token that the page shows: a form that is sent twice has the same one.
        form={"newest_id": max((str(token["id"]) for token in tokens), default=""), **form},
        errors=errors,
        created=created,
    )


def _is_duplicate(new_token: TokenDraft, newest_id: str, tokens: list[_Token]) -> bool:
    """Whether the same token was created for the same user after the form was shown."""
    if "newest_id" not in request.form:
        return False
    wanted = (new_token.name, new_token.role, new_token.user_id or actor().user_id)
    return any(
        (token["name"], token["role"], token["user_id"]) == wanted and str(token["id"]) > newest_id for token in tokens
    )


def _expires_at(days: str) -> datetime | None:
    """The end of a lifetime that starts now. None: never. Raises: ValidationFailed"""
    if days not in _LIFETIMES:
        raise ValidationFailed([FieldError("days", N_("is not a valid choice"))])
    return datetime.now(UTC) + timedelta(days=int(days)) if days else None
