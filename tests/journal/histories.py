"""Builds small journals with the tables that belong to them, for tests of the checker."""

import copy
from typing import Any, Self

from tests.journal.checker import check
from tests.journal.operations import FaultRecord, Final, Journal, Operation

ADA = "00000000-0000-7000-8000-000000000001"
BOB = "00000000-0000-7000-8000-000000000002"


class HistoryBuilder:
    """A run that keeps all promises as long as only its methods are used. Each operation takes 10 ms, then 1 s pass."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.users: dict[str, dict[str, Any]] = {}
        self.history: list[dict[str, Any]] = []
        self.now = 100.0

    def operation(self, kind: str, target: str = ADA, **fields: Any) -> Operation:
        """Add an operation. By default it is acknowledged by host 0."""
        number, began = self.journal.next_number(), self.now
        marker = f"n{number}" if kind in ("create", "update") else None
        self.now += 1.0
        defaults: dict[str, Any] = {"outcome": "ok", "status": 200, "marker": marker, "ended": began + 0.01, "host": 0}
        return self.journal.add(
            Operation(number, "client", "token", None, kind, target, began), **{**defaults, **fields}
        )

    def enter(self, operation: Operation, action: str, **new: Any) -> None:
        """Add the history entry of an operation, and change the row of its user."""
        row = self.users.setdefault(operation.target, {"id": operation.target, "version": 0, "deleted_at": None})
        changes = [{"field": name, "old": row.get(name), "new": value} for name, value in new.items()]
        row.update(new, version=row["version"] + 1, deleted_at="now" if action == "deleted" else None)
        fields = {"user_id": operation.target, "version": row["version"], "action": action, "changes": changes}
        self.history.append({"id": len(self.history) + 1, "request_id": operation.request_id, **fields})

    def create(self, user_id: str = ADA, **fields: Any) -> Operation:
        operation = self.operation("create", user_id)
        given = {
            "username": f"user-{user_id[-1]}",
            "name": operation.marker,
            "role": "member",
            "active": True,
            **fields,
        }
        self.enter(operation, "created", **given)
        return operation

    def update(self, user_id: str = ADA, **fields: Any) -> Operation:
        operation = self.operation("update", user_id, **fields)
        self.enter(operation, "changed", name=operation.marker)
        return operation

    def delete(self, user_id: str = ADA, **fields: Any) -> Operation:
        operation = self.operation("delete", user_id, status=204, **fields)
        self.enter(operation, "deleted")
        return operation

    def read(self, user_id: str = ADA, shown: Any = "now", **fields: Any) -> Operation:
        """Read a user. shown: [version, name], None for absent, or its present state."""
        row = self.users[user_id]
        state = None if row["deleted_at"] else [row["version"], row["name"]]
        return self.operation("read", user_id, shown={user_id: state if shown == "now" else shown}, **fields)

    def fault(self, seconds: float) -> FaultRecord:
        """A fault that begins now. The next operation begins one second after its end."""
        self.journal.faults.append(
            FaultRecord("db killed", "", self.now, self.now + seconds, self.now + seconds + 0.5, 5.0)
        )
        self.now += seconds + 1
        return self.journal.faults[-1]

    def pass_seconds(self, seconds: float) -> Self:
        """Let the next operation begin that much later, or earlier, than one second after the one before."""
        self.now += seconds
        return self

    def final(self) -> Final:
        return Final(list(copy.deepcopy(self.users).values()), copy.deepcopy(self.history), [])

    def violations(self, final: Final | None = None) -> set[str]:
        """The rules that the checker says are broken."""
        found = check(self.journal, final or self.final())
        for violation in found:
            print(violation)  # noqa: T201 - shown if a test fails
        return {violation.rule for violation in found}
