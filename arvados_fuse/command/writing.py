"""What a mount that can be written to needs besides: the journal, and commits in the background."""

from __future__ import annotations

import datetime
import logging
import os
import shutil
import threading
from typing import TYPE_CHECKING

from arvados_fuse.api.writing import ArvadosWriting
from arvados_fuse.collection.tree import Tree
from arvados_fuse.command import owners
from arvados_fuse.command.patience import Patience
from arvados_fuse.command.problem import CommandError
from arvados_fuse.command.progress import Left, reported
from arvados_fuse.commit.committer import Committer
from arvados_fuse.commit.copies import Standard
from arvados_fuse.commit.known import KnownBlocks
from arvados_fuse.commit.preservation import Preservation
from arvados_fuse.commit.recovery import Nobody, Recovery
from arvados_fuse.commit.repacking import Repacker
from arvados_fuse.commit.rescue import Rescue
from arvados_fuse.commit.steps import Steps
from arvados_fuse.commit.uploads import Uploader
from arvados_fuse.commit.writing import Writing, conflict_name
from arvados_fuse.errors import FileSystemError
from arvados_fuse.journal.journal import About, Journal, boot_id
from arvados_fuse.journal.recovery import orphans

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from arvados_fuse.api import ArvadosCluster, Record
    from arvados_fuse.command.arguments import Settings
    from arvados_fuse.commit.pending import PendingCollection
    from arvados_fuse.commit.session import Session
    from arvados_fuse.fresh import Unlocked
    from arvados_fuse.keep.client import KeepClient

__all__ = ["LAST_PATIENCE_S", "Writer"]

LARGEST_JOURNAL = 64 << 30
"""Bytes that a journal holds unless another size was asked for."""

LAST_PATIENCE_S = 15.0
"""For how long a request is repeated when the mount is ending."""

log = logging.getLogger(__name__)


class Writer:
    """The part of a mount that brings changes to the cluster.

    writing: what the directories need of it
    """

    def __init__(
        self,
        settings: Settings,
        cluster: ArvadosCluster,
        keep: KeepClient,
        host: str,
        *,
        locked: AbstractContextManager[object],
        unlocked: Unlocked,
    ) -> None:
        """Make the journal of this mount. Raises NoSpace, JournalError, and what a request does.

        keep: stores blocks; it has to live until `finish` has returned, and is closed there
        """
        self._keep = keep
        self._connection = cluster.connection
        self._locked = locked
        self._finishing = threading.Lock()
        self._patience: Patience | None = None  # of the end
        self._is_saved: bool | None = None  # known when it has finished
        user_uuid = cluster.user_uuid()
        about = About(
            host=host,
            cluster_id=user_uuid[:5],
            user_uuid=user_uuid,
            mount_point=str(settings.mount_dir),
            started=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            boot_id=boot_id(),
        )
        size = settings.journal_size or _usual_size(settings.journal_dir)
        self._journal = _made_journal(settings.journal_dir, about, size)
        changes = ArvadosWriting(cluster.connection)
        known = KnownBlocks(keep.token, cluster.signature_ttl_s / 2)
        uploader = Uploader(keep, known, Standard(changes.replicas, settings.storage_classes))
        preservation = Preservation(keep, uploader, locked, cluster.signature_ttl_s)
        steps = Steps(
            cluster, changes, uploader, preservation, locked=locked, conflict_name=conflict_name
        )
        self._committer = Committer(
            steps,
            self._journal,
            uploader,
            Repacker(changes, keep, uploader),
            delay_s=settings.commit_delay_s,
            preservation_s=preservation.interval_s,
            locked=locked,
            unlocked=unlocked,
        )
        self._user_uuid = user_uuid
        rescue = Rescue(cluster, changes, steps, keep, settings.storage_classes)
        self._recovery = Recovery(cluster, steps, rescue, self._begin_recovery)
        self.writing = Writing(self._committer, changes, settings.storage_classes)

    def recover(self, settings: Settings) -> bool:
        """Commit what mounts of this user have left that did not end well. Waits.

        Returns whether that was possible; what could not be committed stays, with a line in the
        log. Raises JournalError.
        """
        is_complete = True
        for orphan in orphans(settings.journal_dir, self._user_uuid[:5], self._user_uuid):
            log.info("Found the journal of a mount that was cut off: %s", orphan.directory)
            is_complete &= self._recovery.recover(orphan)
        return is_complete

    def _begin_recovery(self, uuid: str, manifest: str, portable_data_hash: str) -> Session:
        return self._committer.make_session(
            uuid,
            Tree.from_manifest(manifest),
            portable_data_hash,
            Nobody(),
            manifest_size=len(manifest),
        )

    def pending(self) -> list[PendingCollection]:
        """What the cluster does not have yet. Called with the file system's lock held."""
        return self._committer.pending()

    def journal_use(self) -> Record:
        """Where the journal is, and how much it holds."""
        return {
            "directory": str(self._journal.directory),
            "used_bytes": self._journal.used_bytes,
            "limit_bytes": self._journal.limit_bytes,
        }

    def token_replaced(self) -> None:
        """Requests are made with another token from now on. The file system's lock is held."""
        self._committer.token_replaced()

    def start(self) -> None:
        """Start to commit. Call it in the process that serves the mount."""
        self._committer.start()
        # The first fsync would have to wait for that.
        threading.Thread(target=self._keep.prepare, name="keep-prepare", daemon=True).start()

    def give_up(self) -> None:
        """Leave no journal behind, for the file system is not mounted after all. Not after `start`.

        Raises JournalError.
        """
        self._keep.close()
        self._journal.close()

    @property
    def has_given_up(self) -> bool:
        """Whether `finish` did not wait for all: the process has to end by itself then."""
        return self._patience is not None and bool(self._patience.why)

    def leave(self) -> None:
        """Let `finish` wait no longer, if it does: what is not saved stays in the journal."""
        if self._patience is not None:
            self._patience.end()

    def finish(self) -> bool:
        """Commit what is left, once, when no request comes any more. Returns whether all is saved.

        What is not stays in the journal. May be called by several threads, which all wait then.
        """
        with self._finishing:
            if self._is_saved is None:
                self._is_saved = self._finish()
            return self._is_saved

    def _finish(self) -> bool:
        # What waits for a cluster that is away waits no longer; what gets on takes its time.
        self._connection.limit_patience(LAST_PATIENCE_S)
        self._keep.limit_patience(LAST_PATIENCE_S)
        self._patience = patience = Patience(
            lambda: max(self._keep.moved_at, self._connection.moved_at)
        )
        with reported(self._left):
            failed = self._committer.finish(patience.is_over)
        if failed and patience.why:  # threads may still be at work
            log.warning("%s: what is not saved yet is left to the next mount.", patience.why)
        else:
            self._keep.close()
            self._journal.close()
        for session in failed:
            log.error(
                "What was written to %s is not committed; it is in %s, and the next mount of this"
                " user will try again.",
                session.uuid,
                self._journal.directory,
            )
        return not failed

    def _left(self) -> Left:
        with self._locked:
            pending = self._committer.pending()
        return Left(
            collections=len(pending),
            files=sum(each.pending_files for each in pending),
            size=sum(each.pending_bytes for each in pending),
        )


def _made_journal(directory: Path, about: About, size: int) -> Journal:
    try:
        return Journal.create(directory, about, size)
    except FileSystemError as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        remark = owners.remark(error, directory)
        raise CommandError(
            f"The journal cannot be in {directory}: {reason}{remark}. Choose another place with"
            " --journal-dir."
        ) from error


def _usual_size(directory: Path) -> int:
    """Return how many bytes the journal may hold: half of what is free where it will be."""
    place = directory
    while not os.path.exists(place):  # also False where one may not look: Path.exists fails
        place = place.parent
    return min(shutil.disk_usage(place).free // 2, LARGEST_JOURNAL)
