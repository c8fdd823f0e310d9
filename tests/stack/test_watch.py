"""`docker compose watch`: what is saved is served."""

import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.stack.compose import ENVIRON, ROOT, Stack, wait_until


def test_a_saved_file_is_served_while_compose_watches(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    # On a copy: the user's files are not for tests to edit.
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    stack = new_stack("watch", root=tmp_path)
    stack.up("web")
    log = tmp_path / "watch.log"
    # There it keeps who watches, by a number that may have become another process's since an earlier run.
    env = {**ENVIRON, "XDG_RUNTIME_DIR": str(tmp_path)}
    with log.open("wb") as output:
        watching = subprocess.Popen(
            stack.command("watch", "web"), cwd=tmp_path, env=env, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            wait_until(lambda: "Watch enabled" in log.read_text() or watching.poll() is not None, "compose watches")
            assert watching.poll() is None, log.read_text()
            source = tmp_path / "app" / "version.py"
            source.write_text(source.read_text().replace('VERSION = "', 'VERSION = "edited-'))
            wait_until(
                lambda: b'"version":"edited-' in stack.get("/api/openapi.json").body,
                "the edit is served",
            )
        finally:
            watching.send_signal(signal.SIGINT)
            watching.wait(60)
