"""The file system's lock for tests with real threads, as llfuse's global lock is for the mount."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["FileSystemLock", "Requests"]

T = TypeVar("T")


class FileSystemLock:
    """A lock whose `unlocked` gives it up for a `with` block, and counts how often.

    released: how many `with unlocked` blocks have begun
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(threading.Lock())
        self.released = 0
        self.unlocked = _Unlocked(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def held(self) -> bool:
        """Whether some thread has the lock now."""
        return self._lock.locked()

    def give_up(self) -> None:
        """Begin a block without the lock."""
        with self._changed:
            self.released += 1
            self._changed.notify_all()
        self._lock.release()

    def take_back(self) -> None:
        """End a block without the lock."""
        self._lock.acquire()

    def wait_for_releases(self, count: int) -> None:
        """Wait until `count` blocks without the lock have begun: so many requests wait or work."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.released >= count, timeout=10)


class _Unlocked:
    def __init__(self, lock: FileSystemLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.give_up()

    def __exit__(self, *error: object) -> None:
        self._lock.take_back()


class Requests:
    """Threads that run functions with the lock held, as llfuse's workers do."""

    def __init__(self, lock: FileSystemLock, workers: int = 10) -> None:
        self._lock = lock
        self._pool = ThreadPoolExecutor(workers)

    def __enter__(self) -> Requests:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def start(self, request: Callable[[], T]) -> Future[T]:
        """Run `request` in a thread of its own."""

        def locked() -> T:
            with self._lock:
                return request()

        return self._pool.submit(locked)
