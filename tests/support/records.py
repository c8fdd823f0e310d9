"""What was written and read on two hosts, and how long before a read what it missed was answered."""

import bisect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter


@dataclass(frozen=True, slots=True)
class Write:
    """A thing got its `version` by a host: it was sent and answered then."""

    sent: float
    answered: float
    host: int
    thing: str
    version: int


@dataclass(frozen=True, slots=True)
class Read:
    """A host showed a thing; `shown` is its version, or whether it is as it was at first (even versions)."""

    began: float
    ended: float
    host: int
    thing: str
    shown: int | bool


@dataclass
class Record:
    """All that was seen. Appending to a list is safe for threads."""

    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def lags(self) -> Iterator[tuple[float, Read]]:
        """How long before each read began a write that it missed was answered elsewhere; on its own host: infinite."""
        histories = {thing: _History(self.writes, thing) for thing in {read.thing for read in self.reads}}
        for read in self.reads:
            yield histories[read.thing].lag(read), read


class _History:
    """The writes of one thing."""

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
        """The latest version that can have looked as it was shown."""
        sent = self._sent[: bisect.bisect_left(self._sent, (read.ended,))]
        latest = max((version for _, version in sent), default=0)
        return latest if (latest % 2 == 0) == read.shown else latest - 1


class _Answered:
    """What one host answered, in time."""

    def __init__(self, writes: list[Write]) -> None:
        self._times = [one.answered for one in writes]
        self._versions = list(itertools.accumulate((one.version for one in writes), max))

    def missed(self, version: int, began: float) -> float:
        """For how long a later version was answered when a read of `version` began; 0: there was none."""
        first = bisect.bisect_right(self._versions, version)
        return max(0.0, began - self._times[first]) if first < len(self._times) else 0.0
