"""The user list: search, filters, sorting, pages, and bulk actions."""

import uuid
from http import HTTPStatus
from typing import Annotated, Any

import orjson
from flask import Response, redirect, request
from pydantic import BaseModel, Field
from werkzeug.wrappers import Response as WerkzeugResponse

from app.console.blueprints import console_blueprint
from app.console.list_url import DEFAULT_SORT, FILTERS, ListUrl
from app.console.messages import summarize
from app.console.rendering import is_fragment, render
from app.errors import N_, BadRequest, FieldError, ValidationFailed
from app.http.access import audit_context
from app.http.parsing import user_id_of
from app.http.services import services
from app.search.pages import Count
from app.types import Role, Timestamp
from app.users import bulk
from app.users.bulk import BulkTarget
from app.users.bulk_actions import Action, bulk_action_of
from app.validation import validated

blueprint = console_blueprint("console_users")


class _BulkForm(BaseModel):
    """The form of a bulk action. expected: the number of confirmed users. deleted_at: undoes a delete."""

    action: Action
    role: Role | None = None
    expected: Annotated[int, Field(ge=0)] | None = None
    deleted_at: Timestamp | None = None


@blueprint.get("/people")
def index() -> WerkzeugResponse:
    """A page of the list; for a script, only the list itself."""
    url = ListUrl()
    try:
        url = ListUrl(request.query_string)
        if FILTERS in request.args and not is_fragment():
            return redirect(url.url())
        values = _list_values(url)
    except (ValidationFailed, BadRequest) as error:
        values = {"users": [], "total": Count(0), "next": None, "previous": None, "error": summarize(error)}
    response = render(
        "_user_list.html" if is_fragment() else "users.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if values["error"] else HTTPStatus.OK,
        url=url,
        sort=url.parameters.get("sort", DEFAULT_SORT),
        **values,
    )
    if request.headers.get("HX-Source") == "form#search":
        response.headers["HX-Replace-Url"] = url.url()
    return response


@blueprint.post("/people/bulk")
def bulk_update() -> WerkzeugResponse:
    """Apply an action to the selected users or to all that match. The first request shows a confirmation page."""
    form = validated(_BulkForm, request.form.to_dict())
    role = form.role if form.action == "role" else None
    url = ListUrl(request.form.get("query", "").encode())
    undo = form.deleted_at is not None
    if undo:
        target = BulkTarget(deleted_at=form.deleted_at)
    elif form.expected is None:
        return _render_confirmation(form.action, role, url)
    else:
        target = BulkTarget(query=url.query()) if "all" in request.form else BulkTarget(ids=_selected_ids())
    expected = None if undo else form.expected
    result = services().bulk.apply(form.action, target, audit_context(), role=role, expected=expected)
    notice = {"done": "undone" if undo else form.action, "n": str(result.changed)}
    if result.deleted_at:
        notice["undo"] = result.deleted_at.isoformat()
    return redirect(url.url(**notice), HTTPStatus.SEE_OTHER)


def _list_values(url: ListUrl) -> dict[str, Any]:
    """The users of a page, the number of all matching users, and the addresses of the pages next to it."""
    query, user_pages = url.query(), services().user_pages
    page = user_pages.page(query)
    users = orjson.loads(page.body)
    is_only_page = query.cursor is None and page.next_cursor is None
    return {
        "users": users,
        "total": Count(len(users)) if is_only_page else user_pages.count_or_estimate(query),
        "next": url.url(cursor=page.next_cursor) if page.next_cursor else None,
        "previous": url.url(cursor=page.previous_cursor) if page.previous_cursor else None,
        "error": None,
    }


def _render_confirmation(action: Action, role: Role | None, url: ListUrl) -> Response:
    """The confirmation page of a bulk action, with the number of users. Raises: ValidationFailed"""
    bulk_action_of(action, role)
    ids = () if "all" in request.form else _selected_ids()
    count, is_exact = Count(len(ids)) if ids else services().user_pages.count_up_to(url.query(), bulk.MAX_USERS)
    values = {"count": count, "is_exact": is_exact, "limit": bulk.MAX_USERS}
    return render("confirm_bulk.html", action=action, role=role, url=url, ids=ids, **values)


def _selected_ids() -> tuple[uuid.UUID, ...]:
    ids = tuple(dict.fromkeys(user_id_of(text) for text in request.form.getlist("id")))
    if not ids:
        raise ValidationFailed([FieldError("form", N_("No users are selected."))])
    return ids
