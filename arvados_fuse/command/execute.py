"""`--exec`: mount, run a command, unmount, and end as the command ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from arvados_fuse.command import background, mountpoint
from arvados_fuse.command.problem import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import FrameType

__all__ = ["run"]

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)

SAME_SIGNAL_S = 1.0
"""A signal that comes so soon after the end of the command was meant for the command."""


def run(
    command: Sequence[str],
    mount_dir: Path,
    start_mount: Callable[[], int],
    *,
    may_have_changes: bool = False,
) -> int:
    """Start a mount on `mount_dir`, run `command`, and end the mount.

    start_mount: mounts and returns the number of the process that serves the mount
    may_have_changes: whether the mount may take as long to end as saving takes
    Returns the command's exit code; -N if signal N ended it; the errno if it could not start. If
    that is 0 and the mount fails, as it does when something cannot be saved, the mount's exit code.
    Raises CommandError if the mount cannot be started, or if a signal comes before that is done.
    """
    with _Signals() as signals:
        process = start_mount()
        signals.hold()
        ended = 0
        try:
            code = _run(command, signals)
        finally:
            signals.forward_to_mount(process)
            ended = _end(mount_dir, process, may_have_changes)
        return code or ended


def _run(command: Sequence[str], signals: _Signals) -> int:
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        print(f"arv-mount: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return error.errno or 255
    signals.forward_to(child)
    return child.wait()


def _end(mount_dir: Path, process: int, may_have_changes: bool) -> int:
    """End the mount, and return its exit code.

    That it cannot be unmounted does not change what the command did.
    """
    try:
        mountpoint.unmount(mount_dir)
    except CommandError as error:
        print(f"arv-mount: {error}", file=sys.stderr)
    if may_have_changes:
        return background.reap(process)
    background.reap(process, background.END_TIME_LIMIT_S)
    return 0


class _Signals(contextlib.AbstractContextManager["_Signals"]):
    """What signals do: end the start of the mount, and from then on go to the command.

    When that has ended SIGINT goes to the mount, which may take long to save what was written.
    """

    def __init__(self) -> None:
        self._holding = False
        self._held: int | None = None
        self._send: Callable[[int], None] | None = None

    def __enter__(self) -> _Signals:
        self._before = {number: signal.signal(number, self._receive) for number in FORWARDED}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hold(self) -> None:
        """Keep a signal for the command, which is about to start."""
        self._holding = True

    def forward_to(self, child: subprocess.Popen[bytes]) -> None:
        """Pass signals on to `child`, first the one that was kept for it."""
        self._send = child.send_signal
        if self._held is not None:
            child.send_signal(self._held)

    def forward_to_mount(self, process: int) -> None:
        """Pass SIGINT on to the process of the mount, which is there until it is waited for."""
        since = time.monotonic()

        def send(number: int) -> None:
            if number == signal.SIGINT and time.monotonic() > since + SAME_SIGNAL_S:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)

        self._send = send

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self._send is not None:
            self._send(number)
        elif self._holding:
            self._held = number
        else:
            raise KeyboardInterrupt
