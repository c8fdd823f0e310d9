"""Rules on all users together: unique names, the last administrator; and on the service: it returns by itself."""

import itertools
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from tests.journal.operations import FaultRecord, Operation
from tests.journal.timeline import RECORD_ACTIONS, Tables, Violation

SETTLED_S = 1.0
"""How long after its return the service may give 503: a probe may have missed one of the workers."""
BUSY_SHARE = 0.02
"""The share of operations that may fail without a fault, because the machine that runs all of this is busy."""
SLOW_S = 1.0
"""A request without an answer for this time is counted as one that the service could not answer."""


def duplicate_names(operations: Sequence[Operation], tables: Tables) -> Iterator[Violation]:
    """No two users outside the trash have the same username or email: not now, and at no time."""
    holders: dict[str, str] = {}
    for row in tables.final.users:
        for key in _keys(row) if row["deleted_at"] is None else ():
            if holders.setdefault(key, row["id"]) != row["id"]:
                yield Violation("unique", 0, f"{key} is a name of {row['id']} and of {holders[key]}")
    held = defaultdict(list)
    for user_id, began, ended in _lifetimes(operations):
        created = tables.states.get(user_id, {}).get(1)
        for key in _keys(created.fields or {}) if created else ():
            held[key].append((began, ended, user_id))
    for key, lifetimes in held.items():
        for (_, ended, first), (began, _, second) in itertools.pairwise(sorted(lifetimes)):
            if began < ended:
                yield Violation("unique", began, f"{key} was given to {second} while it was a name of {first}")


def _lifetimes(operations: Sequence[Operation]) -> Iterator[tuple[str, float, float]]:
    """Each created user, and the time from its creation to the first attempt to delete it."""
    ends: dict[str, float] = {}
    for one in operations:
        if one.kind in ("delete", "purge") and one.outcome != "refused":
            ends.setdefault(one.target, one.began)
    for one in operations:
        if one.kind == "create" and one.outcome == "ok":
            yield one.target, one.ended, ends.get(one.target, float("inf"))


def missing_administrators(_: Sequence[Operation], tables: Tables) -> Iterator[Violation]:
    """From the first administrator on, there is always one who can sign in."""
    present: set[str] = set()
    for entry, fields in _replay(tables):
        had_one = bool(present)
        is_admin = fields["is_present"] and fields.get("active") and fields.get("role") == "admin"
        (present.add if is_admin and fields["has_password"] else present.discard)(entry["user_id"])
        if had_one and not present:
            yield Violation("administrator", 0, f"entry {entry['id']} removed the last administrator")
    rows = [row for row in tables.final.users if row["role"] == "admin" and row["active"] and row["deleted_at"] is None]
    if present and not any(row.get("password_hash") for row in rows):
        yield Violation("administrator", 0, "the table has no administrator who can sign in")


def late_returns(operations: Sequence[Operation], _: Tables, faults: Sequence[FaultRecord] = ()) -> Iterator[Violation]:
    """After each fault all parts of the service work again in time, and until the next fault they are available."""
    ordered = sorted(faults, key=lambda fault: fault.began)
    ends = [*(fault.began for fault in ordered[1:]), float("inf")]
    for fault, until in zip(ordered, ends, strict=False):
        if fault.returned is None or fault.returned > fault.ended + fault.bound_s:
            text = f"{fault.name}, {fault.target}: the service did not return within {fault.bound_s} s"
            yield Violation("availability", fault.ended, text)
            continue
        since = fault.returned + SETTLED_S
        mine = [one for one in operations if since < one.began and one.ended < until]
        failed = [one for one in mine if is_unavailable(one)]
        if len(failed) > len(mine) * BUSY_SHARE:
            one = failed[0]
            first = f"first {one.kind} {one.number} of {one.client}: {one.status or one.error}"
            text = f"after the end of {fault.name}, {len(failed)} of {len(mine)} operations failed, {first}"
            yield Violation("availability", one.began, text)


def is_unavailable(one: Operation) -> bool:
    """Whether the service gave no answer, or 503. A connection that ends with its worker is no such case."""
    if one.host is None:
        return False
    has_no_answer = one.status is None and (one.error == "ConnectionRefusedError" or one.ended - one.began > SLOW_S)
    return one.status == 503 or has_no_answer


def _keys(fields: dict[str, Any]) -> set[str]:
    """The username and email in a form in which equal ones are equal. (All names in a journal are ASCII.)"""
    values = (fields.get("username"), fields.get("email"))
    return {unicodedata.normalize("NFKC", value).casefold() for value in values if value}


def _replay(tables: Tables) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each entry in the order of the history, with the fields of its user after it. Purged users are left out."""
    users: dict[str, dict[str, Any]] = {}
    for entry in tables.final.history:
        user_id = entry["user_id"]
        if user_id in tables.purged or entry["action"] not in RECORD_ACTIONS:
            continue
        fields = users.setdefault(user_id, {"has_password": False})
        fields.update({change["field"]: change.get("new") for change in entry["changes"]})
        fields["has_password"] |= any(change["field"] == "password" for change in entry["changes"])
        fields["is_present"] = entry["action"] != "deleted"
        yield entry, fields
