"""The threads that answer the kernel: as many as have something to do, and no more.

Requests of the kernel wake the thread that has slept longest. With ten of them, each small request
wakes another, with cold caches, which then has to wait for the interpreter that the one before
still holds: two to three times the processor time of one thread. Yet ten are needed when
requests wait for the cluster.

So one begins. Whoever is about to wait says so (`Crew.released`), and when that leaves nobody free
to answer, another is begun before the wait begins. Threads that have not been needed for a
while are dismissed. A thread cannot be called away from a request, nor from llfuse's loop; but it
comes out of the loop by itself when there is no request and the device does not let it wait: the
device is made not to, and the sleepers are woken by a signal. What comes meanwhile stays with
the kernel until somebody reads it, so no request is lost, whoever goes.
"""

from __future__ import annotations

import logging
import os
import queue
import select
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from arvados_fuse.fresh import Unlocked

__all__ = ["MOST_WORKERS", "WORKER_NAME", "Crew"]

log = logging.getLogger(__name__)

MOST_WORKERS = 10
"""Threads that answer the kernel at the same time, as in the official driver."""

WORKER_NAME = "worker"

IDLE_S = 2.0
"""Who has not been needed for so long is dismissed."""

DISMISSAL_S = 0.1
"""How long the device does not let threads wait. Who is busy for longer stays until next time."""


class Crew:
    """The threads that answer the kernel, called workers here.

    _workers: all of them, by identifier. Who is dismissed or ends is taken out, and answers no
        request after that
    _waiting: identifiers of those that wait for something
    _most_waiting: how many have waited at once since the last dismissal
    _enough: how many are to stay at a dismissal
    """

    def __init__(
        self,
        answer: Callable[[], None],
        *,
        most: int = MOST_WORKERS,
        idle_s: float = IDLE_S,
    ) -> None:
        """Prepare a crew. No thread is started.

        answer: answers requests until the file system is unmounted. Raises BlockingIOError when
            there is none and the device does not let it wait; whatever else it raises is a failure
        most: threads that answer at the same time
        idle_s: who has not been needed for so long is dismissed
        """
        self._answer = answer
        self._device = -1
        self._most = most
        self._idle_s = idle_s
        self._changed = threading.Condition(threading.Lock())
        self._workers: dict[int, threading.Thread] = {}
        self._waiting: set[int] = set()
        self._most_waiting = 0
        self._free_wanted = 1
        self._enough = most
        self._ended = False
        self._failure: BaseException | None = None

    def serve(self, device: int) -> None:
        """Answer the kernel until the file system is unmounted and all requests are answered.

        device: the descriptor that requests are read from
        To be called by the main thread, which takes the signal that wakes workers. Raises what a
        worker raised; others may be answering then.
        """
        signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
        self._device = device
        with self._changed:
            self._hire()
            while not self._ended:
                too_many = len(self._workers) > self._free_wanted
                if not self._changed.wait(self._idle_s if too_many else None):
                    self._dismiss()  # nobody was begun, and no file closed, for that long
            left = list(self._workers.values())
        if self._failure is not None:
            raise self._failure
        for worker in left:
            worker.join()

    def released(self, unlocked: Unlocked) -> Unlocked:
        """Return what gives the lock up as `unlocked` does, and has the crew know who waits."""
        return _Released(self, unlocked)

    def files_open(self, number: int) -> None:
        """Note how many files are open: each may be read on a processor of its own. Never waits.

        An answer to a read is copied, and perhaps brought from the disk cache, without the lock.
        """
        with self._changed:
            before, self._free_wanted = self._free_wanted, min(max(1, number), self._most)
            if self._free_wanted > before:
                self._hire()
            elif self._free_wanted < len(self._workers) <= before:
                self._changed.notify()

    def wait_begins(self) -> None:
        """Note that the calling thread, if it is a worker, is going to wait for something."""
        worker = threading.get_ident()
        with self._changed:
            if worker in self._workers:
                self._waiting.add(worker)
                self._most_waiting = max(self._most_waiting, len(self._waiting))
                self._hire()

    def wait_ends(self) -> None:
        """Note that the calling thread has waited long enough."""
        with self._changed:
            self._waiting.discard(threading.get_ident())

    # -- coming and going: the lock is held ---------------------------------------------------

    def _free(self) -> int:
        return len(self._workers) - len(self._waiting)

    def _hire(self) -> None:
        """Begin workers until as many are free as are wanted, or there are as many as may be."""
        while not self._ended and self._free() < self._free_wanted:
            if len(self._workers) >= self._most:
                return
            worker = threading.Thread(target=self._work, name=WORKER_NAME, daemon=True)
            try:
                worker.start()
            except RuntimeError:
                if not self._workers:
                    raise
                self._most = len(self._workers)
                log.warning("This system allows no more than %d threads for requests.", self._most)
                return
            assert worker.ident is not None, "it has been started"
            self._workers[worker.ident] = worker
            self._changed.notify()

    def _dismiss(self) -> None:
        """Let those go who have not been needed since the last time."""
        self._enough = self._most_waiting + self._free_wanted
        self._most_waiting = len(self._waiting)
        surplus = len(self._workers) - self._enough
        if self._ended or surplus <= 0:
            return
        os.set_blocking(self._device, False)
        try:
            for worker in [w for w in self._workers if w not in self._waiting][:surplus]:
                signal.pthread_kill(worker, signal.SIGUSR1)  # alive: it is in the table
            self._changed.wait_for(
                lambda: self._ended or len(self._workers) <= self._enough, DISMISSAL_S
            )
        finally:
            os.set_blocking(self._device, True)

    # -- what each worker does ----------------------------------------------------------------

    def _work(self) -> None:
        try:
            while self._called_away():
                if self._dismissed():
                    return
                self._await_request()
        except BaseException as error:
            self._end(error)
        else:
            self._end(None)

    def _called_away(self) -> bool:
        """Answer requests. Returns whether there may be more, but none is there now."""
        try:
            self._answer()
        except (BlockingIOError, queue.Full):
            # Full: llfuse ends a sender of notifications with each loop, and could not tell it in
            # time, because the kernel is slow to take them. There is one too many now, no more.
            return True
        return False

    def _dismissed(self) -> bool:
        """Whether the calling worker may go. If so, it is none from now on."""
        with self._changed:
            if self._free() <= self._free_wanted or len(self._workers) <= self._enough:
                return False
            del self._workers[threading.get_ident()]
            self._changed.notify()
            return True

    def _await_request(self) -> None:
        """Wait until there is a request: the loop, where that is done usually, would not."""
        poll = select.poll()
        poll.register(self._device, select.POLLIN)
        poll.poll()

    def _end(self, failure: BaseException | None) -> None:
        """Note that the loop has ended for the calling worker, and perhaps for all."""
        with self._changed:
            del self._workers[threading.get_ident()]
            over = failure is not None or self._is_unmounted()
            if not over and not self._workers:
                # A failure in one worker makes others end too, and theirs is to be raised. llfuse
                # forgets it if it happens in the moment in which another loop begins.
                over, failure = True, RuntimeError("Nobody answers the kernel any more.")
            if over and not self._ended:
                self._ended, self._failure = True, failure
                self._changed.notify()

    def _is_unmounted(self) -> bool:
        poll = select.poll()
        poll.register(self._device, 0)
        return bool(poll.poll(0))


class _Released:
    """Gives the lock up for as long as a `with` block runs, in which the thread may wait."""

    def __init__(self, crew: Crew, unlocked: Unlocked) -> None:
        self._crew = crew
        self._unlocked = unlocked

    def __enter__(self) -> None:
        self._crew.wait_begins()
        self._unlocked.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._crew.wait_ends()
        self._unlocked.__exit__(kind, error, trace)
