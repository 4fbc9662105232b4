"""What signals do to a mount: SIGTERM and SIGINT end it, SIGHUP makes it read its token again.

SIGINT while what was written is being saved is somebody at a keyboard who does not want to wait.
SIGTERM then is nothing new: service managers send it to whatever is still there.

llfuse lets a signal interrupt its main loop and wake its workers, but either can go to sleep just
after it looked and just before the signal comes, and then sleeps on. So the signals are blocked
everywhere, and one thread waits for them. It ends the mount from the outside, as `fusermount -u`
does: unmounting makes every wait for requests return.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from arvados_fuse.command import mountpoint
from arvados_fuse.command.problem import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["obey_signals", "signals_blocked"]

log = logging.getLogger(__name__)

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
"""All that are waited for."""

END_TIME_LIMIT_S = 2.0
"""How long the main loop may take to end; it does at once, unless the mount is still in use."""

SAME_SIGNAL_S = 1.0
"""Signals that come so soon after the one that ends the mount are the same one: some programs that
start others pass on what the terminal has sent to all of them."""


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block the signals that end the mount in the threads that are started meanwhile.

    Threads inherit what is blocked, and the signals are for the one thread that waits for them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def obey_signals(
    mount_dir: Path,
    stop_waiting: Callable[[], None],
    finish: Callable[[], int],
    renew: Callable[[], None],
    *,
    leave: Callable[[], None],
) -> threading.Event:
    """Do what signals tell the mount on `mount_dir`.

    Call it before any thread is started, but those with `signals_blocked`.

    stop_waiting: makes the requests that wait for blocks fail
    finish: saves what is not saved, and returns the exit code; called here only if the main loop
        does not end
    renew: what SIGHUP asks for, unless it says that our terminal is gone: that is the end too
    leave: makes `finish` leave what is not saved yet
    Returns the event to set when the main loop has ended.
    """
    ended = threading.Event()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    had_terminal = _has_terminal()

    def wait() -> None:
        number = signal.sigwait(SIGNALS)
        while number == signal.SIGHUP and _has_terminal() == had_terminal:
            renew()
            number = signal.sigwait(SIGNALS)
        if not ended.is_set():
            end(number)
            time.sleep(SAME_SIGNAL_S)
            _forget_pending()
            number = signal.sigwait(SIGNALS)
        while number != signal.SIGINT:
            number = signal.sigwait(SIGNALS)
        leave()

    def end(number: int) -> None:
        log.info("Ending: received %s.", signal.Signals(number).name)
        stop_waiting()
        try:
            mountpoint.unmount(mount_dir)
        except CommandError as error:
            log.warning("%s", error)
        if not ended.wait(END_TIME_LIMIT_S):
            # Open files keep an unmounted file system alive. Without this process, their users
            # get "not connected".
            log.warning("Ended while programs still had files or directories open.")
            threading.Thread(target=lambda: os._exit(finish()), name="finish", daemon=True).start()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return ended


def _forget_pending() -> None:
    """Forget the signals that wait to be waited for."""
    while signal.sigtimedwait(SIGNALS, 0) is not None:
        pass


def _has_terminal() -> bool:
    """Whether the process has a terminal that controls it."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
