"""`--unmount`, `--unmount-all`, and the first half of `--replace`.

Needs no cluster and no token, and asks nothing of the mounts, whose daemons may be dead or hang:
it reads the kernel's list, detaches what is to go, and lets the daemon end by itself. If that
takes too long the kernel ends the connection, and whatever waits for the daemon fails.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from arvados_fuse.command import mountpoint
from arvados_fuse.command.problem import CommandError

__all__ = ["unmount_all", "unmount_here"]

CONNECTIONS = "/sys/fs/fuse/connections"
"""Where the kernel shows the connections of FUSE, if that is mounted (Linux, "FUSE", "Control
filesystem")."""

LOOK_AGAIN_S = 0.02


def unmount_here(directory: Path, subtype: str, timeout_s: float) -> None:
    """Unmount all that FUSE has mounted on `directory`; do nothing if that is nothing.

    subtype: touch only mounts that have it; "" for any
    timeout_s: for how long a daemon may go on before its connection is ended
    Raises CommandError if the mount stays.
    """
    while (mounted := mountpoint.mounted_at(directory)) and _is_meant(mounted, subtype):
        _unmount(mounted, directory, timeout_s)


def unmount_all(directory: Path, subtype: str, timeout_s: float) -> None:
    """Unmount all that is mounted on `directory` or below it, the deepest first.

    Raises CommandError, with nothing unmounted, if one of the mounts is not of FUSE or does not
    have the subtype; or if one stays.
    """
    # The last comes first: it may be below one that was made before it, or hide it.
    mounts = mountpoint.mounts_below(directory)
    for mounted in mounts:
        if not _is_meant(mounted, subtype):
            raise CommandError(
                f"Cannot unmount {mounted.place}: its type is {mounted.kind}. Nothing was"
                " unmounted."
            )
    for mounted in mounts:
        _unmount(mounted, Path(mounted.place), timeout_s)


def _is_meant(mounted: mountpoint.Mounted, subtype: str) -> bool:
    return mounted.is_fuse and (not subtype or mounted.kind == f"fuse.{subtype}")


def _unmount(mounted: mountpoint.Mounted, directory: Path, timeout_s: float) -> None:
    connection = _open_connection(mounted.device)
    try:
        mountpoint.unmount(directory)
        if connection is not None:
            _see_it_end(connection, timeout_s)
    finally:
        if connection is not None:
            os.close(connection)


def _open_connection(number: int) -> int | None:
    """Return a descriptor of the connection's directory; None if it cannot be seen.

    Held open, it stays that of this connection when its number goes to another.
    """
    try:
        return os.open(f"{CONNECTIONS}/{number}", os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return None


def _see_it_end(connection: int, timeout_s: float) -> None:
    """Wait for the end of a connection, and bring it about when it takes too long."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            os.stat("waiting", dir_fd=connection)
        except OSError:
            return
        time.sleep(LOOK_AGAIN_S)
    try:
        abort = os.open("abort", os.O_WRONLY, dir_fd=connection)
    except OSError:
        return  # ended just now, or not ours: it is detached in any case
    try:
        os.write(abort, b"1")
    finally:
        os.close(abort)
