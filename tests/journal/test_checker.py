"""The checker: journals that are wrong on purpose, at least one for each rule, and right ones."""

import pytest

from tests.journal.histories import ADA, BOB, HistoryBuilder


@pytest.fixture
def made() -> HistoryBuilder:
    """A run with two users and three changes."""
    builder = HistoryBuilder()
    builder.create()
    builder.create(BOB)
    for _ in range(3):
        builder.update()
        builder.read()
    return builder


def test_a_right_journal_passes(made: HistoryBuilder) -> None:
    made.delete()
    made.read()
    made.read(status=404)
    assert made.violations() == set()


def test_a_write_without_an_answer_may_have_happened_once_or_not(made: HistoryBuilder) -> None:
    unknown = {"outcome": "unknown", "status": None}
    made.update(**unknown)
    made.operation("update", **unknown)
    made.operation("create", "", **unknown)
    made.read()
    assert made.violations() == set()


def test_a_refused_write_leaves_nothing(made: HistoryBuilder) -> None:
    made.operation("update", outcome="refused", status=409)
    assert made.violations() == set()
    made.update(outcome="refused", status=409)
    assert made.violations() == {"doubled"}


def test_an_acknowledged_change_that_is_missing_is_found(made: HistoryBuilder) -> None:
    made.operation("update")
    assert made.violations() == {"missing"}


def test_an_acknowledged_change_that_only_the_history_lost_is_found(made: HistoryBuilder) -> None:
    final = made.final()
    final.history.pop()
    assert made.violations(final) >= {"missing", "history"}


@pytest.mark.parametrize("outcome", ["ok", "unknown"])
def test_a_doubled_change_is_found(made: HistoryBuilder, outcome: str) -> None:
    made.enter(made.update(outcome=outcome), "changed", name="again")
    assert made.violations() == {"doubled"}


def test_a_create_that_made_two_users_is_found(made: HistoryBuilder) -> None:
    final = made.final()
    first = final.history[0]
    final.history.append({**first, "id": 99, "user_id": "another"})
    final.users.append({**final.users[0], "id": "another", "version": 1, "name": first["changes"][1]["new"]})
    assert made.violations(final) == {"doubled", "unique"}


def test_a_version_that_is_skipped_is_found(made: HistoryBuilder) -> None:
    made.users[ADA]["version"] += 1
    made.update()
    assert made.violations() == {"versions"}


def test_an_answer_with_the_version_of_another_write_is_found(made: HistoryBuilder) -> None:
    made.update(shown={ADA: [3, "n5"]})
    assert "versions" in made.violations()


@pytest.mark.parametrize(
    ("field", "value"), [("name", "other"), ("role", "admin"), ("active", False), ("version", 9), ("deleted_at", "now")]
)
def test_a_row_that_differs_from_its_history_is_found(made: HistoryBuilder, field: str, value: object) -> None:
    final = made.final()
    final.users[0][field] = value
    assert made.violations(final) == {"history"}


def test_a_row_without_history_and_a_history_without_row_are_found(made: HistoryBuilder) -> None:
    final = made.final()
    gone = final.users.pop(1)
    assert made.violations(final) == {"history"}
    final.users.append({**gone, "id": "unheard of"})
    assert made.violations(final) == {"history"}


def test_an_entry_that_does_not_continue_from_the_one_before_is_found(made: HistoryBuilder) -> None:
    final = made.final()
    final.history[3]["changes"][0]["old"] = "something else"
    assert made.violations(final) == {"history"}


def test_on_the_same_host_a_read_that_misses_a_write_is_found(made: HistoryBuilder) -> None:
    before = made.read().shown[ADA]
    made.update(host=1)
    made.pass_seconds(-0.98)
    made.read(shown=before, host=0)
    assert made.violations() == set()
    made.pass_seconds(-0.99)
    made.read(shown=before, host=1)
    assert made.violations() == {"stale"}


def test_on_another_host_a_read_that_misses_a_write_of_100_ms_ago_is_found(made: HistoryBuilder) -> None:
    before = made.read().shown[ADA]
    made.update(host=1)
    made.pass_seconds(-0.88)
    made.read(shown=before, host=0)
    assert made.violations() == {"stale"}


@pytest.mark.parametrize("interface", ["sql", "cli"])
def test_a_change_from_outside_that_no_host_shows_after_100_ms_is_found(made: HistoryBuilder, interface: str) -> None:
    before = made.read().shown[ADA]
    made.update(host=None, interface=interface)
    made.history[-1]["request_id"] = None
    made.read(shown=before, host=0)
    assert made.violations() == {"stale"}


def test_a_deleted_user_that_is_still_shown_is_found(made: HistoryBuilder) -> None:
    before = made.read().shown[ADA]
    made.delete()
    made.read(shown=before)
    assert made.violations() == {"stale"}


def test_a_user_that_is_not_shown_after_its_creation_is_found(made: HistoryBuilder) -> None:
    made.read(shown=None, status=404, outcome="refused")
    assert "stale" in made.violations()


def test_reads_that_go_back_are_found_also_if_no_write_was_acknowledged(made: HistoryBuilder) -> None:
    before = made.read().shown[ADA]
    made.update(outcome="unknown", status=503)
    made.read(shown=before)
    made.read()
    assert made.violations() == set()
    made.read(shown=before)
    assert made.violations() == {"versions"}


def test_a_read_of_what_never_was_is_found(made: HistoryBuilder) -> None:
    version, _ = made.read().shown[ADA]
    made.read(shown=[version, "never"])
    assert made.violations() == {"history"}


@pytest.mark.parametrize("status", [500, 502])
def test_an_error_of_the_server_is_found(made: HistoryBuilder, status: int) -> None:
    made.operation("update", status=status, outcome="unknown")
    assert made.violations() == {"answers"}


def test_a_valid_read_that_is_refused_is_found(made: HistoryBuilder) -> None:
    made.operation("read", status=401, outcome="refused")
    assert made.violations() == {"answers"}
