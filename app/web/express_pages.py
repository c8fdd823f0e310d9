"""The express lane for pages of users, made as the route makes them and kept until a write may have changed them."""

import functools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from werkzeug.sansio.utils import get_current_url, get_host

from app.errors import DomainError
from app.extensions import Resources, holding
from app.infra.shared import EVERY_WRITE, slot_of
from app.schemas import ListQuery
from app.services import listing
from app.services.keys import LONGEST_KEPT_QUERY, MEMBERS_KEY, user_key
from app.services.listing import Page
from app.web.links import page_links
from app.web.reading import query_pairs, read_pairs

_ORDERED = ("limit", "cursor")
"""What may be asked of a page in the order of making."""
_A_WHILE = timedelta(minutes=10)
"""Longer than a statement may take that makes users."""
_MEMBERS = slot_of(MEMBERS_KEY)


Answer = tuple[tuple[tuple[str, str], ...], bytes, str]
"""All of an answer but the id of its request: headers, body, and the route that gives it. See infra.memory._Entry."""


class _Lasting:
    """A page that outlives writes: the stamps of its users by their slots, and of the last write looked at."""

    __slots__ = ("answer", "last_write", "stamps")

    def __init__(self, answer: Answer, stamps: dict[int, int], last_write: int) -> None:
        self.answer, self.stamps, self.last_write = answer, stamps, last_write


class ExpressPages:
    """Of one application."""

    def __init__(self, held: Resources) -> None:
        self._held, self._state, self._memory = held, held.state, held.answers.memory

    def answer(self, environ: dict[str, Any], *, ask: bool) -> Answer | None:
        """The page that is asked for, from memory or else, if `ask`, from services. None: it is for Flask to say."""
        host, scheme = environ.get("HTTP_HOST", ""), environ["wsgi.url_scheme"]
        if not host or environ.get("SCRIPT_NAME") or len(environ["QUERY_STRING"]) > LONGEST_KEPT_QUERY:
            return None
        # Links hold scheme and host.
        place = host, scheme, environ["PATH_INFO"], environ["QUERY_STRING"]
        known = self._recall(place)
        return self._make(place) if known is None and ask else known

    def _recall(self, place: tuple[str, str, str, str]) -> Answer | None:
        known: Answer | _Lasting | None = self._memory.recall(place)
        if not isinstance(known, _Lasting):
            return known
        if known.last_write != self._state.stamp(EVERY_WRITE):
            last_write, stamps = self._stamps(known.stamps)
            if stamps != known.stamps:
                return None
            known.last_write = last_write
        return known.answer

    def _make(self, place: tuple[str, str, str, str]) -> Answer | None:
        host, scheme, path, query = place
        stamp, members = self._state.stamp(EVERY_WRITE), self._state.stamp(_MEMBERS)
        try:
            url = _url(scheme, host, path)
            asked = query_pairs(query.encode("latin-1"))
            with holding(self._held):
                page = listing.page(read_pairs(asked, ListQuery), kept=False)
        except (ValueError, DomainError):
            return None
        links = page_links(url, asked, {"first": "", "prev": page.previous_cursor, "next": page.next_cursor})
        headers = (
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(page.body))),
            ("Cache-Control", "private, no-cache"),
            *(("Link", link) for link in links),
        )
        answer = headers, page.body, path
        users = _settled(asked, page)
        if users:
            # Of one moment: no write has touched the one and not the other.
            with self._state.locked():
                last_write, stamps = self._stamps(users)
            # They are those from before the users were read as well, if nothing was written since.
            if last_write == stamp:
                self._memory.keep(place, _Lasting(answer, stamps, last_write), _MEMBERS, members)
                return answer
        self._memory.keep(place, answer, EVERY_WRITE, stamp)
        return answer

    def _stamps(self, slots: Iterable[int]) -> tuple[int, dict[int, int]]:
        """That of the last write, then of these slots: what that write, or one before it, made old is seen.

        Since who writes does it the other way round (SharedState.touch).
        """
        last_write = self._state.stamp(EVERY_WRITE)
        return last_write, {slot: self._state.stamp(slot) for slot in slots}


def _settled(asked: Iterable[tuple[str, str]], page: Page) -> tuple[int, ...]:
    """The slots of the users of a page that only their changes change, or that one comes or goes who was there before.

    It is one in the order in which users are made, and others who were made a while ago come after it. Else none.
    """
    if page.next_cursor is None or any(name not in _ORDERED for name, _ in asked):
        return ()
    found = orjson.loads(page.body)
    newest = datetime.fromisoformat(found[-1]["created_at"]) if found else datetime.now(UTC)
    if datetime.now(UTC) - newest < _A_WHILE:
        return ()
    return tuple(slot_of(user_key(user["id"])) for user in found)


@functools.lru_cache(maxsize=64)
def _url(scheme: str, host: str, path: str) -> str:
    """The URL of a request without its query, as Flask tells it. Raises: ValueError"""
    return get_current_url(scheme, get_host(scheme, host), "", path)
