"""Decides whether a journal and the tables after it keep the promises of docs/. It shares no code with the service."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from tests.journal import credential_rules, history_rules, read_rules, state_rules
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
    credential_rules.ended_credentials,
    credential_rules.returned_credentials,
    credential_rules.wrong_tokens,
    state_rules.duplicate_names,
    state_rules.missing_administrators,
)
FAULT_RULES = (credential_rules.refused_credentials, state_rules.late_returns)
"""Rules that depend on the faults as well."""


def check(journal: Journal, final: Final) -> list[Violation]:
    """All violations, and what went wrong in the run itself."""
    tables = Tables(final)
    operations = sorted(journal.operations, key=lambda one: one.began)
    rules = [*RULES, *(partial(rule, faults=journal.faults) for rule in FAULT_RULES)]
    found = [violation for rule in rules for violation in rule(operations, tables)]
    return [*found, *(Violation("run", 0, problem) for problem in journal.problems)]
