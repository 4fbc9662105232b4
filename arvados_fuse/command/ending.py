"""How a mount ends when a signal says so.

llfuse lets a signal interrupt its main thread, but the kernel may hand the signal to any other
thread, and then the main loop sleeps on. So SIGTERM, SIGINT and SIGHUP are blocked everywhere, and
one thread waits for them. It ends the mount from the outside, as `fusermount -u` does: unmounting
makes every worker's wait for requests return, whatever it is doing.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from arvados_fuse.command import mountpoint
from arvados_fuse.command.problem import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["end_on_signals"]

log = logging.getLogger(__name__)

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

UNMOUNT_TIME_LIMIT_S = 2.0
"""How long programs may go on using what they have open after the file system was unmounted."""

END_TIME_LIMIT_S = 10.0
"""How long requests that wait for the cluster may take to notice that nobody waits for them."""


def end_on_signals(mount_dir: Path, stop_waiting: Callable[[], None]) -> threading.Event:
    """End the mount on `mount_dir` when a signal comes. Call before any thread is started.

    stop_waiting: makes the requests that wait for blocks fail
    Returns the event to set when the main loop has ended.
    """
    ended = threading.Event()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    connection = os.minor(_device(mount_dir))

    def wait() -> None:
        number = signal.Signals(signal.sigwait(SIGNALS))
        log.info("Ending: received %s.", number.name)
        stop_waiting()
        _unmount(mount_dir, connection, ended)

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return ended


def _device(mount_dir: Path) -> int:
    """Return the device number of what is mounted, from the kernel's list.

    Asking the file system itself would wait for the main loop, which does not run yet.
    """
    mounted = mountpoint.mounted_at(mount_dir)
    return mounted.device if mounted is not None else 0


def _unmount(mount_dir: Path, connection: int, ended: threading.Event) -> None:
    try:
        mountpoint.unmount(mount_dir)
    except CommandError as error:
        log.warning("%s", error)
    if ended.wait(UNMOUNT_TIME_LIMIT_S):
        return
    # Programs still have files open: cut them off. They get "not connected" from now on.
    with suppress(OSError):
        Path(f"/sys/fs/fuse/connections/{connection}/abort").write_text("1")
    if not ended.wait(END_TIME_LIMIT_S):
        log.warning("Some requests still wait for the cluster; ended without waiting for them.")
        os._exit(0)
