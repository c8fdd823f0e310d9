"""The user list: search, filters, sorting, pages, and bulk actions."""

import uuid
from http import HTTPStatus
from typing import Any, cast, get_args

import orjson
from flask import Response, redirect, request
from pydantic import BaseModel
from werkzeug.wrappers import Response as WerkzeugResponse

from app.console.blueprints import console_blueprint
from app.console.list_url import DEFAULT_SORT, FILTERS, NOTICE_PARAMETERS, ListUrl
from app.console.messages import summarize
from app.console.rendering import is_fragment, render
from app.errors import N_, BadRequest, FieldError, ValidationFailed
from app.http.access import audit_context
from app.http.parsing import user_id_of
from app.http.services import services
from app.schemas import ListQuery
from app.types import Role, Timestamp
from app.users import bulk
from app.users.bulk import BulkTarget
from app.users.bulk_actions import Action
from app.validation import validated

blueprint = console_blueprint("console_users")


@blueprint.get("/people")
def index() -> WerkzeugResponse:
    """A page of the list; for a script, only the list itself."""
    url = ListUrl(())
    try:
        url = ListUrl.parse(request.query_string)
        if FILTERS in request.args and not is_fragment():
            return redirect(url.url())
        values = _list_values(url, url.query())
    except (ValidationFailed, BadRequest) as error:
        values = {"users": [], "total": (0, True), "next": None, "previous": None, "error": summarize(error)}
    response = render(
        "_user_list.html" if is_fragment() else "users.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if values["error"] else HTTPStatus.OK,
        url=url,
        sort=url.get("sort", DEFAULT_SORT),
        notice={name: request.args.get(name, "") for name in NOTICE_PARAMETERS},
        **values,
    )
    if request.headers.get("HX-Source") == "form#search":
        response.headers["HX-Replace-Url"] = url.url()
    return response


@blueprint.post("/people/bulk")
def bulk_update() -> WerkzeugResponse:
    """Apply an action to the selected users or to all that match. The first request shows a confirmation page."""
    action = cast("Action", _choice("action", get_args(Action)))
    role = cast("Role", _choice("role", get_args(Role))) if action == "role" else None
    url = ListUrl.parse(request.form.get("query", "").encode())
    undo = request.form.get("deleted_at")
    if not undo and "expected" not in request.form:
        return _render_confirmation(action, role, url)
    if undo:
        target = BulkTarget(deleted_at=validated(_Undo, {"deleted_at": undo}).deleted_at)
    else:
        target = BulkTarget(query=url.query()) if "all" in request.form else BulkTarget(ids=_selected_ids())
    expected = None if undo else _whole_number("expected")
    result = services().bulk.apply(action, target, audit_context(), role=role, expected=expected)
    notice = {"done": "undone" if undo else action, "n": str(result.changed)}
    if result.deleted_at:
        notice["undo"] = result.deleted_at.isoformat()
    return redirect(url.url(**notice), HTTPStatus.SEE_OTHER)


def _list_values(url: ListUrl, query: ListQuery) -> dict[str, Any]:
    """The users of a page, the number of all matching users, and the addresses of the pages next to it."""
    user_pages = services().user_pages
    page = user_pages.page(query)
    users = orjson.loads(page.body)
    is_only_page = query.cursor is None and page.next_cursor is None
    return {
        "users": users,
        "total": (len(users), True) if is_only_page else user_pages.count_or_estimate(query),
        "next": url.url(cursor=page.next_cursor) if page.next_cursor else None,
        "previous": url.url(cursor=page.previous_cursor) if page.previous_cursor else None,
        "error": None,
    }


def _render_confirmation(action: Action, role: Role | None, url: ListUrl) -> Response:
    """The confirmation page of a bulk action, with the number of users."""
    ids = () if "all" in request.form else _selected_ids()
    count, is_exact = (len(ids), True) if ids else services().user_pages.count_up_to(url.query(), bulk.MAX_USERS)
    values = {"count": count, "is_exact": is_exact, "limit": bulk.MAX_USERS}
    return render("confirm_bulk.html", action=action, role=role, url=url, ids=ids, **values)


def _whole_number(field: str) -> int:
    text = request.form.get(field, "")
    if not (text.isascii() and text.isdigit()):
        raise ValidationFailed([FieldError(field, N_("must be an integer"))])
    return int(text[:18])


def _choice(field: str, choices: tuple[str, ...]) -> str:
    value = request.form.get(field, "")
    if value not in choices:
        raise ValidationFailed([FieldError(field, N_("is not a valid choice"))])
    return value


def _selected_ids() -> tuple[uuid.UUID, ...]:
    ids = tuple(dict.fromkeys(user_id_of(text) for text in request.form.getlist("id")))
    if not ids:
        raise ValidationFailed([FieldError("form", N_("No users are selected."))])
    return ids


class _Undo(BaseModel):
    """The form that undoes a bulk delete."""

    deleted_at: Timestamp
