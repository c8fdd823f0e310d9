"""The conditions and the order of a list query as SQL."""

from collections.abc import Mapping
from typing import Any

from app.identifiers import canonical
from app.models import PRIVILEGED_ROLE, SORT_KEYS
from app.schemas import ListQuery
from app.search import cursors
from app.search import text as search_text
from app.search.cursors import Keyset
from app.search.text import Term
from app.types import TIMESTAMP

_TIMESTAMP_COLUMNS = ("created_at", "updated_at")
_CREATED_RANGE = {
    "created_after": "created_at > %(created_after)s::timestamptz",
    "created_before": "created_at < %(created_before)s::timestamptz",
}
_KEY_CONDITIONS = {name: f"{SORT_KEYS[name]} = %({name})s" for name in ("email", "username")}


class UserQuery:
    """A list query as SQL. Every value is a parameter.

    limit: users of a page. sort_column: the expression of the sort index. partition: the condition for active (or
    deleted) users. key_conditions: on username and email, which are unique. created_range: conditions on `created_at`.
    terms: words and tags that a user must have. privileged_role: a role that has its own sort indexes; not set for
    deleted users. keyset: where the page begins; None is the first page. Raises: BadRequest (the cursor)
    """

    def __init__(self, query: ListQuery) -> None:
        self.limit = query.limit
        self.sort = query.sort.removeprefix("-")
        self.sort_column = SORT_KEYS[self.sort]
        self.deleted = query.deleted
        self.partition = f"deleted_at IS {'NOT ' if query.deleted else ''}NULL"
        self.cursor_kind = f"users:{query.sort}:{'trash' if query.deleted else 'live'}"
        self.keyset = cursors.decode(self.cursor_kind, query.cursor, self._read_key) if query.cursor else None
        self.backwards = self.keyset is not None and self.keyset.backwards
        self.descending = query.sort.startswith("-") != self.backwards
        self.created_after, self.created_before = query.created_after, query.created_before
        self.terms = _terms(query)
        self.parameters = _parameters(query, self.terms, self.keyset)
        self.created_range = _given(_CREATED_RANGE, self.parameters)
        self.key_conditions = _given(_KEY_CONDITIONS, self.parameters)
        self.privileged_role = query.role if query.role != "member" and not query.deleted else None

    @property
    def conditions(self) -> list[str]:
        """Every filter of the query, without the partition and the keyset."""
        lexemes = ["search_vector @@ %(tsquery)s::tsquery"] if self.terms else []
        return [*self.key_conditions, *lexemes, *self.created_range]

    @property
    def is_filtered(self) -> bool:
        """Whether there are filters that the sort index does not serve."""
        other_terms = len(self.terms) - (self.privileged_role is not None)
        return bool(self.key_conditions or other_terms or (self.created_range and self.sort != "created_at"))

    @property
    def index_conditions(self) -> list[str]:
        """The conditions that the sort index serves. `updated_at` is never before `created_at`."""
        role = [] if self.privileged_role is None else ["role = %(role)s", PRIVILEGED_ROLE]
        if self.sort == "created_at":
            return [*role, *self.created_range]
        if self.sort == "updated_at" and self.created_after is not None:
            return [*role, "updated_at > %(created_after)s::timestamptz"]
        return role

    @property
    def uses_only_lexemes(self) -> bool:
        """Whether the lexeme index is the only one that serves a filter. Else the planner chooses by the values."""
        return not (self.key_conditions or self.created_range or self.deleted)

    def where(self, conditions: list[str], *, hide_partition: bool = False) -> str:
        """The partition and `conditions`, joined by AND.

        hide_partition: IS TRUE keeps the planner from using partial indexes of the partition.
        """
        partition = f"({self.partition}) IS TRUE" if hide_partition else self.partition
        return " AND ".join([partition, *conditions])

    def keyset_conditions(self, column: str) -> list[str]:
        """The condition for rows after the keyset, in the direction of reading. None for the first page."""
        if self.keyset is None:
            return []
        cast = "::timestamptz" if self.sort in _TIMESTAMP_COLUMNS else ""
        operator = ("<" if self.descending else ">") + ("=" if self.keyset.inclusive else "")
        return [f"({column}, id) {operator} (%(cursor_key)s{cast}, %(cursor_id)s::uuid)"]

    def order_by(self, column: str, row_id: str = "id") -> str:
        """ORDER BY, in the direction of reading."""
        direction = "DESC" if self.descending else "ASC"
        return f"ORDER BY {column} {direction}, {row_id} {direction}"

    def _read_key(self, key: str) -> object:
        """Refuses values that PostgreSQL could not compare with a sort key. Raises: ValueError, TypeError"""
        if self.sort in _TIMESTAMP_COLUMNS:
            # Cursors have the offset in hours, and it is always zero.
            if not key.endswith("+00"):
                raise ValueError
            return TIMESTAMP.validate_python(f"{key}:00")
        if "\x00" in key:
            raise ValueError
        return key.encode()


def _terms(query: ListQuery) -> list[Term]:
    tags = [search_text.attribute_tag(key, value) for key, value in query.attributes.items()]
    if query.role is not None:
        tags.append(search_text.role_tag(query.role))
    if query.active is not None:
        tags.append(search_text.active_tag(query.active))
    return [*search_text.prefix_terms(query.q), *map(Term, tags)]


def _parameters(query: ListQuery, terms: list[Term], keyset: Keyset | None) -> dict[str, Any]:
    """All parameters by name, also those that no condition uses. They are None."""
    return {
        "row_limit": query.limit + 1,
        "email": query.email and canonical(query.email),
        "username": query.username and canonical(query.username),
        "role": query.role,
        "tsquery": search_text.tsquery(terms, deleted=query.deleted),
        "created_after": query.created_after,
        "created_before": query.created_before,
        "cursor_key": keyset and keyset.key,
        "cursor_id": keyset and keyset.id,
    }


def _given(conditions: Mapping[str, str], parameters: Mapping[str, Any]) -> list[str]:
    """The conditions whose parameter has a value."""
    return [condition for name, condition in conditions.items() if parameters[name] is not None]
