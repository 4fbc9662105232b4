"""`--recover commit`: commit what mounts of this user have left, without a mount."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from arvados_fuse.command import clusters
from arvados_fuse.command.logs import start_logging
from arvados_fuse.command.problem import EXIT_UNSAVED, CommandError
from arvados_fuse.command.writing import Writer
from arvados_fuse.errors import FileSystemError
from arvados_fuse.metrics import Metrics

if TYPE_CHECKING:
    from arvados_fuse.command.arguments import Settings

__all__ = ["commit_journals"]


def commit_journals(settings: Settings) -> int:
    """Commit them, and return the exit code. What is done, and what stays, is in the log.

    The log goes to standard error, unless it goes to a file. Raises CommandError.
    """
    start_logging(replace(settings, foreground=True))
    os.umask(0o077)  # as for a mount: the journal holds what is in files
    access = clusters.access_to(settings.standalone_dir)
    try:
        writer = _writer(settings, access)
    except FileSystemError as error:
        raise CommandError(str(error)) from None
    writer.start()
    try:
        is_complete = writer.recover(settings)
    except FileSystemError as error:
        raise CommandError(f"{error}.") from None
    finally:
        writer.finish()
    if not is_complete:
        raise CommandError(
            f"Not everything could be committed: what is left is in {settings.journal_dir}, and"
            " the lines above say why.",
            EXIT_UNSAVED,
        )
    return 0


def _writer(settings: Settings, access: clusters.Access) -> Writer:
    metrics = Metrics()
    cluster = clusters.connect(access, retries=settings.retries, metrics=metrics)
    new_client = clusters.keep_clients(
        access,
        cluster.keep_services,
        lambda: access.token,
        retries=settings.retries,
        metrics=metrics,
    )
    lock = threading.Lock()
    return Writer(
        settings, cluster, new_client(), access.host, locked=lock, unlocked=_Unlocked(lock)
    )


class _Unlocked:
    """Gives a lock up for the length of a block. There is no file system whose lock it would be."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.release()

    def __exit__(self, *_: object) -> None:
        self._lock.acquire()
