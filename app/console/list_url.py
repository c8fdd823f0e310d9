"""The address of the user list, which holds its search, filters, sort and page."""

from dataclasses import dataclass
from urllib.parse import urlencode

from flask import url_for

from app.http.parsing import query_pairs, read_pairs
from app.schemas import ListQuery

DEFAULT_SORT = "-created_at"
NOTICE_PARAMETERS = ("done", "n", "undo")
"""Parameters that report the last action. They are not part of the list."""
FILTERS = "filters"
"""A field of the search form that holds other filters, URL-encoded, because browsers change line ends in fields."""
_CONTROLS = ("q", "role", "active", "deleted", "sort", "cursor", "limit")


@dataclass(frozen=True, slots=True)
class ListUrl:
    """The query parameters of a list, without empty ones."""

    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, query: bytes) -> "ListUrl":
        """Raises: BadRequest"""
        pairs: list[tuple[str, str]] = []
        for name, value in query_pairs(query):
            pairs += query_pairs(value.encode()) if name == FILTERS else [(name, value)]
        return cls(tuple(pair for pair in pairs if _has_effect(*pair) and pair[0] not in NOTICE_PARAMETERS))

    def query(self) -> ListQuery:
        """The list query, sorted by DEFAULT_SORT unless there is a sort. Raises: BadRequest, ValidationFailed"""
        is_sorted = any(name == "sort" for name, _ in self.pairs)
        return read_pairs(self.pairs if is_sorted else (*self.pairs, ("sort", DEFAULT_SORT)), ListQuery)

    def get(self, name: str, default: str = "") -> str:
        """The value of a parameter."""
        return dict(self.pairs).get(name, default)

    def other_filters(self) -> list[tuple[str, str]]:
        """The filters for which the page has no control."""
        return [pair for pair in self.pairs if pair[0] not in _CONTROLS]

    def encoded_filters(self) -> str:
        """The other filters as the value of the field FILTERS."""
        return urlencode(self.other_filters())

    def url(self, **changes: str | None) -> str:
        """The address with some parameters changed, or removed (None). It leads to the first page of the list."""
        current = {name: value for name, value in self.pairs if name != "cursor"}
        pairs = {name: value for name, value in {**current, **changes}.items() if _has_effect(name, value)}
        return f"{url_for('console_users.index')}{'?' if pairs else ''}{urlencode(pairs)}"

    def query_string(self) -> str:
        """The query string of the address, without the page."""
        return self.url().partition("?")[2]


def _has_effect(name: str, value: str | None) -> bool:
    """Whether a parameter filters. An empty one does not, unless it is an attribute: those may be empty."""
    return bool(value) or (value is not None and name.startswith("attributes."))
