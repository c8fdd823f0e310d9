"""Rules on writes and the history: nothing is missing, doubled, out of order, or different from the table."""

from collections.abc import Iterator, Sequence
from typing import Any

from tests.journal.operations import Operation
from tests.journal.timeline import ACTIONS, Tables, Violation

FIELDS = ("username", "email", "name", "role", "active")


def missing_changes(operations: Sequence[Operation], tables: Tables) -> Iterator[Violation]:
    """Each acknowledged write has its entry in the history."""
    for write in _provable_writes(operations, tables):
        if write.outcome == "ok" and not tables.entries(write):
            yield Violation("missing", write.ended, f"{_text(write)} was acknowledged, and is not in the history")


def doubled_changes(operations: Sequence[Operation], tables: Tables) -> Iterator[Violation]:
    """No write has two entries, and no refused write has one."""
    for write in _provable_writes(operations, tables):
        found, allowed = len(tables.entries(write)), 0 if write.outcome == "refused" else 1
        if found > allowed:
            text = f"{_text(write)} ended as {write.outcome} ({write.status}), and is in the history {found} times"
            yield Violation("doubled", write.ended, text)


def wrong_answers_to_writes(operations: Sequence[Operation], tables: Tables) -> Iterator[Violation]:
    """The version that a write was answered with is the version of its entry."""
    for write in _provable_writes(operations, tables):
        if write.outcome == "ok" and write.target in write.shown and tables.entries(write):
            shown, stored = write.shown[write.target][0], tables.version(write)
            if shown != stored:
                yield Violation("versions", write.ended, f"{_text(write)} showed version {shown}, and made {stored}")


def version_gaps(_: Sequence[Operation], tables: Tables) -> Iterator[Violation]:
    """The versions of a user are 1, 2, 3 ... in the history."""
    for user_id, rows in tables.by_user.items():
        found = [row["version"] for row in rows]
        if found != list(range(1, len(found) + 1)):
            yield Violation("versions", 0, f"the versions of user {user_id} are {_excerpt(found)}")


def differing_histories(_: Sequence[Operation], tables: Tables) -> Iterator[Violation]:
    """Each row of the table is what its history says, and each entry continues from the one before."""
    rows = {row["id"]: row for row in tables.final.users}
    for user_id in rows.keys() | tables.by_user.keys():
        entries = tables.by_user.get(user_id, [])
        for problem in _row_problems(rows.get(user_id), entries, tables, user_id):
            yield Violation("history", 0, f"user {user_id}: {problem}")


def _row_problems(
    row: dict[str, Any] | None, entries: list[dict[str, Any]], tables: Tables, user_id: str
) -> Iterator[str]:
    if not entries:
        yield "the table has it, and the history does not"
        return
    last = max(tables.states[user_id].values(), key=lambda state: state.version)
    if row is None or last.action == "purged":
        if (row is None) != (last.action == "purged"):
            yield f"its last entry is {last.action}, and the table {'lacks' if row is None else 'has'} it"
        return
    yield from _broken_links(entries)
    if row["version"] != last.version:
        yield f"the table has version {row['version']}, the history {last.version}"
    if (row["deleted_at"] is None) != last.is_present:
        yield f"deleted_at is {row['deleted_at']}, and the last entry is {last.action}"
    for name in FIELDS:
        # A user that never had an email has no entry with one.
        if row.get(name) != (last.fields or {}).get(name):
            yield f"{name} is {row.get(name)!r} in the table, and {(last.fields or {}).get(name)!r} in the history"


def _broken_links(entries: list[dict[str, Any]]) -> Iterator[str]:
    """Changes whose old value is not the new value of the change before."""
    known: dict[str, Any] = {}
    for entry in entries:
        for change in entry["changes"]:
            name, old = change["field"], change.get("old")
            if name in FIELDS and known.get(name, old) != old:
                yield f"version {entry['version']} changes {name} from {old!r}, and it was {known[name]!r}"
            known[name] = change.get("new")


def _provable_writes(operations: Sequence[Operation], tables: Tables) -> Iterator[Operation]:
    """Writes whose entries can be found: not those of purged users, whose entries are anonymous."""
    for operation in operations:
        if operation.kind not in ACTIONS:
            continue
        if operation.target in tables.purged:
            continue
        yield operation


def _text(write: Operation) -> str:
    return f"{write.kind} number {write.number} of {write.client} ({write.interface}, host {write.host})"


def _excerpt(versions: list[int]) -> str:
    """The part of the versions around the first one that is out of order."""
    first = next(index for index, version in enumerate(versions) if version != index + 1)
    return f"... {versions[max(0, first - 2) : first + 3]} ..."
