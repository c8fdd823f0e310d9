"""The user list: search, filters, sorting, pages, and bulk actions."""

import uuid
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from flask import Response, redirect, request, url_for
from pydantic import BaseModel, Field
from werkzeug.wrappers import Response as WerkzeugResponse

from app.console.error_pages import console_blueprint
from app.console.messages import summarize
from app.console.rendering import is_fragment, render
from app.errors import N_, BadRequest, FieldError, ValidationFailed
from app.http.access import audit_context
from app.http.parsing import query_pairs, read_pairs, user_id_of, validated
from app.http.services import services
from app.schemas import ListQuery
from app.search.pages import Count
from app.types import Role, Timestamp
from app.users import bulk
from app.users.bulk import Action, BulkTarget, bulk_action_of

blueprint = console_blueprint("console_users")

_DEFAULT_SORT = "-created_at"
_NOTICE_PARAMETERS = ("done", "n", "undo")
"""Parameters that report the last action. They are not part of the list."""
_FILTERS = "filters"
"""A field of the search form that holds other filters, URL-encoded, because browsers change line ends in fields."""
_CONTROLS = ("q", "role", "active", "deleted", "sort", "cursor", "limit")


class ListUrl:
    """The query parameters of a list, without empty ones and notices. An empty attribute is a filter.

    parameters: by name. other_filters: the filters for which the page has no control. Raises: BadRequest
    """

    def __init__(self, query: bytes = b"") -> None:
        pairs: list[tuple[str, str]] = []
        for name, value in query_pairs(query):
            pairs += query_pairs(value.encode()) if name == _FILTERS else [(name, value)]
        self._pairs: list[tuple[str, str]] = []
        for name, value in pairs:
            if (value or name.startswith("attributes.")) and name not in _NOTICE_PARAMETERS:
                self._pairs.append((name, value))
        self.other_filters = [pair for pair in self._pairs if pair[0] not in _CONTROLS]
        self.parameters = dict(self._pairs)

    def query(self) -> ListQuery:
        """The list query, sorted by _DEFAULT_SORT unless there is a sort. Raises: BadRequest, ValidationFailed"""
        is_sorted = "sort" in self.parameters
        return read_pairs(self._pairs if is_sorted else [*self._pairs, ("sort", _DEFAULT_SORT)], ListQuery)

    def url(self, /, **changes: str | None) -> str:
        """The address with some parameters changed, or removed (None). It leads to the first page of the list."""
        parameters = {**self.parameters, "cursor": None, **changes}
        query = urlencode([(name, value) for name, value in parameters.items() if value is not None])
        return f"{url_for('console_users.index')}{'?' if query else ''}{query}"

    def without(self, name: str) -> str:
        """The address without a filter. `name` may be any text, which a template could not pass as an argument."""
        return self.url(**{name: None})


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
        if _FILTERS in request.args and not is_fragment():
            return redirect(url.url())
        values = _list_values(url)
    except (ValidationFailed, BadRequest) as error:
        values = {"users": [], "total": Count(0), "next": None, "previous": None, "error": summarize(error)}
    response = render(
        "_user_list.html" if is_fragment() else "users.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if values["error"] else HTTPStatus.OK,
        url=url,
        sort=url.parameters.get("sort", _DEFAULT_SORT),
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
