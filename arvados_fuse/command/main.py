"""The entry point of `arv-mount`."""

from __future__ import annotations

import sys
import warnings
from functools import partial
from typing import TYPE_CHECKING

from arvados_fuse.command import arguments, background, execute
from arvados_fuse.command.problem import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `arv-mount` with these arguments (default: those of the process).

    Returns the exit code: 0 when a foreground mount was unmounted or a background mount works;
    the command's with --exec; 1 for what cannot be mounted; 2 for a wrong command line.
    """
    try:
        return _run(arguments.parse(sys.argv[1:] if argv is None else argv))
    except CommandError as error:
        print(f"arv-mount: {error}", file=sys.stderr)
        return error.exit_code


def _run(settings: arguments.Settings) -> int:
    try:
        # Imported late: --help and wrong arguments need not wait for the client library. What
        # libraries warn of when they are imported is for developers, not for our users.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from arvados_fuse.command import mount  # noqa: PLC0415
    except ValueError:
        # The library reads the settings when it is imported.
        raise CommandError(
            "The file settings.conf (~/.config/arvados/settings.conf) has a line that is not"
            " NAME=VALUE."
        ) from None

    if settings.foreground:
        return mount.serve(settings, lambda: None)
    start = partial(
        background.start,
        partial(mount.serve, settings),
        settings.mount_dir,
        keep_output=bool(settings.command),
    )
    if settings.command:
        return execute.run(settings.command, settings.mount_dir, start)
    start()
    return 0
