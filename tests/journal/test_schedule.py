"""Schedules of faults: the same seed gives the same one, and a schedule that fails is shrunk."""

from tests.journal.schedule import FAULTS, Step, as_code, random_schedule, shrink

NAMES = ["a", "b", "c"]


def steps(*names: str) -> list[Step]:
    return [Step(name, 0, 1.0, 1.0, number) for number, name in enumerate(names)]


def test_a_seed_repeats_a_schedule() -> None:
    assert random_schedule("7", 100, NAMES) == random_schedule("7", 100, NAMES)
    assert random_schedule("7", 100, NAMES) != random_schedule("8", 100, NAMES)


def test_each_fault_comes_before_any_comes_again() -> None:
    found = [step.fault for step in random_schedule("7", 60, NAMES)]
    assert len(found) > 9
    assert all(set(found[begin : begin + 3]) == set(NAMES) for begin in range(0, 9, 3))


def test_the_code_of_a_schedule_is_the_schedule() -> None:
    made = random_schedule("7", 10, list(FAULTS))
    assert eval(as_code(made)) == made  # noqa: S307 - it is ours


def test_a_schedule_is_shrunk_to_the_faults_that_are_needed() -> None:
    made = steps(*"xxaxxxbxx")
    found = shrink(made, lambda some: {"a", "b"} <= {step.fault for step in some}, 100)
    assert [step.fault for step in found] == ["a", "b"]


def test_a_schedule_that_fails_rarely_is_kept() -> None:
    made = steps("a", "b", "c")
    assert shrink(made, lambda _: False, 100) == made


def test_shrinking_is_bounded() -> None:
    runs = []
    shrink(steps(*"abcdefgh"), lambda some: bool(runs.append(some)), 5)
    assert len(runs) == 5
