"""How a mount ends when a signal says so.

llfuse lets a signal interrupt its main loop and wake its workers, but either can go to sleep just
after it looked and just before the signal comes, and then sleeps on. So SIGTERM, SIGINT and SIGHUP
are blocked everywhere, and one thread waits for them. It ends the mount from the outside, as
`fusermount -u` does: unmounting makes every wait for requests return.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from arvados_fuse.command import mountpoint
from arvados_fuse.command.problem import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["end_on_signals", "signals_blocked"]

log = logging.getLogger(__name__)

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

END_TIME_LIMIT_S = 2.0
"""How long the main loop may take to end; it does at once, unless the mount is still in use."""


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block the signals that end the mount in the threads that are started meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_on_signals(
    mount_dir: Path, stop_waiting: Callable[[], None], finish: Callable[[], int]
) -> threading.Event:
    """End the mount on `mount_dir` when a signal comes.

    Call it before any thread is started, but those with `signals_blocked`.

    stop_waiting: makes the requests that wait for blocks fail
    finish: saves what is not saved, and returns the exit code; called here only if the main loop
        does not end
    Returns the event to set when the main loop has ended.
    """
    ended = threading.Event()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def wait() -> None:
        number = signal.Signals(signal.sigwait(SIGNALS))
        log.info("Ending: received %s.", number.name)
        stop_waiting()
        try:
            mountpoint.unmount(mount_dir)
        except CommandError as error:
            log.warning("%s", error)
        if not ended.wait(END_TIME_LIMIT_S):
            # Open files keep an unmounted file system alive. Without this process, their users
            # get "not connected".
            log.warning("Ended while programs still had files or directories open.")
            os._exit(finish())

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return ended
