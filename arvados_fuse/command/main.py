"""The entry point of `arv-mount`."""

from __future__ import annotations

import gc
import sys
import warnings
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from arvados_fuse.collection.depth import RECURSION_LIMIT
from arvados_fuse.command import arguments, background, execute
from arvados_fuse.command.arguments import Action, Recover, Settings
from arvados_fuse.command.deferred import deferring
from arvados_fuse.command.leftovers import discard_journal, list_journals
from arvados_fuse.command.problem import CommandError
from arvados_fuse.command.settings_file import complaint
from arvados_fuse.command.unmounting import unmount_all, unmount_here
from arvados_fuse.command.usual import ensure_home
from arvados_fuse.usage import OutputError, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `arv-mount` with these arguments (default: those of the process).

    Returns the exit code: 0 when a foreground mount was unmounted, a background mount works, or
    what was to be unmounted is gone; the command's with --exec; 1 for what cannot be done; 2 for
    a wrong command line; 75 if something that was written is still not saved.
    """
    sys.setrecursionlimit(RECURSION_LIMIT)
    ensure_home()
    try:
        return _run(arguments.parse(sys.argv[1:] if argv is None else argv))
    except CommandError as error:
        print(f"arv-mount: {error}", file=sys.stderr)
        return error.exit_code
    except OutputError as error:
        print(f"arv-mount: {error}", file=sys.stderr)
        return 1


def _run(settings: Settings) -> int:
    if settings.recover is not None:
        return _recover(settings, settings.recover)
    if settings.action is Action.UNMOUNT:
        unmount_here(settings.mount_dir, settings.subtype, settings.unmount_timeout_s)
        return 0
    if settings.action is Action.UNMOUNT_ALL:
        unmount_all(settings.mount_dir, settings.subtype, settings.unmount_timeout_s)
        return 0
    if settings.action is Action.REPLACE:
        # Whatever its subtype is, as in the official driver: what is mounted now is named by it.
        unmount_here(settings.mount_dir, "", settings.unmount_timeout_s)
    return _mount(settings)


def _recover(settings: Settings, recover: Recover) -> int:
    if recover is Recover.LIST:
        say(list_journals(settings.journal_dir))
    elif recover is Recover.DISCARD:
        say(discard_journal(settings.journal_dir, settings.journal))
    else:
        with _late_import():
            from arvados_fuse.command import recommit  # noqa: PLC0415
        return recommit.commit_journals(settings)
    return 0


@contextmanager
def _late_import() -> Iterator[None]:
    """Import what needs the client library: --help and wrong arguments need not wait for it.

    And mounts need not wait for what it needs seldom.

    What libraries warn of when they are imported is for developers, not for our users. Raises
    CommandError for bad settings, which the library reads when it is imported, and for what is not
    installed: a package, or the library of FUSE.
    """
    gc.disable()  # modules are no garbage, and looking through them again and again takes time
    try:
        with warnings.catch_warnings(), deferring():
            warnings.simplefilter("ignore")
            yield
    except (OSError, ValueError):
        reason = complaint()
        if reason is None:
            raise
        raise CommandError(reason) from None
    except ImportError as error:
        raise CommandError(
            f"{sys.executable} lacks something that arv-mount needs: {error}. Install arv-mount"
            " with all its dependencies; in a clone, `make setup` does."
        ) from None
    finally:
        gc.enable()


def _mount(settings: Settings) -> int:
    with _late_import():
        from arvados_fuse.command import mount  # noqa: PLC0415

    if settings.foreground and not settings.command:
        return mount.serve(settings, lambda: None)
    start = partial(
        background.start,
        partial(mount.serve, settings),
        settings.mount_dir,
        keep_output=bool(settings.command),
    )
    if settings.command:
        return execute.run(
            settings.command,
            settings.mount_dir,
            start,
            may_have_changes=settings.writable,
        )
    start()
    return 0
