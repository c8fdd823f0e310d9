"""What the processes of one host tell each other."""

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.infra.shared import EVERY_WRITE, SLOTS, Phase, SharedState, slot_of
from tests.support.leases import stamps


@pytest.fixture
def opened():
    made: list[SharedState] = []

    def open_state(path: Path) -> SharedState:
        made.append(SharedState(path))
        return made[-1]

    yield open_state
    for state in made:
        state.close()


def test_a_new_state_is_unmanaged_and_trusted(tmp_path: Path, opened) -> None:
    state = opened(tmp_path / "state")
    assert state.phase is Phase.UNMANAGED
    assert state.trusted
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600


def test_what_one_says_the_other_sees_at_once(tmp_path: Path, opened) -> None:
    one, other = opened(tmp_path / "state"), opened(tmp_path / "state")
    one.phase = Phase.DRAINING
    assert other.phase is Phase.DRAINING
    one.doubt()
    assert not other.trusted
    other.settle(other.doubts)
    assert one.trusted


def test_a_doubt_that_comes_while_another_is_settled_stays(tmp_path: Path, opened) -> None:
    state = opened(tmp_path / "state")
    state.doubt()
    seen = state.doubts
    state.doubt()
    state.settle(seen)
    assert not state.trusted
    state.settle(state.doubts)
    assert state.trusted


def test_settling_an_old_doubt_late_does_not_bring_back_distrust_for_good(tmp_path: Path, opened) -> None:
    """Two probes settle at once, the slower one with an older number: at worst it is settled once more."""
    state = opened(tmp_path / "state")
    state.doubt()
    old = state.doubts
    state.doubt()
    state.settle(state.doubts)
    state.settle(old)
    state.settle(state.doubts)
    assert state.trusted


def _doubt_often(path: str) -> None:
    state = SharedState(Path(path))
    for _ in range(500):
        state.doubt()
    state.close()


def test_no_doubt_is_lost_between_processes(tmp_path: Path, opened) -> None:
    state = opened(tmp_path / "state")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_doubt_often, args=(str(tmp_path / "state"),)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert state.doubts == 1500


def test_no_doubt_is_lost_between_threads(tmp_path: Path, opened) -> None:
    state = opened(tmp_path / "state")
    threads = [threading.Thread(target=lambda: [state.doubt() for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state.doubts == 8000


def test_a_link_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "state").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        SharedState(tmp_path / "state")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(bytes(64))
    os.chown(path, 65534, 65534)
    with pytest.raises(PermissionError, match="STATE_FILE"):
        SharedState(path)


def _touch(path: str, slots: list[int]) -> None:
    state = SharedState(Path(path))
    if slots:
        state.touch(slots)
    else:
        state.touch_all()
    state.close()


def test_another_process_sees_which_slots_were_touched_and_only_those(tmp_path: Path, opened) -> None:
    state = opened(tmp_path / "state")
    state.touch_all()
    before = stamps(state)
    run(_touch, str(tmp_path / "state"), [7, EVERY_WRITE, SLOTS - 1])
    changed = [slot for slot, stamp in enumerate(before) if state.stamp(slot) != stamp]
    assert changed == [EVERY_WRITE, 7, SLOTS - 1]


def test_everything_can_be_touched_at_once(tmp_path: Path, opened) -> None:
    state, before = opened(tmp_path / "state"), [0] * SLOTS
    for _ in range(2):
        run(_touch, str(tmp_path / "state"), [])
        assert all(state.stamp(slot) != stamp for slot, stamp in enumerate(before))
        before = stamps(state)


def test_touching_leaves_all_else_as_it_is(tmp_path: Path, opened) -> None:
    state = opened(tmp_path / "state")
    state.phase, state.closed, state.lease[0] = Phase.SERVING, True, 1 << 62
    state.doubt()
    head = (host := state.host, Phase.SERVING, True, 1 << 62, 1, False)
    state.touch([0, 1, SLOTS - 1])
    state.touch_all()
    assert (state.host, state.phase, state.closed, state.lease[0], state.doubts, state.trusted) == head
    assert host


def test_a_stamp_never_comes_again(tmp_path: Path, opened) -> None:
    """Also when several touch one slot at once: a counter would lose a step, and give a stamp twice."""
    state, seen = opened(tmp_path / "state"), set[int]()

    def touch() -> None:
        for _ in range(2000):
            state.touch([5])
            seen.add(state.stamp(5))

    threads = [threading.Thread(target=touch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) > 2000
    assert 0 not in seen


def test_the_lease_is_one_for_all_processes(tmp_path: Path, opened) -> None:
    one, other = opened(tmp_path / "state"), opened(tmp_path / "state")
    assert one.lease[0] == 0, "nobody may use memory before somebody has heard what others wrote"
    one.lease[0] = 123
    assert other.lease[0] == 123


def test_processes_of_one_host_know_each_other_and_no_other_host(tmp_path: Path, opened) -> None:
    one, other, third = (opened(tmp_path / name) for name in ("state", "state", "another"))
    assert one.host == other.host != 0
    assert third.host not in (one.host, 0)


def test_an_older_smaller_file_is_extended(tmp_path: Path, opened) -> None:
    """One of an earlier version, that may still be in use: what it says stays."""
    path = tmp_path / "state"
    # Phase, doubts, settled, closed: 64 bytes were all that there was.
    path.write_bytes(b"".join(number.to_bytes(8, "little") for number in (2, 3, 2, 1)) + bytes(32))
    inode = path.stat().st_ino
    state = opened(path)
    assert path.stat().st_size >= 64 + 8 * SLOTS
    assert path.stat().st_ino == inode, "it is the same file for those who have it open"
    assert (state.phase, state.doubts, state.trusted, state.closed) == (Phase.SERVING, 3, False, True)
    assert (state.lease[0], set(stamps(state))) == (0, {0})
    assert state.host
    state.touch([SLOTS - 1])
    assert opened(path).stamp(SLOTS - 1) == state.stamp(SLOTS - 1) != 0


def test_the_slot_of_a_key_is_the_same_in_another_process() -> None:
    keys = ["", "user:0", "standing:ffff", "token:é田", *(f"k{number}" for number in range(50))]
    code = f"from app.infra.shared import slot_of; print([slot_of(key) for key in {keys!r}])"
    env = {**os.environ, "PYTHONHASHSEED": "123", "PYTHONIOENCODING": "utf-8"}
    printed = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout
    assert printed.strip() == str([slot_of(key) for key in keys])


def test_no_key_falls_into_the_slot_of_every_write_and_all_slots_are_used_alike() -> None:
    slots = [slot_of(f"user:{number}") for number in range(200_000)]
    assert min(slots) > EVERY_WRITE
    assert max(slots) < SLOTS
    # By chance, 9 % of 200,000 keys would fall into one of 2^20 slots that another has.
    assert len(set(slots)) > 0.9 * len(slots)


def run(target, *args) -> None:
    """Call it in a process of its own, to its end."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=args)
    process.start()
    process.join()
    assert process.exitcode == 0
