"""Numbers in shared memory."""

from concurrent.futures import ThreadPoolExecutor

from app.ops.shared_numbers import SharedNumbers


def test_a_thread_may_count_while_it_counts() -> None:
    """The garbage collector may close a generator at any moment, and its `finally` counts as well."""
    numbers = SharedNumbers(1, 1)
    with numbers.lock:
        assert numbers.lock.acquire(blocking=False)
        numbers.lock.release()
        with ThreadPoolExecutor(1) as other:
            assert not other.submit(numbers.lock.acquire, blocking=False).result()
