"""What a list is asked for, as SQL: the one place where conditions and order of a list are composed."""

from typing import Any

from app.identifiers import canonical
from app.models import ABOVE_MEMBER, SORT_KEYS
from app.schemas import ListQuery
from app.search import cursors
from app.search import text as search_text
from app.search.text import Term
from app.types import MOST_LISTED, TIMESTAMP

_MOMENTS = ("created_at", "updated_at")


class Selection:
    """What a query asks for, as SQL: conditions, order, and where to begin. Values are parameters, always."""

    def __init__(self, query: ListQuery) -> None:
        self.limit = query.limit
        self.sort = query.sort.removeprefix("-")
        self.kind = f"users:{query.sort}:{'trash' if query.deleted else 'live'}"
        self.position = cursors.decode(self.kind, query.cursor, self._read_key) if query.cursor else None
        self.backwards = self.position is not None and self.position.backwards
        self.parameters: dict[str, Any] = {"limit": query.limit + 1}
        self.created_after, self.created_before = query.created_after, query.created_before
        self.half = f"deleted_at IS {'NOT ' if query.deleted else ''}NULL"
        self.range = [
            self._bound("created_at", operator, name, value)
            for operator, name, value in (
                (">", "created_after", query.created_after),
                ("<", "created_before", query.created_before),
            )
            if value is not None
        ]
        self.exact = [
            self._bound(SORT_KEYS[name], "=", name, canonical(value))
            for name, value in (("email", query.email), ("username", query.username))
            if value is not None
        ]
        self.trashed = query.deleted
        self.terms = self._terms(query)
        # Such a role has an index for each order, which the trash has not.
        self.role = query.role if query.role != "member" and not query.deleted else None
        if self.role is not None:
            self.parameters["role"] = self.role
        self.descending = query.sort.startswith("-") != self.backwards

    @property
    def key(self) -> str:
        """The sort key, as SQL."""
        return SORT_KEYS[self.sort]

    @property
    def conditions(self) -> list[str]:
        """Everything but the half of the table and the cursor."""
        marks = ["words @@ %(words)s::tsquery"] if self.terms else []
        return [*self.exact, *marks, *self.range]

    @property
    def filtered(self) -> bool:
        """Whether the order alone does not give the page."""
        other_terms = len(self.terms) - (self.role is not None)
        return bool(self.exact or other_terms or (self.range and self.sort != "created_at"))

    @property
    def served(self) -> list[str]:
        """Conditions that the index of the sort serves. Nobody is updated before being created."""
        role = [] if self.role is None else ["role = %(role)s", ABOVE_MEMBER]
        if self.sort == "created_at":
            return [*role, *self.range]
        if self.sort == "updated_at" and "created_after" in self.parameters:
            return [*role, "updated_at > %(created_after)s::timestamptz"]
        return role

    @property
    def led_by_words(self) -> bool:
        """Whether words alone lead to the rows, whatever they are. Else the planner is to choose, by what it sees."""
        return not (self.exact or self.range or self.trashed)

    def looked_up(self, sought: list[Term], *, in_range: bool, mostly_fit: bool) -> list[str]:
        """The same conditions, in a form of which an index serves the terms `sought` (and the dates) only.

        PostgreSQL looks nothing up for what IS TRUE is said of; it compares it in the rows that the rest gives.
        With `mostly_fit`, in which half of the table a row lies is left to the rows as well.
        """
        compared = [term for term in self.terms if term not in sought]
        whole = search_text.query_text(sought, trashed=self.trashed)
        self.parameters["sought"] = " & ".join(map(str, sought)) if mostly_fit else whole
        self.parameters["compared"] = search_text.query_text(compared, trashed=self.trashed)
        return [
            *(["words @@ %(sought)s::tsquery"] if sought else []),
            *(["(words @@ %(compared)s::tsquery) IS TRUE"] if compared else []),
            *(self.range if in_range else [f"({condition}) IS TRUE" for condition in self.range]),
        ]

    def where(self, conditions: list[str], *, hidden: bool = False) -> str:
        """WHERE, for the half of the table and `conditions`. `hidden`: the half is compared, and leads to no index."""
        return " AND ".join([f"({self.half}) IS TRUE" if hidden else self.half, *conditions])

    def first(self, rows: str) -> str:
        """As many of the first `rows` as the page takes. The planner sees as many as any page takes."""
        return f"SELECT * FROM ({rows} LIMIT {MOST_LISTED + 1}) AS rows LIMIT %(limit)s::integer"

    def after_cursor(self, key: str) -> list[str]:
        """The condition that a row lies beyond the cursor, on the side that is read."""
        if self.position is None:
            return []
        moment = "::timestamptz" if self.sort in _MOMENTS else ""
        self.parameters |= {"cursor_key": self.position.key, "cursor_id": self.position.id}
        beyond = ("<" if self.descending else ">") + ("=" if self.position.inclusive else "")
        return [f"({key}, id) {beyond} (%(cursor_key)s{moment}, %(cursor_id)s::uuid)"]

    def order(self, key: str, row_id: str = "id") -> str:
        """ORDER BY, in the direction that is read."""
        direction = "DESC" if self.descending else "ASC"
        return f"ORDER BY {key} {direction}, {row_id} {direction}"

    def _read_key(self, key: str) -> object:
        """What no sort key can be makes an error in here, and not in PostgreSQL. Raises: ValueError, TypeError"""
        if self.sort in _MOMENTS:
            # Cursors have hours of the offset alone, and never another one.
            if not key.endswith("+00"):
                raise ValueError
            return TIMESTAMP.validate_python(f"{key}:00")
        if "\x00" in key:
            raise ValueError
        return key.encode()

    def _bound(self, column: str, operator: str, name: str, value: object) -> str:
        self.parameters[name] = value
        return f"{column} {operator} %({name})s{'::timestamptz' if column in _MOMENTS else ''}"

    def _terms(self, query: ListQuery) -> list[Term]:
        """Words and marks that a user has to have."""
        marks = [search_text.attribute_mark(key, value) for key, value in query.attributes.items()]
        if query.role is not None:
            marks.append(search_text.role_mark(query.role))
        if query.active is not None:
            marks.append(search_text.active_mark(query.active))
        terms = [*search_text.prefix_terms(query.q), *map(Term, marks)]
        self.parameters["words"] = search_text.query_text(terms, trashed=query.deleted)
        return terms
