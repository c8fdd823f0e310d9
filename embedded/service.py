"""The service as a child process."""

import contextlib
import http.client
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from embedded import processes
from embedded.ports import HOST

READY_PATH = "/api/health/ready"
STOP_S = 12.0  # above the 10 s in which the service drains


class Service:
    """A running service. Its output goes to `output`, by default to that of this process, with which it ends."""

    def __init__(
        self, command: Sequence[str], port: int, env: Mapping[str, str], cwd: Path, output: IO[bytes] | None = None
    ) -> None:
        self._port = port
        self._process = processes.spawn(command, death_signal=signal.SIGTERM, env=env, cwd=cwd, output=output)

    @property
    def pid(self) -> int:
        """The process of the launcher."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return the exit code as in a shell. None: the service runs."""
        return None if self._process.poll() is None else exit_code(self._process)

    def is_ready(self) -> bool:
        """Return whether the service is ready. It waits for at most 2 s."""
        client = http.client.HTTPConnection(HOST, self._port, timeout=2)
        try:
            client.request("GET", READY_PATH)
            return client.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            client.close()

    def stop(self) -> None:
        """Let the service finish its requests for at most 12 s, then kill it and its children."""
        if self._process.poll() is None:
            main = psutil.Process(self._process.pid)
            processes.send([main], signal.SIGTERM)
            if not processes.wait_gone(main, STOP_S):
                processes.kill(main)
        # Its workers may still run. They have the process group of the service.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def exit_code(ended: subprocess.Popen[bytes]) -> int:
    """Return the exit code of an ended process as in a shell: 128 + the signal."""
    code = ended.wait()
    return code if code >= 0 else 128 - code
