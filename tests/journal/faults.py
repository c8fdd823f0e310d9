"""What a fault is, the table of all faults, and those of processes. Each ends with its block."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import psutil

from tests.journal.cluster import Cluster, Host

STUCK_S = 30.0
"""How long the replacement of a process that hangs may take: 20 s, and a busy machine."""

Breaker = Callable[[Cluster, Host, Random], Iterator[None]]


@dataclass(frozen=True)
class Fault:
    """How to break a cluster, or one of its hosts.

    on_host: whether it is for one host. bound_s: how long after its end the service may need to return by itself.
    is_possible: whether this machine has what it needs.
    """

    name: str
    breaks: Callable[[Cluster, Host, Random], contextlib.AbstractContextManager[None]]
    on_host: bool
    bound_s: float
    loses_sessions: bool
    is_possible: Callable[[Cluster], bool]


FAULTS: dict[str, Fault] = {}


def fault(
    name: str,
    *,
    on_host: bool = True,
    bound_s: float = 10.0,
    loses_sessions: bool = False,
    is_possible: Callable[[Cluster], bool] = lambda _: True,
) -> Callable[[Breaker], Breaker]:
    """Enter a generator function into FAULTS."""

    def enter(function: Breaker) -> Breaker:
        breaks = contextlib.contextmanager(function)
        FAULTS[name] = Fault(name, breaks, on_host, bound_s, loses_sessions, is_possible)
        return function

    return enter


def signal_all(processes: list[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to the processes that still run."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


@fault("web worker killed")
def worker_killed(_: Cluster, host: Host, random: Random) -> Iterator[None]:
    signal_all([random.choice(host.workers())], signal.SIGKILL)
    yield


@fault("both web workers killed")
def workers_killed(_: Cluster, host: Host, __: Random) -> Iterator[None]:
    signal_all(host.workers(), signal.SIGKILL)
    yield


@fault("web worker hung")
def worker_hung(_: Cluster, host: Host, random: Random) -> Iterator[None]:
    victims = [random.choice(host.workers())]
    signal_all(victims, signal.SIGSTOP)
    yield
    signal_all(victims, signal.SIGCONT)


@fault("web worker hung for good", bound_s=STUCK_S)
def worker_hung_for_good(_: Cluster, host: Host, random: Random) -> Iterator[None]:
    signal_all([random.choice(host.workers())], signal.SIGSTOP)
    yield


@fault("launcher killed", bound_s=15)
def launcher_killed(_: Cluster, host: Host, __: Random) -> Iterator[None]:
    """The host ends. The engine of containers, which is this test, starts it again."""
    signal_all([host.launcher()], signal.SIGKILL)
    yield
    host.service.kill()
    host.restart()


@fault("launcher hung")
def launcher_hung(_: Cluster, host: Host, random: Random) -> Iterator[None]:
    """While the launcher hangs, a worker ends that it has to replace later."""
    signal_all([host.launcher()], signal.SIGSTOP)
    signal_all([random.choice(host.workers())], signal.SIGKILL)
    yield
    signal_all([host.launcher()], signal.SIGCONT)


@fault("host restarted", bound_s=15)
def host_restarted(_: Cluster, host: Host, __: Random) -> Iterator[None]:
    host.service.end()
    yield
    host.restart()


@fault("host paused")
def host_paused(_: Cluster, host: Host, __: Random) -> Iterator[None]:
    """All of its processes hang, as by `docker pause`."""
    members = [host.launcher(), *host.workers(), *host.pollers()]
    signal_all(members, signal.SIGSTOP)
    yield
    signal_all(members, signal.SIGCONT)


@fault("change poller killed")
def poller_killed(_: Cluster, host: Host, __: Random) -> Iterator[None]:
    signal_all(host.pollers(), signal.SIGKILL)
    yield


@fault("change poller hung")
def poller_hung(_: Cluster, host: Host, __: Random) -> Iterator[None]:
    victims = host.pollers()
    signal_all(victims, signal.SIGSTOP)
    yield
    signal_all(victims, signal.SIGCONT)


@fault("change poller hung for good")
def poller_hung_for_good(_: Cluster, host: Host, __: Random) -> Iterator[None]:
    """Caches are bypassed until it is replaced, so nothing is unavailable."""
    signal_all(host.pollers(), signal.SIGSTOP)
    yield
