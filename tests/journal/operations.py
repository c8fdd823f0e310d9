"""The journal: what each client did, and what it was told. One operation is one line of JSON.

Times are of time.monotonic(), which all processes of a machine share.
"""

import itertools
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["ok", "refused", "unknown"]
"""unknown: a 503, a time-out or a cut connection. A write with this outcome may have happened, or may still happen."""


@dataclass(frozen=True)
class Operation:
    """One request, command or statement. Its number is unique; `request_id` is in the history entries of its change.

    host: None for commands and SQL, which use no host. kind: create, update, delete, restore, purge or read users;
    begin, use or end a token or session; set: another write. target: the id of a user, or the name of a credential.
    marker: the name that a write gave to its user, unique among all writes. error: why there was no answer.
    shown: for each user in the answer [version, name], or None if it is absent. valid: whether a credential worked.
    """

    number: int
    client: str
    interface: str
    host: int | None
    kind: str
    target: str
    began: float
    ended: float = 0.0
    outcome: Outcome = "unknown"
    status: int | None = None
    marker: str | None = None
    error: str = ""
    shown: dict[str, Any] = field(default_factory=dict)
    valid: bool | None = None

    @property
    def request_id(self) -> str:
        return f"journal-{self.number}"


@dataclass(frozen=True)
class FaultRecord:
    """A fault that was present from `began` to `ended`. target: the host or server that it was for.

    returned: when all parts of the service worked again; None if they did not within `bound_s` after `ended`.
    """

    name: str
    target: str
    began: float
    ended: float
    returned: float | None
    bound_s: float
    loses_sessions: bool = False


@dataclass(frozen=True)
class Final:
    """The tables after the run: each row as a dictionary of its columns. `history` is in the order of its ids."""

    users: list[dict[str, Any]]
    history: list[dict[str, Any]]
    tokens: list[dict[str, Any]]


class Journal:
    """Collects operations and faults. Threads may call all methods."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.faults: list[FaultRecord] = []
        self.problems: list[str] = []
        self._numbers = itertools.count(1)

    def next_number(self) -> int:
        return next(self._numbers)

    def add(self, operation: Operation, **changed: Any) -> Operation:
        """Append an operation with these fields changed. Returns it."""
        done = replace(operation, **changed)
        self.operations.append(done)
        return done

    def write(self, path: Path) -> None:
        """Write one operation or fault per line, in the order of their beginnings."""
        entries: Iterable[Operation | FaultRecord] = [*self.operations, *self.faults]
        with path.open("w") as lines:
            for entry in sorted(entries, key=lambda one: one.began):
                lines.write(json.dumps({"type": type(entry).__name__, **asdict(entry)}) + "\n")


def write_tables(final: Final, path: Path) -> None:
    """Write the rows of all tables as JSON."""
    path.write_text(json.dumps(asdict(final), default=str))
