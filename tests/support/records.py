"""Records writes and reads on two hosts, and computes how stale each read was."""

import bisect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter


@dataclass(frozen=True, slots=True)
class Write:
    """A write that gave a thing its `version`. Times are of time.monotonic()."""

    sent: float
    answered: float
    host: int
    thing: str
    version: int


@dataclass(frozen=True, slots=True)
class Read:
    """A read of a thing. `shown`: its version; or True if the thing is in its first state, which even versions have."""

    began: float
    ended: float
    host: int
    thing: str
    shown: int | bool


@dataclass
class Record:
    """All writes, reads and faults. Threads may append to these lists."""

    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def lags(self) -> Iterator[tuple[float, Read]]:
        """Each read, and how long before its start the first missed write was answered; infinite on the same host."""
        histories = {thing: _History(self.writes, thing) for thing in {read.thing for read in self.reads}}
        for read in self.reads:
            yield histories[read.thing].lag(read), read


class _History:
    """The writes to one thing."""

    def __init__(self, writes: list[Write], thing: str) -> None:
        mine = sorted((one for one in writes if one.thing == thing), key=attrgetter("answered"))
        self._sent = sorted((one.sent, one.version) for one in mine)
        self._hosts = [_Answered([one for one in mine if one.host == host]) for host in (0, 1)]

    def lag(self, read: Read) -> float:
        version = self._latest_of(read) if isinstance(read.shown, bool) else read.shown
        own, other = self._hosts[read.host], self._hosts[1 - read.host]
        if own.missed(version, read.began) > 0:
            return float("inf")
        return other.missed(version, read.began)

    def _latest_of(self, read: Read) -> int:
        """The latest version with the shown state that was sent before the read ended."""
        sent = self._sent[: bisect.bisect_left(self._sent, (read.ended,))]
        latest = max((version for _, version in sent), default=0)
        return latest if (latest % 2 == 0) == read.shown else latest - 1


class _Answered:
    """The writes that one host answered, in order of time."""

    def __init__(self, writes: list[Write]) -> None:
        self._times = [one.answered for one in writes]
        self._versions = list(itertools.accumulate((one.version for one in writes), max))

    def missed(self, version: int, began: float) -> float:
        """Seconds from the response to a later version until a read of `version` began; 0 without a later version."""
        first = bisect.bisect_right(self._versions, version)
        return max(0.0, began - self._times[first]) if first < len(self._times) else 0.0
