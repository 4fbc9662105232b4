"""`--exec`: mount, run a command, unmount, and end as the command ended."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from arvados_fuse.command import background, mountpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["run"]

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


def run(command: Sequence[str], mount_dir: Path, mount_process: int) -> int:
    """Run `command` while `mount_process` serves `mount_dir`, then end the mount.

    Returns the command's exit code; -N if signal N ended it; the errno if it could not start.
    """
    try:
        return _run(command)
    finally:
        mountpoint.unmount(mount_dir)
        background.reap(mount_process)


def _run(command: Sequence[str]) -> int:
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        print(f"arv-mount: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return error.errno or 255
    with _forwarding_to(child):
        return child.wait()


@contextlib.contextmanager
def _forwarding_to(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass signals on to `child` instead of dying of them."""
    before = {
        number: signal.signal(number, lambda received, _: child.send_signal(received))
        for number in FORWARDED
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
