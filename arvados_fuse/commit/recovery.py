"""What an earlier mount has written and not committed is committed.

The journal of a mount that was killed says what was done, on top of which version. Doing it again
on that version gives the draft that there was, and that is committed like any other: what others
have changed meanwhile is merged.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from arvados_fuse.collection.delta import full_manifest, snapshot
from arvados_fuse.collection.draft import DraftFile
from arvados_fuse.collection.extents import Pending
from arvados_fuse.collection.rename import rename
from arvados_fuse.collection.tree import Tree
from arvados_fuse.commit.session import SCRATCH_PREFIX, Session
from arvados_fuse.errors import FileSystemError, NoSuchEntry
from arvados_fuse.journal.records import (
    Attach,
    Create,
    Mkdir,
    Rename,
    Rmdir,
    Times,
    Truncate,
    Unlink,
    Write,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from arvados_fuse.api import Cluster, CollectionContent, Item
    from arvados_fuse.api.writing import ClusterWriting
    from arvados_fuse.collection.draft import Draft
    from arvados_fuse.collection.repacking import Moves
    from arvados_fuse.commit.steps import Steps
    from arvados_fuse.journal.records import Operation
    from arvados_fuse.journal.recovery import Orphan, Recovered

__all__ = ["Recovery", "replay"]

log = logging.getLogger(__name__)


class Recovery:
    """Commits what orphaned journals hold.

    begin: makes a session of a collection: uuid, tree, portable data hash, owner, manifest size
    """

    def __init__(
        self,
        cluster: Cluster,
        writing: ClusterWriting,
        steps: Steps,
        begin: Callable[[str, CollectionContent], Session],
        classes: tuple[str, ...],
    ) -> None:
        self._cluster = cluster
        self._writing = writing
        self._steps = steps
        self._begin = begin
        self._classes = classes

    def recover(self, orphan: Orphan) -> bool:
        """Commit all that a journal holds, collection by collection; whether that was possible.

        What could not be committed stays there, with a line in the log.
        """
        is_complete = True
        for uuid in orphan.collections():
            try:
                self._recover(orphan, uuid)
            except FileSystemError as error:
                is_complete = False
                log.error(
                    "What was written to %s and not committed stays in %s: %s",
                    uuid,
                    orphan.directory,
                    error,
                )
        orphan.close()
        return is_complete

    def _recover(self, orphan: Orphan, uuid: str) -> None:
        recovered = orphan.read(uuid) if not uuid.startswith(SCRATCH_PREFIX) else None
        if recovered is not None:
            session = self._begin(uuid, self._base(recovered, uuid))
            try:
                done = replay(recovered, session.draft)
                session.adopt()
                self._commit(session)
            finally:
                session.journal.drop()
            log.info("Committed %d changes of %s from %s.", done, uuid, orphan.directory)
        orphan.discard(uuid)

    def _base(self, recovered: Recovered, uuid: str) -> CollectionContent:
        """Return the version that the changes are on top of; if it is gone, the present one."""
        try:
            return self._cluster.collection(recovered.portable_data_hash)
        except NoSuchEntry:
            log.warning(
                "The version of %s that was changed is gone; the changes go on top of the present.",
                uuid,
            )
            return self._cluster.collection(uuid)

    def _commit(self, session: Session) -> None:
        try:
            self._cluster.collection_state(session.uuid)
        except NoSuchEntry:
            self._commit_as_new(session)
        else:
            self._steps.commit(session)

    def _commit_as_new(self, session: Session) -> None:
        """Save the content of a collection that is gone, as a new one in the user's home."""
        taken = snapshot(session.draft, whole=True)
        assert taken is not None, "a whole snapshot is never nothing"
        self._steps.bring_blocks(session, taken)
        item = self._writing.create_collection(
            self._cluster.user_uuid(),
            f"{session.uuid} (recovered)",
            manifest_text=full_manifest(taken),
            classes=self._classes,
        )
        log.warning(
            "The collection %s is gone; what was written to it is in the new collection %s.",
            session.uuid,
            item.uuid,
        )


def replay(recovered: Recovered, draft: Draft) -> int:
    """Do again what a journal says, to a draft of the version that it says; return how often.

    What cannot be done again is left out, with a line in the log: it was not done then either, or
    the version was another.
    """
    files: dict[int, DraftFile] = {}
    done = 0
    for number, path in recovered.attached.items():
        directory, name = draft.locate(path)
        files[number] = directory.open_file(name)
    for operation in recovered.operations():
        try:
            _do(operation, draft, files, recovered)
            done += 1
        except FileSystemError as error:
            log.warning("Cannot do again what the journal says: %s (%s)", operation, error)
    return done


def _do(
    operation: Operation, draft: Draft, files: dict[int, DraftFile], recovered: Recovered
) -> None:
    match operation:
        case Create(number, path):
            directory, name = draft.locate(path)
            if directory.has(name):
                directory.unlink(name)
            files[number] = directory.create(name)
        case Attach(number, path):
            directory, name = draft.locate(path)
            files[number] = directory.open_file(name)
        case Write(number, start, size, chunk, offset):
            if number in files:  # else it was unlinked
                files[number].write(start, size, Pending(recovered.chunks[chunk], offset))
        case Truncate(number, size):
            if number in files:
                files[number].truncate(size)
        case Times():
            pass  # the cluster has no place for them
        case _:
            _do_to_names(operation, draft)


def _do_to_names(operation: Mkdir | Unlink | Rmdir | Rename, draft: Draft) -> None:
    if isinstance(operation, Rename):
        old_directory, old_name = draft.locate(operation.old)
        new_directory, new_name = draft.locate(operation.new)
        rename(old_directory, old_name, new_directory, new_name)
        return
    directory, name = draft.locate(operation.path)
    if isinstance(operation, Mkdir):
        directory.mkdir(name)
    elif isinstance(operation, Unlink):
        directory.unlink(name)
    else:
        directory.rmdir(name)


class Nobody:
    """The owner of a session that nobody looks at."""

    signatures_hold = True
    """The content was just asked for."""

    def committed(self, item: Item) -> None:
        """Nothing to do."""

    def rebased(self, item: Item, tree: Tree, manifest_size: int) -> None:
        """Nothing to do."""

    def ended(self) -> None:
        """Nothing to do."""

    def repacking(self, moves: Moves) -> None:
        """Nothing to do."""

    def repacked(self) -> None:
        """Nothing to do."""
