"""People: find them, and change many at once. All that a list shows is in its address."""

import uuid
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast, get_args
from urllib.parse import urlencode

import orjson
from flask import Response, redirect, request, url_for
from pydantic import BaseModel
from werkzeug.wrappers import Response as WerkzeugResponse

from app.console.rendering import is_fragment, page, pages_of, sentence_of
from app.errors import N_, Fault, Invalid, Malformed
from app.extensions import resources
from app.http.auth import caller
from app.http.parsing import query_pairs, read_pairs, user_id_of, validated
from app.schemas import ListQuery
from app.search.pages import Page
from app.types import Role, Timestamp
from app.users import bulk
from app.users.bulk import Action, Chosen

_NEWS = ("done", "n", "undo")
"""What a page says of what was just done; not part of the list."""
NEWEST_FIRST = "-created_at"
_OWN_CONTROLS = ("q", "role", "active", "deleted", "sort", "cursor", "limit")
_KEPT = "kept"
"""The filters without a control of their own as one field of the search form, urlencoded: a form alters line ends."""

blueprint = pages_of("console_users")


@dataclass(frozen=True, slots=True)
class Asked:
    """The address of a list, without what is empty."""

    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, query: bytes) -> "Asked":
        """Raises: Malformed"""
        pairs: list[tuple[str, str]] = []
        for name, value in query_pairs(query):
            pairs += query_pairs(value.encode()) if name == _KEPT else [(name, value)]
        return cls(tuple(pair for pair in pairs if _says_something(*pair) and pair[0] not in _NEWS))

    def query(self) -> ListQuery:
        """What is asked for, the newest first unless told otherwise. Raises: Malformed, Invalid"""
        is_sorted = any(name == "sort" for name, _ in self.pairs)
        return read_pairs(self.pairs if is_sorted else (*self.pairs, ("sort", NEWEST_FIRST)), ListQuery)

    def get(self, name: str, default: str = "") -> str:
        """The value of `name`."""
        return dict(self.pairs).get(name, default)

    def extras(self) -> list[tuple[str, str]]:
        """Filters for which the page has no control of its own."""
        return [pair for pair in self.pairs if pair[0] not in _OWN_CONTROLS]

    def kept(self) -> str:
        """The same as one value."""
        return urlencode(self.extras())

    def address(self, **changed: str | None) -> str:
        """The address of this list with something changed or, by None, left out; from its first page on."""
        kept = {name: value for name, value in self.pairs if name != "cursor"}
        chosen = {name: value for name, value in {**kept, **changed}.items() if _says_something(name, value)}
        return f"{url_for('console_users.index')}{'?' if chosen else ''}{urlencode(chosen)}"


@blueprint.get("/people")
def index() -> WerkzeugResponse:
    """A page of the list."""
    user_pages = resources().user_pages
    asked, found, total = Asked(()), Page(b"[]", None, None), (0, True)
    fault = None
    try:
        asked = Asked.of(request.query_string)
        if _KEPT in request.args and not is_fragment():
            return redirect(asked.address())
        query = asked.query()
        found = user_pages.page(query)
        people = orjson.loads(found.body)
        is_all = query.cursor is None and found.next_cursor is None
        total = (len(people), True) if is_all else user_pages.count_or_estimate(query)
    except (Invalid, Malformed) as error:
        people, fault = [], sentence_of(error)
    response = page(
        "_user_list.html" if is_fragment() else "users.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK,
        people=people,
        asked=asked,
        sort=asked.get("sort", NEWEST_FIRST),
        fault=fault,
        total=total,
        next=asked.address(cursor=found.next_cursor) if found.next_cursor else None,
        previous=asked.address(cursor=found.previous_cursor) if found.previous_cursor else None,
        news={name: request.args.get(name, "") for name in _NEWS},
    )
    if request.headers.get("HX-Source") == "form#search":
        response.headers["HX-Replace-Url"] = asked.address()
    return response


@blueprint.post("/people/bulk")
def bulk_update() -> WerkzeugResponse:
    """Change the users who were picked, or all who match, once their number was confirmed."""
    action = cast("Action", _one_of("action", get_args(Action)))
    role = cast("Role", _one_of("role", get_args(Role))) if action == "role" else None
    asked = Asked.of(request.form.get("query", "").encode())
    undone = request.form.get("deleted_at")
    if not undone and "expected" not in request.form:
        return _confirm(action, role, asked)
    if undone:
        chosen = Chosen(deleted_at=validated(_Undo, {"deleted_at": undone}).deleted_at)
    else:
        chosen = Chosen(query=asked.query()) if "all" in request.form else Chosen(ids=_picked())
    expected = None if undone else _whole("expected")
    outcome = bulk.apply(action, chosen, caller(), role=role, expected=expected)
    news = {"done": "undone" if undone else action, "n": str(outcome.changed)}
    if outcome.deleted_at:
        news["undo"] = outcome.deleted_at.isoformat()
    return redirect(asked.address(**news), HTTPStatus.SEE_OTHER)


def _confirm(action: Action, role: Role | None, asked: Asked) -> Response:
    """Ask whether to go on, with the number of users."""
    ids = () if "all" in request.form else _picked()
    count, is_exact = (len(ids), True) if ids else resources().user_pages.count_up_to(asked.query(), bulk.MOST)
    shown = {"count": count, "is_exact": is_exact, "most": bulk.MOST}
    return page("confirm_bulk.html", action=action, role=role, asked=asked, ids=ids, **shown)


def _says_something(name: str, value: str | None) -> bool:
    """Whether a parameter filters: an empty field does not, but attributes may be empty texts."""
    return bool(value) or (value is not None and name.startswith("attributes."))


def _whole(field: str) -> int:
    text = request.form.get(field, "")
    if not (text.isascii() and text.isdigit()):
        raise Invalid([Fault(field, N_("must be a whole number"))])
    return int(text[:18])


def _one_of(field: str, known: tuple[str, ...]) -> str:
    value = request.form.get(field, "")
    if value not in known:
        raise Invalid([Fault(field, N_("is not known"))])
    return value


def _picked() -> tuple[uuid.UUID, ...]:
    ids = tuple(dict.fromkeys(user_id_of(text) for text in request.form.getlist("id")))
    if not ids:
        raise Invalid([Fault("form", N_("Nobody is picked."))])
    return ids


class _Undo(BaseModel):
    """Which delete is undone, as a form says it."""

    deleted_at: Timestamp
