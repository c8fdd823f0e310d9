"""A cache in the memory of one process. Its values are valid while the generations of their keys are older."""

import pickle
import threading
from collections.abc import Hashable, Iterable
from operator import itemgetter
from typing import Any

from cachetools import LRUCache

from app import signals
from app.cache.generations import Generations, Slots, clock_ns

_OVERHEAD_BYTES = 820
"""The approximate size of an entry without the contents of its key and value."""
_MAX_ENTRY_FRACTION = 8
"""The largest entry takes this fraction of max_bytes."""

_Entry = tuple[int, Any, Slots, int, int]
"""The size of the entry, its value, the slots of the value, the start of its reading, and its expiry (clock_ns)."""


class LocalCache:
    """An LRU cache. Safe for threads.

    max_bytes: the approximate size of all entries; 0 disables the cache. ttl_s: the maximum age of a value. Values
    should be bytes, text, numbers and tuples of them, which the garbage collector does not track.
    """

    def __init__(self, generations: Generations, max_bytes: int, ttl_s: float) -> None:
        self._generations, self._max_bytes, self._ttl_ns = generations, max_bytes, int(1e9 * ttl_s)
        self._entries: LRUCache[Hashable, _Entry] = LRUCache(max_bytes, getsizeof=itemgetter(0))
        self._lock = threading.Lock()

    def get(self, *keys: Hashable) -> Any:
        """The valid value of one of `keys`. None: there is none. It counts as one read."""
        value = None
        for key in keys:
            with self._lock:
                found = self._entries.get(key)
            if found is not None:
                _, cached, slots, began_ns, expires_ns = found
                if self._generations.may_be_used(slots, began_ns) and clock_ns() < expires_ns:
                    value = cached
                    break
        for receive in signals.cache_read:
            receive("local", "hit" if value is not None else "miss" if self.is_usable else "bypass")
        return value

    @property
    def is_usable(self) -> bool:
        """Whether values may be used now."""
        return self._max_bytes > 0 and self._generations.is_lease_held

    def put(self, key: Hashable, value: object, depends_on: Iterable[str], began_ns: int) -> None:
        """Cache a value whose reading began at `began_ns` (clock_ns).

        depends_on: a change of one of these keys invalidates the value.
        """
        size = _OVERHEAD_BYTES + len(pickle.dumps((key, value), pickle.HIGHEST_PROTOCOL))
        if size > self._max_bytes // _MAX_ENTRY_FRACTION:
            return
        entry = (size, value, self._generations.slots_of(depends_on), began_ns, clock_ns() + self._ttl_ns)
        with self._lock:
            self._entries[key] = entry
