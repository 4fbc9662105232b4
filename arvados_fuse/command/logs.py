"""Where log lines go."""

from __future__ import annotations

import logging
import logging.handlers
import os
from typing import TYPE_CHECKING

from arvados_fuse.command import owners
from arvados_fuse.command.problem import CommandError

if TYPE_CHECKING:
    from arvados_fuse.command.arguments import Settings

__all__ = ["start_logging"]


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
    elif os.path.exists("/dev/log"):
        handler = logging.handlers.SysLogHandler("/dev/log")
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
