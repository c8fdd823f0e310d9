"""The base of the private servers: start, stop, kill, pause, resume, restart."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import psutil

from embedded import processes
from embedded.errors import ServerError
from embedded.lock import Lock
from embedded.ports import free_port, is_taken

NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class Server(ABC):
    """A server on 127.0.0.1 that lives no longer than this process and owns `data_dir`.

    Beside `data_dir` it keeps its log and its lock. `port` is 0 until the first start if
    none was asked for, then stays the same through stop, kill and start. Not thread-safe.
    """

    name: str  # for messages
    stop_signal: signal.Signals  # what ends it in order
    start_s = 30.0
    stop_s = 30.0

    def __init__(self, data_dir: Path, port: int, settings: Mapping[str, str]) -> None:
        self.data_dir = data_dir.resolve()
        self.port = port
        self.settings = settings
        self.log = self.data_dir.with_name(f"{self.data_dir.name}.log")
        self._lock = Lock(self.data_dir.with_name(f"{self.data_dir.name}.lock"))
        self._process: subprocess.Popen[bytes] | None = None
        self._waker: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The address for a client, with user and password."""

    @property
    def pid(self) -> int | None:
        """The id of the main process. None: it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the server, and wait until it accepts connections. No effect if it runs.

        Replaces a server that a killed process of ours left over.

        Raises: AlreadyInUse when another living process uses the folder; ServerError, with
            the end of the log, when it does not come up; OSError.
        """
        if self.pid is not None:
            return
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        try:
            self._end_leftover()
            self._prepare()
            self.port = self.port or free_port()
            self._launch()
            self._wait_ready()
        except BaseException:
            self.kill()
            self._lock.free()
            raise

    def stop(self) -> None:
        """Shut down the server, within 30 s."""
        if (pid := self.pid) is not None:
            self.resume()
            self._end(psutil.Process(pid))
        self._forget()

    def kill(self) -> None:
        """Kill all processes of the server."""
        if (pid := self.pid) is not None:
            processes.kill(psutil.Process(pid))
        self._forget(keep_lock=True)

    def pause(self) -> None:
        """Stop all processes with SIGSTOP: connections stay open, and nothing answers."""
        members = self._members()
        processes.send(members, signal.SIGSTOP)
        # Listed again: the main process may have started another one before it stopped.
        members = self._members()
        processes.send(members, signal.SIGSTOP)
        self._waker = self._waker or _waker(members)

    def resume(self) -> None:
        """Continue after `pause`."""
        processes.send(reversed(self._members()), signal.SIGCONT)
        self._dismiss_waker()

    def restart(self) -> None:
        """Stop and start on the same port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @abstractmethod
    def _prepare(self) -> None:
        """Prepare the data folder for a start."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the program and its arguments, `mark` among them."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Return whether the server accepts clients."""

    @property
    @abstractmethod
    def _pid_file(self) -> Path: ...

    @property
    @abstractmethod
    def _mark(self) -> str:
        """The argument that identifies the processes of this folder."""

    def _identity(self) -> str:
        return processes.SAME

    def _environment(self) -> dict[str, str]:
        return dict(os.environ)

    def _launch(self) -> None:
        if is_taken(self.port):
            raise ServerError(f"port {self.port}, asked for {self.name}, is taken")
        self.log.unlink(missing_ok=True)  # it may be another user's
        with self.log.open("xb") as log:
            self._process = processes.spawn(
                self._command(),
                death_signal=self.stop_signal,
                identity=self._identity(),
                env=self._environment(),
                output=log,
            )

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + self.start_s
        while not self._is_ready():
            if self.pid is None:
                raise ServerError(f"{self.name} ended at once. {self._log_end()}")
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name} took over {self.start_s:g} s. {self._log_end()}")
            time.sleep(processes.POLL_S)

    def _log_end(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-8:]
        return "\n  ".join([f"The end of {self.log}:", *lines])

    def _members(self) -> list[psutil.Process]:
        pid = self.pid
        return [] if pid is None else processes.family(psutil.Process(pid))

    def _end_leftover(self) -> None:
        """End a server of this folder whose parent has ended, if the kernel has not yet."""
        try:
            pid = int(self._pid_file.read_text().split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return
        if (process := processes.ours(pid, self._mark)) is not None:
            processes.send(processes.family(process), signal.SIGCONT)
            self._end(process)
        elif psutil.pid_exists(pid):
            # Another process has this id now, because of which PostgreSQL would refuse to start.
            self._pid_file.unlink()

    def _end(self, process: psutil.Process) -> None:
        processes.send([process], self.stop_signal)
        if not processes.wait_gone(process, self.stop_s):
            processes.kill(process)

    def _forget(self, *, keep_lock: bool = False) -> None:
        self._dismiss_waker()
        if self._process is not None:
            self._process.wait()
            self._process = None
        if not keep_lock:
            self._lock.free()

    def _dismiss_waker(self) -> None:
        if self._waker is not None:
            self._waker.kill()
            self._waker.communicate()
            self._waker = None


def _waker(members: list[psutil.Process]) -> subprocess.Popen[bytes]:
    """Start a shell that continues these processes when this one ends: stopped processes get no other signal."""
    script = 'read _; kill -CONT "$@" 2>/dev/null'
    pids = [str(process.pid) for process in members]
    return subprocess.Popen(["/bin/sh", "-c", script, "sh", *pids], stdin=subprocess.PIPE, start_new_session=True)
