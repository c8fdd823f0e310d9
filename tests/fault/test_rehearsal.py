"""What is rehearsed before workers are forked, with PostgreSQL and without."""

from pathlib import Path

from embedded import Stack
from tests.support.app_processes import LINKS, printed


def test_an_application_has_no_connection_and_no_thread_after_a_rehearsal_of_which_nothing_is_seen(
    tmp_path: Path, servers: Stack
) -> None:
    program = f"""
from app.rehearsal import rehearse
rehearse(application)
print(application.extensions["fullstack"].engine.dialect.server_version_info is not None)
{LINKS}"""
    assert printed(program, tmp_path, servers.postgres.url) == "True\n[] 1"
    assert printed(program, tmp_path) == "False\n[] 1", "it does without PostgreSQL"
