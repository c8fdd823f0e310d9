"""`make run`, `make demo`, `make flask` and `make upgrade`: the service, PostgreSQL and Redis without Docker."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from embedded.errors import AlreadyInUse, ServerError
from embedded.ports import HOST, is_taken
from embedded.postgres import PROGRAMS, Postgres
from embedded.processes import POLL_S, spawn
from embedded.redis import Redis
from embedded.servers import Stack
from embedded.service import Service, exit_code
from embedded.state import Addresses, State
from embedded.upgrade import upgrade

ROOT = Path(__file__).resolve().parents[1]
SERVICE = (sys.executable, "-m", "app")
FLASK = (sys.executable, "-m", "flask", "--app", "app")
# Other variables that name a database or a cache. In the shell, they belong to another stack.
FOREIGN = {
    *("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"),
    *("POSTGRES_USER_FILE", "POSTGRES_PASSWORD_FILE", "POSTGRES_DB_FILE"),
    *("DATABASE_URL_FILE", "REDIS_URL_FILE", "REDIS_PASSWORD", "REDIS_PASSWORD_FILE"),
    *("REDIS_HOST", "REDIS_HOST_FILE", "REDIS_PORT", "REDIS_PORT_FILE", "PORT_FILE"),
}
LAST_PORT = 65_535
PAGES = (
    ("/", "the console; its first page creates the first administrator"),
    ("/api/docs", "the documentation of the API, where you can try it"),
    ("/api/users", "the users"),
    ("/api/health", "the health of the service"),
)


class Stop:
    """Set by Ctrl-C, SIGTERM or the loss of the terminal."""

    def __init__(self) -> None:
        # An exception in the middle of a start could leave a server behind.
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


def main(
    arguments: Sequence[str] | None = None,
    *,
    service: Sequence[str] = SERVICE,
    flask: Sequence[str] = FLASK,
) -> int:
    """Serve until a signal, add demo users, or run one command. Returns the exit code.

    `service` and `flask` are the commands to run, for tests.
    """
    options = _parse(arguments)
    stop = Stop()
    try:
        state = State(options.data)
        if options.demo is not None:
            return demo(state, options.postgres, options.demo, flask, stop)
        if options.upgrade:
            _lock(state)
            upgrade(state.folder, options.postgres, say)
            return 0
        if options.flask is not None:
            return command(state, options.postgres, [*flask, *options.flask], stop)
        return serve(state, options.postgres, service, stop)
    except (ServerError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def serve(state: State, version: int, command: Sequence[str], stop: Stop) -> int:
    """Run the service and its servers until `stop`, or until it ends."""
    began = time.monotonic()
    _lock(state)
    port = _port()
    with _servers(state, version) as addresses:
        if stop.asked:
            return 0
        say("Starting the service")
        service = Service(command, port, _environment(addresses, port), ROOT)
        try:
            return _watch(service, stop, port, began)
        finally:
            service.stop()


def demo(state: State, version: int, count: int, flask: Sequence[str], stop: Stop) -> int:
    """Add `count` users to the running stack of this folder, or to a temporary one."""
    with _running_or_own(state, version) as addresses:
        env = _environment(addresses, port=None)
        for arguments in (("db", "upgrade"), ("users", "demo", "--count", str(count))):
            say("Running flask " + " ".join(arguments))
            child = spawn([*flask, *arguments], death_signal=signal.SIGTERM, env=env, cwd=ROOT)
            if (code := _end_of(child, stop)) != 0:
                return code
    return 0


def command(state: State, version: int, words: Sequence[str], stop: Stop) -> int:
    """Run a command on the running stack of this folder, or on a temporary one. Only the command writes to stdout."""
    with contextlib.redirect_stdout(sys.stderr), _running_or_own(state, version) as addresses:
        env = _environment(addresses, port=None)
        child = spawn(words, death_signal=signal.SIGTERM, env=env, cwd=ROOT, source=sys.stdin.fileno())
        return _end_of(child, stop)


def _end_of(child: subprocess.Popen[bytes], stop: Stop) -> int:
    """Wait for a child process, or end it after `stop`. Returns its exit code."""
    while child.poll() is None:
        if stop.asked:
            child.terminate()
        time.sleep(POLL_S)
    return exit_code(child)


def say(line: str) -> None:
    """Print a line. Errors of a closed terminal are ignored, so that the servers are stopped."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m embedded.run", description=__doc__)
    parser.add_argument("--demo", type=int, metavar="N", help="add N users with believable names instead of serving")
    parser.add_argument("--upgrade", action="store_true", help="move the data to the version of --postgres instead")
    parser.add_argument("--flask", nargs=argparse.REMAINDER, metavar="WORD", help="run `flask WORD ...` instead")
    parser.add_argument("--postgres", type=int, choices=sorted(PROGRAMS), default=18)
    parser.add_argument("--data", type=Path, default=ROOT / ".data", metavar="DIR", help="default: .data")
    return parser.parse_args(arguments)


def _lock(state: State) -> None:
    try:
        state.lock.take()
    except AlreadyInUse:
        raise ServerError(
            f"already running from {state.folder} as process {state.lock.holder()}. "
            "Stop that one first (Ctrl-C in its terminal), or give this one its own "
            "folder and port: PORT=5001 make run DATA=.data2"
        ) from None


def _port() -> int:
    """Return the port of the service. Raises: ServerError, if it can't be used"""
    text = os.environ.get("PORT", "5000")
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= LAST_PORT):
        raise ServerError(f"PORT is {text!r}: it must be a number from 1 to {LAST_PORT}")
    port = int(text)
    try:
        taken = is_taken(port)
    except PermissionError:
        raise ServerError(f"port {port} is not for ordinary users: PORT=5000 make run") from None
    if taken:
        hint = " (on a Mac often by AirPlay)" if sys.platform == "darwin" else ""
        raise ServerError(
            f"port {port} is taken by another program{hint}. "
            f"Take another one: PORT={port + 1 if port < LAST_PORT else 5001} make run"
        )
    return port


@contextlib.contextmanager
def _servers(state: State, version: int) -> Iterator[Addresses]:
    """Run PostgreSQL and Redis with the data of the folder, and print their addresses."""
    folder = state.folder
    new = "" if (folder / "postgres").exists() else ", with a new database"
    say(f"Starting PostgreSQL {version} and Redis in {folder}{new}")
    stack = Stack(Postgres(folder / "postgres", version), Redis(folder / "redis"))
    stack.start()
    try:
        addresses = Addresses(stack.postgres.url, stack.redis.url)
        state.publish(addresses)
        say(f"PostgreSQL listens on {HOST}:{stack.postgres.port}, Redis on {stack.redis.port}")
        yield addresses
    finally:
        say("Stopping PostgreSQL and Redis")
        state.withdraw()
        stack.stop()


@contextlib.contextmanager
def _running_or_own(state: State, version: int) -> Iterator[Addresses]:
    """Find the running servers of the folder, or start them temporarily."""
    try:
        state.lock.take()
    except AlreadyInUse:
        # A stack that is starting writes its addresses when its servers run.
        addresses = state.published(wait_s=30)
        if addresses is None:
            raise
        yield addresses
    else:
        with _servers(state, version) as own:
            yield own


def _environment(addresses: Addresses, port: int | None) -> Mapping[str, str]:
    env = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    env |= {"DATABASE_URL": addresses.database_url, "REDIS_URL": addresses.redis_url}
    env |= {"PUBLISHED_ADDRESS": HOST, "LISTEN_ADDRESS": HOST, "FLASK_APP": "app"}
    return env if port is None else env | {"PORT": str(port)}


def _watch(service: Service, stop: Stop, port: int, began: float) -> int:
    """Wait until `stop`, or until the service ends. Print when it is ready. Returns the exit code."""
    # Ten times a second, since each request is a line in the log of the service.
    ready = False
    while not stop.asked:
        if (code := service.exit_code()) is not None:
            say(f"The service ended by itself with code {code}")
            return code
        if not ready and (ready := service.is_ready()):
            say(f"Ready after {time.monotonic() - began:.1f} s. Ctrl-C stops everything.")
            for path, meaning in PAGES:
                say(f"  http://localhost:{port}{path:12} {meaning}")
        time.sleep(0.1)
    say("Stopping the service")
    return 0


if __name__ == "__main__":
    sys.exit(main())
