"""Which thread waits for requests: one of many, as long as it answers from memory.

The pattern is known as Leader/Followers (Schmidt and others, Pattern-Oriented Software Architecture, volume 2). Where
all threads wait, each request wakes another one, which then waits for the interpreter: to wake them costs more than an
answer from memory. A leader that is done takes the next request without a sleep. Before what may take long it hands
over.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

_LONGEST_S = 1.0
"""How long a thread follows, and how long one leads that is not seen: it waits for requests still, or has ended."""

_SOON_MS = 1
_AWAY = 100
"""So many times what did not come soon is expected not to."""

_Turn = tuple[int, Any]
"""A thread that follows, and the lock that is released when it is to lead."""


class Lead:
    """Of one process. Safe for threads; a thread that never asks for it is in nobody's way."""

    def __init__(self) -> None:
        self._leader, self._seen_s = 0, 0.0
        self._followers: list[_Turn] = []
        self._late = 0
        self._lock = threading.Lock()

    def hand_over(self) -> None:
        """What this thread does now may take long: let another one wait for requests."""
        if threading.get_ident() != self._leader:
            return
        with self._lock:
            if threading.get_ident() != self._leader:
                return
            if not self._followers:
                self._leader = 0
                return
            # The last one: its stack is in the caches still.
            follower, turn = self._followers.pop()
            self._leader, self._seen_s = follower, time.monotonic()
            turn.release()

    def wait(self, comes_within: Callable[[int], bool]) -> None:
        """Return at once or when what this thread waits for is there: the leader leads on if that comes soon.

        `comes_within` says whether it is there after so many ms.
        """
        if threading.get_ident() != self._leader:
            return
        if self._late:
            self._late -= 1
        elif comes_within(_SOON_MS):
            return
        else:
            self._late = _AWAY
        self.hand_over()

    def follow(self) -> None:
        """A request is answered: return when this thread may wait for the next one."""
        thread = threading.get_ident()
        if thread == self._leader:
            self._seen_s = time.monotonic()
            return
        turn = self._turn_of(thread)
        if turn is not None and not turn[1].acquire(timeout=_LONGEST_S):
            with self._lock:
                if turn in self._followers:
                    self._followers.remove(turn)

    def _turn_of(self, thread: int) -> _Turn | None:
        """What this thread is to wait for; None: it leads."""
        with self._lock:
            now = time.monotonic()
            if not self._leader or now - self._seen_s >= _LONGEST_S:
                self._leader, self._seen_s = thread, now
                return None
            turn = thread, threading.Lock()
            turn[1].acquire()
            self._followers.append(turn)
            return turn
