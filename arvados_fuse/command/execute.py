"""`--exec`: mount, run a command, unmount, and end as the command ended."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from arvados_fuse.command import background, mountpoint
from arvados_fuse.command.problem import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import FrameType

__all__ = ["run"]

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


def run(command: Sequence[str], mount_dir: Path, start_mount: Callable[[], int]) -> int:
    """Start a mount on `mount_dir`, run `command`, and end the mount.

    start_mount: mounts and returns the number of the process that serves the mount
    Returns the command's exit code; -N if signal N ended it; the errno if it could not start.
    Raises CommandError if the mount cannot be started, or if a signal comes before the command
    has started.
    """
    with _Signals() as signals:
        process = start_mount()
        try:
            return _run(command, signals)
        except KeyboardInterrupt:
            raise CommandError("Interrupted before the command was started.", 130) from None
        finally:
            _end(mount_dir, process)


def _run(command: Sequence[str], signals: _Signals) -> int:
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        print(f"arv-mount: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return error.errno or 255
    with signals.forwarded_to(child):
        return child.wait()


def _end(mount_dir: Path, process: int) -> None:
    """End the mount. That it cannot be unmounted does not change what the command did."""
    try:
        mountpoint.unmount(mount_dir)
    except CommandError as error:
        print(f"arv-mount: {error}", file=sys.stderr)
    background.reap(process)


class _Signals(contextlib.AbstractContextManager["_Signals"]):
    """Signals go to the command while it runs, and raise KeyboardInterrupt before."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Signals:
        self._before = {number: signal.signal(number, self._receive) for number in FORWARDED}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self._child is None:
            raise KeyboardInterrupt
        self._child.send_signal(number)

    @contextlib.contextmanager
    def forwarded_to(self, child: subprocess.Popen[bytes]) -> Iterator[None]:
        """Pass signals on to `child` for as long as it runs; later ones do nothing."""
        self._child = child
        yield
