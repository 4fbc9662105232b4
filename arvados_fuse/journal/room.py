"""How many bytes the journal of a mount holds, and waiting until it holds fewer.

Bytes count from when they are written until the disk has them back: a file that was removed and is
still open counts. Threads: every method from any thread.
"""

import contextlib
import queue
import threading
import time

from arvados_fuse.errors import NoSpace

__all__ = ["Room"]

_LOOK_INTERVAL_S = 0.01
"""How often a waiting thread looks: who gives bytes back may take no lock, and so can wake nobody.
Nor can a thread wait for the queue: when another takes what has come, a `get` with a time limit may
wait without one (CPython 3.11)."""


class Room:
    """The account of one journal. limit_bytes: how much it should hold at most."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._used = 0
        # Bytes are given back by destructors, which run anywhere, also in the middle of a method
        # of this class: they may take no lock. This queue is made for that.
        self._given_back: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._closed = False

    @property
    def used_bytes(self) -> int:
        """Bytes that the journal holds now."""
        with self._lock:
            with contextlib.suppress(queue.Empty):
                while True:
                    self._used -= self._given_back.get_nowait()
            return self._used

    def take(self, size: int) -> None:
        """Count bytes that are being written."""
        with self._lock:
            self._used += size

    def give_back(self, size: int) -> None:
        """Count bytes that the disk has back. Takes no lock."""
        self._given_back.put(size)

    def wait(self, size: int, time_limit_s: float) -> None:
        """Wait until `size` more bytes would not exceed the limit, or nothing is held at all.

        Raises NoSpace when that takes longer than `time_limit_s`, or the journal is closed.
        """
        if self._has(size):
            return
        ends_at = time.monotonic() + time_limit_s
        while not self._has(size):
            left_s = ends_at - time.monotonic()
            if left_s <= 0:
                raise NoSpace(
                    f"the journal has held its {self.limit_bytes} bytes for {time_limit_s:g} s and"
                    " the cluster took none of them: see the log for why commits fail"
                )
            if self._closed:
                raise NoSpace("the mount is ending: nothing more can be written")
            time.sleep(min(left_s, _LOOK_INTERVAL_S))

    def close(self) -> None:
        """End all waits."""
        self._closed = True

    def _has(self, size: int) -> bool:
        used = self.used_bytes
        return not used or used + size <= self.limit_bytes
