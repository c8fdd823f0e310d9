"""The faults: each breaks something inside its block, and mends it at the end."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import psutil

from tests.journal.cluster import Cluster, Host, wait_until

REPLACED_S = 30.0
"""How long the replacement of a process that hangs may take: 20 s, and a busy machine."""


@dataclass(frozen=True)
class Fault:
    """How to break a cluster. on_host: whether it is for one host, which `target` of a step names."""

    name: str
    breaks: Callable[..., contextlib.AbstractContextManager[None]]
    on_host: bool = True


FAULTS: dict[str, Fault] = {}


def fault(
    name: str, *, on_host: bool = True
) -> Callable[[Callable[..., Iterator[None]]], Callable[..., Iterator[None]]]:
    """Enter a generator function into FAULTS."""

    def enter(function: Callable[..., Iterator[None]]) -> Callable[..., Iterator[None]]:
        FAULTS[name] = Fault(name, contextlib.contextmanager(function), on_host)
        return function

    return enter


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


@fault("web worker killed")
def worker_killed(_: Cluster, host: Host, random: Random) -> Iterator[None]:
    _signal([random.choice(host.workers())], signal.SIGKILL)
    yield
    assert wait_until(lambda: len(host.workers()) == 2, REPLACED_S), "no worker replaced the one that was killed"


@fault("change poller killed")
def poller_killed(_: Cluster, host: Host, __: Random) -> Iterator[None]:
    _signal(host.pollers(), signal.SIGKILL)
    yield
