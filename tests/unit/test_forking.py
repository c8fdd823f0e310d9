"""Workers are forked with an application that is made already: what that needs to be safe, and to be small."""

import multiprocessing
import threading
from pathlib import Path

from app.infra.shared import SharedState
from tests.support.app_processes import LINKS, printed

_FORK = multiprocessing.get_context("fork")


def test_an_application_that_was_made_has_no_connection_and_no_thread(tmp_path: Path) -> None:
    assert printed(LINKS, tmp_path) == "[] 1"


def test_a_server_loads_nothing_that_only_commands_and_migrations_need(tmp_path: Path) -> None:
    program = "print([name for name in ('alembic', 'faker', 'flask_migrate', 'mako') if name in sys.modules])"
    assert printed(program, tmp_path) == "[]"


def test_who_looks_for_a_command_finds_all(tmp_path: Path) -> None:
    program = "print(sorted(application.cli.commands), 'migrate' in application.extensions)"
    assert printed(program, tmp_path) == "['db', 'doctor', 'openapi', 'tokens', 'users'] True"


def test_forked_processes_make_ids_and_secrets_of_their_own(tmp_path: Path) -> None:
    program = """
import secrets
from uuid_utils.compat import uuid7
uuid7()
for _ in range(2):
    if os.fork() == 0:
        print(*(f"{uuid7()} {secrets.token_hex()}" for _ in range(100)), flush=True)
        os._exit(0)
    os.wait()
"""
    words = printed(program, tmp_path).split()
    assert len(words) == 400
    assert len({word[-12:] for word in words}) == 400


def test_a_process_waits_for_the_turn_of_one_that_was_forked(tmp_path: Path) -> None:
    state, has_turn, may_end = SharedState(tmp_path / "state"), _FORK.Event(), _FORK.Event()

    def take_turn() -> None:
        with state.locked():
            has_turn.set()
            may_end.wait(10)

    other = _FORK.Process(target=take_turn, daemon=True)
    other.start()
    assert has_turn.wait(10)
    doubter = threading.Thread(target=state.doubt, daemon=True)
    doubter.start()
    doubter.join(0.3)
    doubts = state.doubts
    may_end.set()
    doubter.join(10)
    other.join(10)
    assert (doubts, state.doubts) == (0, 1)
    state.close()
