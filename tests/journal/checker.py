"""Decides whether a journal and the tables after it keep the promises of docs/. It shares no code with the service."""

from collections.abc import Callable, Iterator, Sequence

from tests.journal import history_rules, read_rules
from tests.journal.operations import Final, Journal, Operation
from tests.journal.timeline import Tables, Violation

Rule = Callable[[Sequence[Operation], Tables], Iterator[Violation]]

RULES: tuple[Rule, ...] = (
    history_rules.missing_changes,
    history_rules.doubled_changes,
    history_rules.wrong_answers_to_writes,
    history_rules.version_gaps,
    history_rules.differing_histories,
    read_rules.stale_reads,
    read_rules.backward_reads,
    read_rules.wrong_reads,
    read_rules.unexpected_answers,
)


def check(journal: Journal, final: Final) -> list[Violation]:
    """All violations, and what went wrong in the run itself."""
    tables = Tables(final)
    operations = sorted(journal.operations, key=lambda one: one.began)
    found = [violation for rule in RULES for violation in rule(operations, tables)]
    return [*found, *(Violation("run", 0, problem) for problem in journal.problems)]
