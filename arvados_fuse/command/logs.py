"""Where log lines go."""

from __future__ import annotations

import logging
import logging.handlers
import socket
from typing import TYPE_CHECKING

from arvados_fuse.command import owners
from arvados_fuse.command.problem import CommandError

if TYPE_CHECKING:
    from arvados_fuse.command.arguments import Settings

__all__ = ["start_logging"]


SYSTEM_LOG = "/dev/log"
"""The socket of the system log."""


def start_logging(settings: Settings) -> None:
    """Send log lines to the file, standard error, or the system log. Raises CommandError."""
    handler: logging.Handler
    if settings.logfile is not None:
        try:
            handler = logging.FileHandler(settings.logfile)
        except OSError as error:
            remark = owners.remark(error, settings.logfile)
            raise CommandError(
                f"Cannot write to the log file {settings.logfile}: {error.strerror}{remark}."
            ) from None
    elif settings.foreground or settings.command:
        handler = logging.StreamHandler()
    elif _has_listener(SYSTEM_LOG):
        handler = logging.handlers.SysLogHandler(SYSTEM_LOG)
    else:
        # Standard error is there only until the mount works; success is told by the exit code.
        handler = logging.StreamHandler()
        handler.setLevel(logging.WARNING)
    handler.setFormatter(
        logging.Formatter("%(asctime)s arv-mount[%(process)d] %(levelname)s: %(message)s")
    )
    ours = logging.getLogger("arvados_fuse")
    ours.addHandler(handler)
    ours.setLevel(logging.DEBUG if settings.debug else logging.INFO)
    ours.propagate = False


def _has_listener(address: str) -> bool:
    """Whether somebody listens at the socket, and to us. One may be left of who does no more."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind) as probe:
            try:
                probe.connect(address)
            except OSError:
                continue
            return True
    return False
