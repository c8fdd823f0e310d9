"""What the tables say after a run: the states of each user, and the history entries of each operation."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.journal.operations import Final, Operation

RECORD_ACTIONS = ("created", "changed", "deleted", "restored", "purged")
ACTIONS = {
    "create": "created",
    "update": "changed",
    "delete": "deleted",
    "restore": "restored",
    "purge": "purged",
}
"""The action that each kind of write has in the history. Other kinds may have several, or none."""
UNPROVEN = ("sql", "cli")
"""Interfaces whose history entries have no request id. They are found by the name that they gave."""


@dataclass(frozen=True)
class Violation:
    """A promise that was broken, by the operation or entry of time `at`."""

    rule: str
    at: float
    sentence: str


@dataclass(frozen=True)
class State:
    """A user after a change. fields: None if the user was purged, since the history no longer has them."""

    version: int
    action: str
    fields: dict[str, Any] | None

    @property
    def is_present(self) -> bool:
        return self.action not in ("deleted", "purged")


@dataclass(frozen=True)
class Tables:
    """`Final`, with look-ups."""

    final: Final
    _by_request: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for entry in self.final.history:
            if entry["request_id"]:
                self._by_request[entry["request_id"]].append(entry)

    @cached_property
    def by_user(self) -> dict[str, list[dict[str, Any]]]:
        """The entries of each user that changed its record."""
        found = defaultdict(list)
        for entry in self.final.history:
            if entry["user_id"] and entry["action"] in RECORD_ACTIONS:
                found[entry["user_id"]].append(entry)
        return found

    @cached_property
    def states(self) -> dict[str, dict[int, State]]:
        """For each user its states by version."""
        return {user_id: {state.version: state for state in _replay(rows)} for user_id, rows in self.by_user.items()}

    @cached_property
    def purged(self) -> set[str]:
        return {user_id for user_id, rows in self.by_user.items() if rows[-1]["action"] == "purged"}

    @cached_property
    def _by_name(self) -> dict[Any, list[dict[str, Any]]]:
        found = defaultdict(list)
        for rows in self.by_user.values():
            for entry in rows:
                for change in entry["changes"]:
                    if change["field"] == "name":
                        found[change["new"]].append(entry)
        return found

    def entries(self, operation: Operation) -> list[dict[str, Any]]:
        """The entries of the change that an operation asked for."""
        by_name = operation.interface in UNPROVEN and operation.marker is not None
        rows = self._by_name[operation.marker] if by_name else self._by_request[operation.request_id]
        return [row for row in rows if row["action"] == ACTIONS.get(operation.kind)]

    def version(self, operation: Operation) -> int | None:
        """The version that a write gave to its user. None: no entry says so."""
        rows = self.entries(operation)
        return rows[0]["version"] if rows else None


def _replay(rows: Iterable[dict[str, Any]]) -> Iterable[State]:
    rows = list(rows)
    fields: dict[str, Any] | None = None if rows[-1]["action"] == "purged" else {}
    for row in rows:
        if fields is not None:
            fields = fields | {change["field"]: change.get("new") for change in row["changes"]}
        yield State(row["version"], row["action"], fields)
