"""The address of the user list, which holds its search, filters, sort and page."""

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


class ListUrl:
    """The query parameters of a list, without empty ones and notices. An empty attribute is a filter.

    parameters: by name. other_filters: the filters for which the page has no control. Raises: BadRequest
    """

    def __init__(self, query: bytes = b"") -> None:
        pairs: list[tuple[str, str]] = []
        for name, value in query_pairs(query):
            pairs += query_pairs(value.encode()) if name == FILTERS else [(name, value)]
        self._pairs: list[tuple[str, str]] = []
        self.other_filters: list[tuple[str, str]] = []
        for name, value in pairs:
            if (value or name.startswith("attributes.")) and name not in NOTICE_PARAMETERS:
                self._pairs.append((name, value))
                if name not in _CONTROLS:
                    self.other_filters.append((name, value))
        self.parameters = dict(self._pairs)

    def query(self) -> ListQuery:
        """The list query, sorted by DEFAULT_SORT unless there is a sort. Raises: BadRequest, ValidationFailed"""
        is_sorted = "sort" in self.parameters
        return read_pairs(self._pairs if is_sorted else [*self._pairs, ("sort", DEFAULT_SORT)], ListQuery)

    def encoded_filters(self) -> str:
        """The other filters as the value of the field FILTERS."""
        return urlencode(self.other_filters)

    def query_string(self, **changes: str | None) -> str:
        """The query string with some parameters changed, or removed (None). It leads to the first page of the list."""
        parameters = {**self.parameters, "cursor": None, **changes}
        return urlencode([(name, value) for name, value in parameters.items() if value is not None])

    def url(self, **changes: str | None) -> str:
        """The address with this query string."""
        query = self.query_string(**changes)
        return f"{url_for('console_users.index')}{'?' if query else ''}{query}"
