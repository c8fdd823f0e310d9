"""The commands of the README work from top to bottom, without Docker."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from embedded.ports import free_port
from tests.support import readme
from tests.support.markdown import ROOT
from tests.support.shell import Shell


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl, which the README types")
@pytest.mark.timeout(300)
def test_the_readme_can_be_typed_from_top_to_bottom_without_docker(tmp_path: Path) -> None:
    """Each command of the path without Docker succeeds, in the order in which it is printed."""
    port = str(free_port())
    env = {**os.environ, "PORT": port, "DATA": str(tmp_path / "data")}
    start, *rest = readme.commands("Without Docker")
    assert start == "make run"
    with (tmp_path / "run.log").open("w") as log:
        running = subprocess.Popen(["make", "run"], cwd=ROOT, env=env, stdout=log, stderr=log)
    try:
        with Shell(ROOT, env) as shell:
            ready = f"curl -s --retry 60 --retry-all-errors --retry-delay 1 http://localhost:{port}/api/health/ready"
            typed = shell.type(ready)
            assert typed.status == 0, f"{typed}\n{(tmp_path / 'run.log').read_text()}"
            readme.check(readme.walk(shell, rest, port, tmp_path))
    finally:
        running.terminate()
        assert running.wait(60) is not None
