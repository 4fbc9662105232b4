"""A process of its own for the mount, and how its start is reported.

The process is forked before anything is set up, so that threads, sockets and locks belong to it
alone. It reports through a pipe: that the file system is mounted, or why it cannot be. The
starting process returns only then, and only after the mount has answered a request.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING

from arvados_fuse.command.problem import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["END_TIME_LIMIT_S", "reap", "start"]

log = logging.getLogger(__name__)

END_TIME_LIMIT_S = 10.0
"""How long a mount process may take to end after it was unmounted, or told to unmount."""

_READY = b"ready\n"


def start(serve: Callable[[Callable[[], None]], int], mount_dir: Path, *, keep_output: bool) -> int:
    """Run `serve(ready)` in a new process, and return its number when the mount works.

    serve: must call `ready` once the file system is mounted, and return an exit code at the end
    keep_output: whether the process goes on using our standard output and error
    Raises CommandError with the reason if it ends before it is ready.
    """
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        _child(serve, writer, keep_output)
    os.close(writer)
    report = _wait_for_report(process, reader)
    if report != _READY:
        _, status = os.waitpid(process, 0)
        code = os.waitstatus_to_exitcode(status)
        reason = report.decode("utf-8", "replace") or f"The mount process ended with {code}."
        raise CommandError(reason, code if code > 0 else 1)
    try:
        os.statvfs(mount_dir)
    except OSError as error:
        _end(process)
        raise CommandError(f"{mount_dir} is mounted but does not work: {error.strerror}") from None
    return process


def reap(process: int, time_limit_s: float = math.inf) -> int:
    """Wait for the mount process to end, and return its exit code.

    time_limit_s: after which it is made to end
    """
    deadline = time.monotonic() + time_limit_s
    while (ended := os.waitpid(process, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
            ended = os.waitpid(process, 0)
            break
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(ended[1])


def _end(process: int) -> None:
    """Ask the mount process to unmount, and wait for its end."""
    os.kill(process, signal.SIGTERM)
    reap(process, END_TIME_LIMIT_S)


def _wait_for_report(process: int, reader: int) -> bytes:
    """Read all that the process reports before it is ready or ends."""
    try:
        with os.fdopen(reader, "rb") as pipe:
            return pipe.read()
    except KeyboardInterrupt:
        _end(process)
        raise CommandError("Interrupted before the mount was ready.", 130) from None


def _child(serve: Callable[[Callable[[], None]], int], writer: int, keep_output: bool) -> None:
    """Be the mount process. Never returns."""
    reported = False

    def report(message: bytes) -> None:
        nonlocal reported
        if not reported:
            reported = True
            os.write(writer, message)
            os.close(writer)

    def ready() -> None:
        if not keep_output:
            _leave_terminal()
        report(_READY)

    code = 1
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)  # our parent's handlers are not for us
        code = serve(ready)
    except CommandError as error:
        code = error.exit_code
        report(str(error).encode())
    except BaseException:
        # Once the mount was ready nobody reads the report, and standard error may be closed.
        if reported:
            log.critical("The mount process crashed.", exc_info=True)
        report(traceback.format_exc().encode())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _leave_terminal() -> None:
    """Let go of the terminal and the working directory, so that neither is held busy."""
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
