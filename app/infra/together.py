"""Look-ups that many threads want at once: whose turn it is looks up for all who wait."""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_MOST = 100


class Together(Generic[Key, Value]):
    """One question at a time, for all keys that are waited for by then: a crowd costs few round trips.

    `look_up` gives what there is of the keys that it gets.
    """

    def __init__(self, look_up: Callable[[Sequence[Key]], Mapping[Key, Value]]) -> None:
        self._look_up = look_up
        self._waiting: deque[_Place[Key, Value]] = deque()
        self._turn = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """What there is of `key` at some time after the call; None: nothing. Raises: what `look_up` raises"""
        place = _Place[Key, Value](key)
        self._waiting.append(place)
        with self._turn:
            while not place.served:
                self._serve()
        if place.error is not None:
            raise place.error
        return place.value

    def _serve(self) -> None:
        """Look up for those who have waited longest."""
        places = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
        found: Mapping[Key, Value] = {}
        error: Exception | None = None
        try:
            found = self._look_up([place.key for place in places])
        # Each of them raises it.
        except Exception as raised:  # noqa: BLE001
            error = raised
        for place in places:
            place.value, place.error, place.served = found.get(place.key), error, True


class _Place(Generic[Key, Value]):
    """One who waits."""

    __slots__ = ("error", "key", "served", "value")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.value: Value | None = None
        self.error: Exception | None = None
        self.served = False
