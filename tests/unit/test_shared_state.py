"""What the processes of one host tell each other."""

import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from app.infra.shared import Phase, SharedState


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
