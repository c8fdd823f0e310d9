"""Rules on reads: none is staler than promised, and what they show is what the history says."""

import bisect
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tests.journal.operations import Operation
from tests.journal.timeline import ACTIONS, Tables, Violation

PROMISE_S = 0.1
"""How much later than on the same host a change may be seen on another host."""


class Bounds:
    """The highest of the versions that were known before a time."""

    def __init__(self, known: Iterable[tuple[float, int]]) -> None:
        ordered = sorted(known)
        self._times = [time for time, _ in ordered]
        self._versions = list(itertools.accumulate((version for _, version in ordered), max))

    def before(self, time: float) -> int:
        index = bisect.bisect_left(self._times, time)
        return self._versions[index - 1] if index else 0


def stale_reads(operations: Sequence[Operation], tables: Tables) -> Iterator[Violation]:
    """A read sees each write that was acknowledged before: on its host at once, on another one 100 ms later."""
    written = defaultdict(list)
    for write in operations:
        version = tables.version(write) if write.outcome == "ok" and write.kind in ACTIONS else None
        if version is not None and write.target:
            written[write.target].append((write.host, write.ended, version))
    bounds = {
        (user_id, host): Bounds((ended, version) for found, ended, version in rows if found == host or host is None)
        for user_id, rows in written.items()
        for host in (None, 0, 1)
    }
    empty = Bounds([])
    for read, user_id, shown in _shown(operations):
        own = bounds.get((user_id, read.host), empty).before(read.began)
        needed = max(own, bounds.get((user_id, None), empty).before(read.began - PROMISE_S))
        if _shows_older(shown, needed, user_id, tables):
            source = f"read {read.number} ({read.interface}, host {read.host}) of user {user_id}"
            yield Violation("stale", read.began, f"{source} showed {shown}, not version {needed}")


def backward_reads(operations: Sequence[Operation], tables: Tables) -> Iterator[Violation]:
    """100 ms after a read has ended, no read on any host shows an older version."""
    seen = defaultdict(list)
    for read, user_id, shown in _shown(operations):
        if shown is not None:
            seen[user_id].append((read.ended, shown[0]))
    bounds = {user_id: Bounds(rows) for user_id, rows in seen.items()}
    for read, user_id, shown in _shown(operations):
        needed = bounds[user_id].before(read.began - PROMISE_S) if user_id in bounds else 0
        if _shows_older(shown, needed, user_id, tables):
            text = f"read {read.number} of user {user_id} showed {shown}, and an earlier read showed version {needed}"
            yield Violation("versions", read.began, text)


def wrong_reads(operations: Sequence[Operation], tables: Tables) -> Iterator[Violation]:
    """The version and name that a read shows are a state of the history in which the user was present."""
    for read, user_id, shown in _shown(operations):
        state = tables.states.get(user_id, {}).get(shown[0]) if shown else None
        if shown is None or (state and state.is_present and (state.fields or {}).get("name", shown[1]) == shown[1]):
            continue
        yield Violation("history", read.began, f"read {read.number} of user {user_id} showed {shown}, which never was")


def unexpected_answers(operations: Sequence[Operation], _: Tables) -> Iterator[Violation]:
    """No answer is an error of the server, except 503; and no valid request is refused."""
    for one in operations:
        status = one.status or 0
        # Redis may lose sessions, so the clients with sessions sign in again.
        refusals = (403, 429) if one.interface in ("session", "console") else (401, 403, 429)
        if (status >= 500 and status != 503) or (one.kind == "read" and status in refusals):
            yield Violation("answers", one.ended, f"{one.kind} {one.number} of {one.client} was answered with {status}")


def _shown(operations: Sequence[Operation]) -> Iterator[tuple[Operation, str, Any]]:
    """What the answers to reads and writes show: the operation, the user, and [version, name] or None."""
    for operation in operations:
        if operation.outcome == "ok" or operation.status == 404:
            for user_id, shown in operation.shown.items():
                yield operation, user_id, shown


def _shows_older(shown: Any, needed: int, user_id: str, tables: Tables) -> bool:
    """Whether an answer is from before version `needed`; absent: whether the user was never absent since then."""
    if shown is not None:
        return bool(shown[0] < needed)
    states = tables.states.get(user_id, {})
    return needed > 0 and all(state.is_present for version, state in states.items() if version >= needed)
