"""Rules on tokens and sessions: an ended one stays ended, and a valid one is accepted."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from tests.journal.operations import FaultRecord, Operation
from tests.journal.read_rules import PROMISE_S
from tests.journal.timeline import Tables, Violation

ENDED = (200, 204, 404)
"""Answers to the end of a credential after which it has ended; 404 says that it had ended before."""


def ended_credentials(operations: Sequence[Operation], _: Tables) -> Iterator[Violation]:
    """A credential that was ended is not accepted: on the same host at once, on another one after 100 ms."""
    ends = defaultdict(list)
    for end in operations:
        if end.kind == "end" and end.status in ENDED:
            ends[end.target].append(end)
    for use in operations:
        if use.kind != "use" or not use.valid:
            continue
        for end in ends[use.target]:
            if use.began > end.ended + (0 if end.host == use.host else PROMISE_S):
                late = f"{use.began - end.ended:.3f} s after its end on host {end.host}"
                yield Violation("ended", use.began, f"{use.target} was accepted on host {use.host}, {late}")
                break


def returned_credentials(operations: Sequence[Operation], _: Tables) -> Iterator[Violation]:
    """100 ms after a credential was refused, it is never accepted."""
    refused: dict[str, float] = {}
    uses = [one for one in operations if one.kind == "use" and one.valid is not None]
    for use in uses:
        if use.valid is False:
            refused[use.target] = min(use.ended, refused.get(use.target, use.ended))
    for use in uses:
        if use.valid and use.began > refused.get(use.target, use.began) + PROMISE_S:
            yield Violation("ended", use.began, f"{use.target} was accepted after it had been refused")


def refused_credentials(
    operations: Sequence[Operation], _: Tables, faults: Sequence[FaultRecord] = ()
) -> Iterator[Violation]:
    """A credential that nobody tried to end is accepted, 100 ms after its begin. Redis may lose sessions."""
    begins = {one.target: one for one in operations if one.kind == "begin" and one.outcome == "ok"}
    ends: dict[str, float] = {}
    for one in operations:
        if one.kind == "end":
            ends.setdefault(one.target, one.began)
    for use in operations:
        if use.kind != "use" or use.valid is not False or use.target not in begins:
            continue
        begun = begins[use.target]
        is_lost = begun.interface == "session" and any(
            fault.loses_sessions and begun.began < fault.ended and fault.began < use.ended for fault in faults
        )
        if use.began > begun.ended + PROMISE_S and use.ended < ends.get(use.target, float("inf")) and not is_lost:
            yield Violation("answers", use.began, f"{use.target} was refused on host {use.host}, and was not ended")


def wrong_tokens(operations: Sequence[Operation], tables: Tables) -> Iterator[Violation]:
    """The table has each token that nobody tried to end, and none that was ended."""
    stored = {f"token {row['id']}" for row in tables.final.tokens}
    tried = {one.target for one in operations if one.kind == "end"}
    for one in operations:
        is_token = one.kind == "begin" and one.target.startswith("token") and one.outcome == "ok"
        if is_token and one.target not in tried | stored:
            yield Violation("missing", one.ended, f"{one.target} was created, and is not in the table")
        if one.kind == "end" and one.status in ENDED and one.target in stored:
            yield Violation("ended", one.ended, f"{one.target} was ended, and is in the table")
