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
from typing import TYPE_CHECKING

from arvados_fuse.command import mountpoint
from arvados_fuse.command.problem import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["end_on_signals"]

log = logging.getLogger(__name__)

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

END_TIME_LIMIT_S = 2.0
"""How long the main loop may take to end; it does at once, unless the mount is still in use."""


def end_on_signals(mount_dir: Path, stop_waiting: Callable[[], None]) -> threading.Event:
    """End the mount on `mount_dir` when a signal comes. Call before any thread is started.

    stop_waiting: makes the requests that wait for blocks fail
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
            # get "not connected"; there is nothing that could be lost.
            log.warning("Ended while programs still had files or directories open.")
            os._exit(0)

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return ended
