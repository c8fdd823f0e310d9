"""The checker on credentials, names, administrators and the return of the service: wrong journals and right ones."""

import pytest

from tests.journal.checker import RULES
from tests.journal.histories import BOB, HistoryBuilder
from tests.journal.operations import FaultRecord, Final, Operation

TOKEN, SESSION = "token 1", "session 2"


@pytest.fixture
def made() -> HistoryBuilder:
    """A run with two users. Bob is an administrator who can sign in."""
    builder = HistoryBuilder()
    builder.create()
    builder.create(BOB, role="admin", password=None)
    builder.users[BOB]["password_hash"] = "a hash"
    return builder


def begin(made: HistoryBuilder, name: str) -> Operation:
    return made.operation("begin", name, interface="session" if name is SESSION else "token")


def use(made: HistoryBuilder, name: str, *, valid: bool, host: int = 0) -> Operation:
    return made.operation("use", name, valid=valid, host=host, status=200 if valid else 401)


def with_tokens(made: HistoryBuilder, *ids: str) -> Final:
    found = made.final()
    return Final(found.users, found.history, [{"id": token_id} for token_id in ids])


@pytest.mark.parametrize("name", [TOKEN, SESSION])
@pytest.mark.parametrize("status", [204, 404])
def test_an_ended_credential_that_is_accepted_is_found(made: HistoryBuilder, name: str, status: int) -> None:
    begin(made, name)
    use(made, name, valid=True)
    made.operation("end", name, status=status)
    use(made, name, valid=False)
    assert made.violations() == set()
    use(made, name, valid=True)
    assert made.violations() == {"ended"}


@pytest.mark.parametrize(("host", "later_s", "rules"), [(0, 0.001, {"ended"}), (1, 0.05, set()), (1, 0.11, {"ended"})])
def test_another_host_accepts_an_ended_credential_for_100_ms_at_most(
    made: HistoryBuilder, host: int, later_s: float, rules: set[str]
) -> None:
    begin(made, TOKEN)
    made.operation("end", TOKEN, status=204, host=0)
    made.pass_seconds(-1 + 0.01 + later_s)
    use(made, TOKEN, valid=True, host=host)
    assert made.violations() == rules


def test_a_refused_credential_that_is_accepted_later_is_found_also_if_its_end_is_unknown(made: HistoryBuilder) -> None:
    begin(made, SESSION)
    made.operation("end", SESSION, status=503, outcome="unknown")
    use(made, SESSION, valid=True)
    use(made, SESSION, valid=False)
    assert made.violations() == set()
    use(made, SESSION, valid=True)
    assert made.violations() == {"ended"}


def test_a_credential_that_is_refused_and_was_not_ended_is_found(made: HistoryBuilder) -> None:
    begin(made, TOKEN)
    use(made, TOKEN, valid=False)
    assert made.violations(with_tokens(made, "1")) == {"answers"}


@pytest.mark.parametrize(("loses", "rules"), [(True, set()), (False, {"answers"})])
def test_a_session_may_be_lost_with_redis_and_only_then(made: HistoryBuilder, loses: bool, rules: set[str]) -> None:
    begin(made, SESSION)
    now = made.now
    made.journal.faults.append(FaultRecord("cache", "", now, now + 1, now + 1, 5.0, loses_sessions=loses))
    made.pass_seconds(3)
    use(made, SESSION, valid=False)
    assert made.violations() == rules


def test_a_created_token_that_the_table_lacks_is_found(made: HistoryBuilder) -> None:
    begin(made, TOKEN)
    assert made.violations(with_tokens(made, "1")) == set()
    assert made.violations() == {"missing"}


def test_an_ended_token_that_the_table_has_is_found(made: HistoryBuilder) -> None:
    begin(made, TOKEN)
    made.operation("end", TOKEN, status=204)
    assert made.violations() == set()
    assert made.violations(with_tokens(made, "1")) == {"ended"}


@pytest.mark.parametrize(
    "fields", [{"username": "USER-1"}, {"email": "user-1"}, {"username": "\uff55ser-1"}], ids=["case", "email", "width"]
)
def test_a_name_that_two_users_have_is_found(made: HistoryBuilder, fields: dict[str, str]) -> None:
    made.create("third", **fields)
    assert made.violations() == {"unique"}


def test_a_name_that_two_users_had_for_a_while_is_found(made: HistoryBuilder) -> None:
    made.create("third", username="same")
    made.delete("third")
    made.create("fourth", username="same")
    made.delete("fourth")
    assert made.violations() == set()
    first, second = made.create("fifth", username="other"), made.create("sixth", username="other")
    made.delete(first.target)
    made.delete(second.target)
    assert made.violations() == {"unique"}


@pytest.mark.parametrize("change", [{"role": "member"}, {"active": False}])
def test_a_last_administrator_who_is_lowered_is_found(made: HistoryBuilder, change: dict[str, object]) -> None:
    made.enter(made.operation("set", BOB), "changed", **change)
    assert "administrator" in made.violations()


def test_a_last_administrator_who_was_away_for_a_while_is_found(made: HistoryBuilder) -> None:
    made.enter(made.operation("set", BOB), "changed", role="member")
    made.enter(made.operation("set", BOB), "changed", role="admin")
    assert made.violations() == {"administrator"}


def test_an_administrator_who_cannot_sign_in_does_not_count(made: HistoryBuilder) -> None:
    made.create("third", role="admin")
    made.enter(made.operation("delete", BOB), "deleted")
    assert made.violations() == {"administrator"}


def test_one_of_two_administrators_may_be_removed(made: HistoryBuilder) -> None:
    made.create("third", role="admin", password=None)
    made.users["third"]["password_hash"] = "a hash"
    made.enter(made.operation("delete", BOB), "deleted")
    assert made.violations() == set()


def test_a_service_that_returns_in_time_passes(made: HistoryBuilder) -> None:
    made.operation("update", outcome="unknown", status=503)
    made.fault(3)
    made.pass_seconds(2)
    made.update()
    assert made.violations() == set()


@pytest.mark.parametrize(("status", "error"), [(503, ""), (None, "ConnectionRefusedError")])
def test_a_service_that_is_unavailable_after_a_fault_is_found(
    made: HistoryBuilder, status: int | None, error: str
) -> None:
    made.fault(3)
    made.pass_seconds(2)
    made.operation("update", outcome="unknown", status=status, error=error)
    assert made.violations() == {"availability"}


@pytest.mark.parametrize("returned", [None, 120.0])
def test_a_service_that_returns_too_late_is_found(made: HistoryBuilder, returned: float | None) -> None:
    made.journal.faults.append(FaultRecord("db killed", "", 101.0, 102.0, returned, 5.0))
    assert made.violations() == {"availability"}


def test_a_client_that_failed_is_found(made: HistoryBuilder) -> None:
    made.journal.problems.append("writer 1: KeyError")
    assert made.violations() == {"run"}


def test_each_rule_says_what_it_is_for() -> None:
    assert all(rule.__doc__ for rule in RULES)
