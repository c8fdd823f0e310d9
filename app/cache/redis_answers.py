"""A cache-aside cache of expensive answers (searches, counts, pages) in Redis, which all hosts share.

Each value contains a snapshot of PostgreSQL from before it was read. A host uses a value only if its snapshot includes
all changes that the host knows: its poller publishes them. So values are never deleted, and a restored Redis returns no
outdated value.
"""

import contextlib
import functools
import mmap
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

import orjson
from redis.exceptions import OutOfMemoryError, RedisError

from app.cache.generations import USERS_KEY, Generations
from app.cache.redis_client import connected
from app.cache.single_flight import SingleFlight
from app.ops.circuit_breaker import CircuitBreaker

_PREFIX = "fsa:answer:3:"
"""It contains the version of the format of values."""
_MAX_VALUE_BYTES = 2**20
_MEMORY_BYTES = 1 << 16
_HEAD_BYTES = 16
"""Two numbers: the sequence number of the poll result, and its length."""
_MAX_TRIES = 100
_MAX_IN_PROGRESS = 500


class Snapshot(NamedTuple):
    """A snapshot of PostgreSQL (pg_snapshot, section 9.27 of the manual)."""

    xmin: int
    xmax: int
    in_progress: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        """Read `xmin:xmax:xid,xid`. Raises: ValueError"""
        xmin, xmax, xids = text.split(":")
        return cls(int(xmin), int(xmax), tuple(map(int, filter(None, xids.split(",")))))

    def sees(self, xid: int) -> bool:
        """Whether the transaction `xid` had ended when the snapshot was taken."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.in_progress)

    def shortened(self) -> "Snapshot":
        """A snapshot with a bounded list. It sees a subset of the transactions that this one sees."""
        if len(self.in_progress) <= _MAX_IN_PROGRESS:
            return self
        kept = tuple(sorted(self.in_progress))
        return Snapshot(self.xmin, kept[_MAX_IN_PROGRESS], kept[:_MAX_IN_PROGRESS])


class PollResult(NamedTuple):
    """What the poller knows after a poll.

    began_ns: the start of the poll (clock_ns). incarnation: of the database. snapshot: of the poll. xids: the last
    transactions that changed users. floor: the maximum of all earlier ones.
    """

    began_ns: int
    incarnation: str
    snapshot: Snapshot
    xids: tuple[int, ...]
    floor: int

    def accepts(self, read_at: Snapshot) -> bool:
        """Whether a value that was read at a snapshot includes all changes that the poller has found."""
        return self.floor < read_at.xmin and all(map(read_at.sees, self.xids))


class KnownChanges:
    """The result of the last poll, in memory that all processes of the host share.

    A seqlock protects it: only one process writes.
    """

    def __init__(self, generations: Generations) -> None:
        self._generations = generations
        self._memory = mmap.mmap(-1, _MEMORY_BYTES)
        self._numbers = memoryview(self._memory)[:_HEAD_BYTES].cast("Q")
        self._last: tuple[int, PollResult] | None = None

    def publish(self, poll: PollResult) -> None:
        """Replace the result. For the poller."""
        data = orjson.dumps((poll.began_ns, poll.incarnation, [*poll.snapshot.shortened()], poll.xids, poll.floor))
        # The sequence number is odd during a write, also if the writer was killed.
        writing = self._numbers[0] | 1
        self._numbers[0] = writing
        self._numbers[1] = len(data)
        self._memory[_HEAD_BYTES : _HEAD_BYTES + len(data)] = data
        self._numbers[0] = writing + 1

    def last_poll(self, keys: Iterable[str]) -> PollResult | None:
        """The result of the last poll. None: there is no lease, or it lacks a change of `keys` by this host."""
        if not self._generations.has_lease():
            return None
        poll = self._read()
        changed_ns = self._generations.latest(self._generations.slots_of(keys), by_poller=False)
        # The poller has found the changes that this host made before the poll began.
        return poll if poll is not None and changed_ns < poll.began_ns else None

    def close(self) -> None:
        """Release the memory in this process."""
        self._numbers.release()
        self._memory.close()

    def _read(self) -> PollResult | None:
        for _ in range(_MAX_TRIES):
            sequence, length = self._numbers[0], self._numbers[1]
            if self._last is not None and self._last[0] == sequence:
                return self._last[1]
            data = self._memory[_HEAD_BYTES : _HEAD_BYTES + length]
            if sequence and not sequence & 1 and self._numbers[0] == sequence:
                began_ns, incarnation, (xmin, xmax, in_progress), xids, floor = orjson.loads(data)
                poll = PollResult(began_ns, incarnation, Snapshot(xmin, xmax, tuple(in_progress)), tuple(xids), floor)
                self._last = (sequence, poll)
                return poll
        return None


class RedisAnswers:
    """Answers that depend on all users. Errors of Redis are never raised.

    ttl_s: the maximum age of an answer; 0 disables the cache.
    """

    def __init__(
        self, url: str, timeout_s: float, ttl_s: int, *, generations: Generations, known_changes: KnownChanges
    ) -> None:
        self._url, self._timeout_s, self._ttl_s, self._known = url, timeout_s, ttl_s, known_changes
        # Any, because redis-py has no types for execute_command.
        self._client: Any = None
        self._flights = SingleFlight(generations)
        self.breaker = CircuitBreaker("cache", self._connect)

    def get_or_compute(self, key: str, compute: Callable[[], bytes]) -> bytes:
        """The cached answer of `key`, or else the computed one. Concurrent calls share one computation.

        Raises: the errors of `compute`
        """
        if not self._ttl_s:
            return compute()
        # The poll is read within the flight. An earlier poll may lack a change that precedes a joining request.
        return self._flights.share(key, [USERS_KEY], functools.partial(self._get_or_compute, key, compute))

    def ping(self) -> None:
        """Check that Redis answers, if necessary on a new connection. Raises: RedisError, OSError"""
        if not self._execute("PING"):
            self._connect()
            self.breaker.worked()

    def close(self) -> None:
        """Close all connections."""
        self.breaker.close()
        if self._client is not None:
            self._client.close()

    def _get_or_compute(self, key: str, compute: Callable[[], bytes]) -> bytes:
        poll = self._known.last_poll([USERS_KEY])
        if poll is None:
            return compute()
        name = f"{_PREFIX}{poll.incarnation}:{key}"
        cached = self._execute("GET", name)
        if cached is not None:
            read_at, _, answer = cached.partition(b"\n")
            # A damaged value is computed again.
            with contextlib.suppress(ValueError, TypeError):
                if poll.accepts(Snapshot(*orjson.loads(read_at))):
                    return cast("bytes", answer)
        answer = compute()
        if len(answer) <= _MAX_VALUE_BYTES:
            self._execute("SET", name, orjson.dumps([*poll.snapshot]) + b"\n" + answer, "EX", self._ttl_s)
        return answer

    def _execute(self, *command: str | bytes | int) -> Any:
        """The reply to a command. None: there is none, or Redis is unavailable. An error opens the circuit breaker."""
        if not self.breaker.up:
            return None
        try:
            if self._client is None:
                self._connect()
            return self._client.execute_command(*command)
        except OutOfMemoryError:
            # Redis is full of values that it does not evict. It still answers.
            return None
        except (RedisError, OSError) as error:
            self.breaker.failed(error)
            return None

    def _connect(self) -> None:
        """Raises: RedisError, OSError"""
        self._client = connected(self._url, self._timeout_s)
