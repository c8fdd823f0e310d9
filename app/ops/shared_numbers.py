"""Numbers that all processes of a service count in memory that they share."""

import mmap
import threading


class SharedNumbers:
    """A row of numbers for each process. Safe for threads, and for processes that are forked later.

    Each process writes its own row, so processes share no lock. A process that replaces another one continues its row:
    what a killed process has counted is neither lost nor counted twice.
    own: the row of this process; until use_row, the last one. lock: must be held to change a number by its value.
    """

    def __init__(self, rows: int, columns: int) -> None:
        numbers = memoryview(mmap.mmap(-1, 8 * rows * columns)).cast("d")
        self._rows = [numbers[row * columns : (row + 1) * columns] for row in range(rows)]
        self.own = self._rows[-1]
        # The garbage collector may close a generator whose `finally` counts, in a thread that holds the lock.
        self.lock = threading.RLock()

    def use_row(self, row: int) -> None:
        """Write to `row` from now on. No other process may use it."""
        self.own = self._rows[row]

    def column(self, column: int) -> list[float]:
        """The numbers of one column."""
        return [row[column] for row in self._rows]

    def sums(self) -> list[float]:
        """The sum of each column."""
        return [sum(numbers) for numbers in zip(*(row.tolist() for row in self._rows), strict=True)]
