"""A host accepts only values that include every change known to the host."""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.cache.generations import Generations, clock_ns
from app.cache.known_changes import KnownChanges, PollResult, Snapshot
from tests.support.leases import FOREVER_NS

FORK = multiprocessing.get_context("fork")
XIDS = st.integers(4, 60)
EMPTY = Snapshot(100, 100, ())


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """As PostgreSQL makes them: those in progress lie from xmin on, below xmax."""
    in_progress = draw(st.frozensets(XIDS, max_size=12))
    xmax = draw(st.integers(max(in_progress, default=3) + 1, 70))
    return Snapshot(min(in_progress, default=xmax), xmax, tuple(sorted(in_progress)))


def sees(snapshot: Snapshot, xid: int) -> bool:
    """The model: whether the transaction was over when the snapshot was taken."""
    return xid < snapshot.xmax and xid not in snapshot.in_progress


@given(snapshots(), XIDS)
def test_a_snapshot_includes_exactly_the_ended_transactions(snapshot: Snapshot, xid: int) -> None:
    assert snapshot.sees(xid) == sees(snapshot, xid)
    text = f"{snapshot.xmin}:{snapshot.xmax}:{','.join(map(str, snapshot.in_progress))}"
    assert Snapshot.parse(text) == snapshot


@given(snapshots(), st.lists(XIDS, max_size=10), st.sets(XIDS, max_size=20), st.integers(0, 60))
@example(Snapshot(10, 20, (10, 15)), [12], set(), 9)
@example(Snapshot(10, 20, (10, 15)), [15], set(), 9)
@example(Snapshot(10, 20, (10, 15)), [], set(), 10)
def test_a_poll_result_accepts_only_snapshots_that_include_every_known_change(
    read_at: Snapshot, xids: list[int], forgotten: set[int], floor: int
) -> None:
    """`forgotten`: heard, too, but only remembered as being at most `floor`."""
    heard = {*xids, *(xid for xid in forgotten if xid <= floor)}
    accepts = PollResult(0, "i", EMPTY, tuple(xids), floor).accepts(read_at)
    if accepts:
        assert all(sees(read_at, xid) for xid in heard)
    elif floor < read_at.xmin:
        # The floor alone may refuse what it need not.
        assert not all(sees(read_at, xid) for xid in xids)


@pytest.fixture
def generations() -> Iterator[Generations]:
    with closing(Generations(2)) as made:
        made.prolong_lease(FOREVER_NS)
        yield made


@pytest.fixture
def known(generations: Generations) -> Iterator[KnownChanges]:
    with closing(KnownChanges(generations)) as made:
        yield made


def poll_result(xids: tuple[int, ...] = (), snapshot: Snapshot = EMPTY) -> PollResult:
    return PollResult(clock_ns(), "1/2/3", snapshot, xids, 7)


def test_there_is_no_poll_result_before_the_first_poll(known: KnownChanges) -> None:
    assert known.last_poll(["users"]) is None


def test_every_process_reads_a_published_poll_result(known: KnownChanges) -> None:
    published = poll_result((8, 9), Snapshot(10, 20, (10, 15)))
    child = FORK.Process(target=known.publish, args=(published,))
    child.start()
    child.join(10)
    assert known.last_poll(["users"]) == published
    later = poll_result((8, 9, 12))
    known.publish(later)
    assert known.last_poll(["users"]) == later


def test_without_a_lease_there_is_no_poll_result(known: KnownChanges, generations: Generations) -> None:
    known.publish(poll_result())
    generations.prolong_lease(clock_ns() - 1)
    assert known.last_poll(["users"]) is None


def test_a_change_by_this_host_must_first_be_seen_by_the_poller(known: KnownChanges, generations: Generations) -> None:
    """The poller may have asked before it was committed."""
    known.publish(poll_result())
    generations.invalidate(["users"])
    assert known.last_poll(["users"]) is None
    assert known.last_poll(["other"]) is not None
    known.publish(poll_result((11,)))
    assert known.last_poll(["users"]) is not None


def test_the_largest_poll_result_fits(known: KnownChanges) -> None:
    greatest = 2**63
    in_progress = tuple(range(greatest - 40_000, greatest))
    known.publish(
        PollResult(greatest, "9" * 100, Snapshot(in_progress[0], greatest, in_progress), in_progress[:256], 1)
    )
    found = known.last_poll([])
    assert found is not None
    assert (found.xids, found.snapshot.in_progress) == (in_progress[:256], in_progress)


def test_a_reader_never_gets_half_of_a_poll_result(known: KnownChanges) -> None:
    """Another process publishes results of different lengths all the time."""

    def publish() -> None:
        number = 0
        while True:
            number += 1
            xids = tuple([number] * (1 + number % 200))
            known.publish(PollResult(FOREVER_NS, str(number), Snapshot(number, number, ()), xids, number))

    poller = FORK.Process(target=publish, daemon=True)
    poller.start()
    seen, began = set(), time.monotonic()
    try:
        # Longer on a busy machine.
        while time.monotonic() < began + 1 or (len(seen) <= 20 and time.monotonic() < began + 20):
            found = known.last_poll(["users"])
            if found is not None:
                assert set(found.xids) == {found.floor} == {int(found.incarnation)} == {found.snapshot.xmax}
                seen.add(found.floor)
    finally:
        poller.kill()
        poller.join()
    assert len(seen) > 20


def test_a_poller_that_is_killed_while_it_publishes_hides_its_result_until_the_next_one(known: KnownChanges) -> None:
    def publish() -> None:
        while True:
            known.publish(poll_result(tuple(range(200))))

    for _ in range(20):
        poller = FORK.Process(target=publish, daemon=True)
        poller.start()
        time.sleep(0.02)
        poller.kill()
        poller.join()
        found = known.last_poll(["users"])
        # Killed before it began, on a busy machine: the last result is still there.
        assert found is None or found.xids in (tuple(range(200)), (1,))
        last = poll_result((1,))
        known.publish(last)
        assert known.last_poll(["users"]) == last
