"""A few threads that do jobs from a queue.

Unlike the standard library's executor, the threads are daemons: one that waits for a dead server
does not keep the process from ending. They start with the first job, never before, because the
mount forks into the background after it was set up.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable

__all__ = ["Workers"]

logger = logging.getLogger(__name__)


class Workers:
    """At most `count` threads, named after `name`. Jobs are done in the order of their coming."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def submit(self, job: Callable[[], None]) -> None:
        """Let some thread do `job`, which must not raise; if it does, that is logged."""
        self._jobs.put(job)
        with self._lock:
            if len(self._threads) < self._count:
                number = len(self._threads)
                thread = threading.Thread(
                    target=self._work, name=f"{self._name}-{number}", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def close(self, timeout_s: float) -> None:
        """End the threads after the jobs that are queued, and wait for that, but no longer."""
        ends_at = time.monotonic() + timeout_s
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(max(0.0, ends_at - time.monotonic()))

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            try:
                job()
            except Exception:
                logger.exception("a job of %s failed", threading.current_thread().name)
            del job  # what it holds may be large, and the next one may be long in coming
