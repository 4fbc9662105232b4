"""What an earlier mount has written and not committed is committed.

The journal of a mount that was killed says what was done, on top of which version. Doing it again
on that version gives the draft that there was, and that is committed like any other: what others
have changed meanwhile is merged.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from arvados_fuse.collection.delta import settle, snapshot
from arvados_fuse.collection.merge import shows
from arvados_fuse.collection.tree import Tree
from arvados_fuse.commit.replay import Replay
from arvados_fuse.commit.session import SCRATCH_PREFIX, Session
from arvados_fuse.commit.standin import stand_in
from arvados_fuse.errors import ClusterError, FileSystemError, NoSuchEntry
from arvados_fuse.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from arvados_fuse.api import Cluster, CollectionContent, Item
    from arvados_fuse.collection.repacking import Moves
    from arvados_fuse.commit.rescue import Rescue
    from arvados_fuse.commit.steps import Steps
    from arvados_fuse.journal.recovery import Orphan, Recovered

__all__ = ["Nobody", "Recovery"]

log = logging.getLogger(__name__)

MOST_TRIES = 5
"""How often it is done anew because others have changed the collection meanwhile."""


class Recovery:
    """Commits what orphaned journals hold.

    begin: makes a session of a collection: its uuid, a manifest and the portable data hash of that,
        "" if the cluster does not have it
    """

    def __init__(
        self,
        cluster: Cluster,
        steps: Steps,
        rescue: Rescue,
        begin: Callable[[str, str, str], Session],
    ) -> None:
        self._cluster = cluster
        self._steps = steps
        self._rescue = rescue
        self._begin = begin

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
            for _ in range(MOST_TRIES):
                done = self._do_again(recovered, uuid)
                if done is not None:
                    break
            else:
                raise ClusterError(f"others change {uuid} faster than it can be recovered")
            log.info("Committed %s of %s from %s.", counted(done, "change"), uuid, orphan.directory)
        orphan.discard(uuid)

    def _do_again(self, recovered: Recovered, uuid: str) -> int | None:
        """Do what a journal says and commit it. Returns how many changes that were.

        None if the collection has changed meanwhile, so that it has to be done anew: that may have
        been the last request of the mount that died, which the cluster has finished only now.
        """
        found = self._find(recovered.portable_data_hash) or self._find(uuid)
        session = self._begin_on(recovered, uuid, found)
        try:
            replay = Replay(recovered, session.draft)
            before = self._present(session)
            is_changed = before is not None and before != session.portable_data_hash
            present = self._content(session) if is_changed else None
            for number, generation in enumerate(recovered.generations()):
                if number and present is not None:
                    self._note_if_committed(session, present)
                replay.do(generation)
                session.sources |= replay.sources
                session.adopt()
            if present is not None:
                self._note_if_committed(session, present, was_begun=False)
            if not session.portable_data_hash:
                self._rescue.leave_out_lost(session, found.manifest_text if found else "")
            if self._present(session) != before:
                return None
            self._commit(session, is_there=before is not None)
        finally:
            session.journal.drop()
        return replay.done

    def _find(self, ident: str) -> CollectionContent | None:
        """Return a collection, by hash or uuid; None if it is gone."""
        try:
            return self._cluster.collection(ident)
        except NoSuchEntry:
            return None

    def _begin_on(
        self, recovered: Recovered, uuid: str, found: CollectionContent | None
    ) -> Session:
        """Begin on the version that the changes are on top of, or what it must have been.

        found: that version, else the present one, if there is one
        """
        if found is not None and found.item.portable_data_hash == recovered.portable_data_hash:
            return self._begin(uuid, found.manifest_text, found.item.portable_data_hash)
        return self._begin(uuid, stand_in(recovered, found.manifest_text if found else ""), "")

    def _present(self, session: Session) -> str | None:
        """Return the hash of what the collection has now; None if it is gone."""
        try:
            state = self._cluster.collection_state(session.uuid)
        except NoSuchEntry:
            return None
        session.desired = state.desired
        return state.portable_data_hash

    def _content(self, session: Session) -> Tree:
        return Tree.from_manifest(self._cluster.collection(session.uuid).manifest_text)

    def _note_if_committed(
        self, session: Session, present: Tree, *, was_begun: bool = True
    ) -> None:
        """Note that the cluster has what was done so far, if it shows that.

        The mount may have been killed after the cluster had made a commit and before the journal
        said so. Without this, our own commit would be taken for a change by others.

        was_begun: whether a commit of it was begun; if not, others may have written the same, but
            they have hardly moved the same
        """
        taken = snapshot(session.draft)
        if taken is None:
            return
        sources = taken.replace_files.values()
        if not was_begun and any(source.startswith("current/") for source in sources):
            return
        self._steps.bring_blocks(session, taken)
        paths = {path[1:]: bool(source) for path, source in taken.replace_files.items()}
        if shows(present, paths, {file.path: file.extents for file in taken.files}):
            settle(taken)

    def _commit(self, session: Session, *, is_there: bool) -> None:
        if is_there:
            self._steps.commit(session)
        else:
            self._rescue.save_as_new(session)


class Nobody:
    """The owner of a session that nobody looks at."""

    signatures_hold = True
    """The content was just asked for."""

    def committed(self, item: Item) -> None:
        """Nothing to do."""

    def rebased(self, item: Item, tree: Tree, manifest_size: int) -> None:
        """Nothing to do."""

    def looked_through(self) -> None:
        """Nothing to do."""

    def ended(self) -> None:
        """Nothing to do."""

    def repacking(self, moves: Moves) -> None:
        """Nothing to do."""

    def repacked(self) -> None:
        """Nothing to do."""
