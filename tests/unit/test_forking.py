"""Workers are forked from a created application: safety and size."""

import pytest

from tests.support.app_processes import LINKS, output_of


@pytest.mark.parametrize("port", ["0", "9464"])
def test_the_launcher_and_its_workers_do_not_import_the_library_of_metrics(port: str) -> None:
    program = """
import app.__main__
app.__main__.Launcher(application)
print([name for name in sys.modules if name.startswith("prometheus_client")], len(os.listdir("/proc/self/task")))
"""
    assert output_of(program, METRICS_PORT=port) == "[] 1"


def test_a_created_application_has_no_connection_and_no_thread() -> None:
    assert output_of(LINKS) == "[] 1"


def test_a_server_imports_no_module_of_commands_and_migrations() -> None:
    program = "print([name for name in ('alembic', 'faker', 'flask_migrate', 'mako') if name in sys.modules])"
    assert output_of(program) == "[]"


def test_all_commands_are_listed() -> None:
    program = "print(sorted(application.cli.commands), 'migrate' in application.extensions)"
    assert output_of(program) == "['db', 'doctor', 'openapi', 'tokens', 'users'] True"


def test_forked_processes_create_different_ids_and_secrets() -> None:
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
    words = output_of(program).split()
    assert len(words) == 400
    assert len({word[-12:] for word in words}) == 400
