"""The steps of a commit, from the draft to the cluster.

1. What is not committed is frozen, and the journal begins a new generation.
2. The chunks of what was frozen are sent to Keep.
3. Meanwhile the cluster is asked for its version. If that is another one than the draft is based
   on, the draft is moved on top of it: what others changed is taken over, what both changed is
   kept twice, and the result is frozen anew.
4. One request says what has changed.
5. What was frozen is noted as committed.
6. The journal forgets it, for which nobody waits.

The file system's lock is held for the steps in memory alone.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from arvados_fuse.clock import lasting_clock
from arvados_fuse.collection.delta import (
    delta,
    full_manifest,
    settle,
    settle_contents,
    snapshot,
)
from arvados_fuse.collection.merge import looked_into, rebase, shows
from arvados_fuse.collection.tree import Tree
from arvados_fuse.commit.outbox import live_parts
from arvados_fuse.commit.resigning import Resigning
from arvados_fuse.errors import (
    AccessRefused,
    ClusterError,
    FileSystemError,
    Forbidden,
    ManifestError,
    NoSuchEntry,
)
from arvados_fuse.journal.records import Rename

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from arvados_fuse.api import Cluster, CollectionContent, Item
    from arvados_fuse.api.writing import ClusterWriting
    from arvados_fuse.collection.delta import Snapshot
    from arvados_fuse.collection.extents import ChunkLike
    from arvados_fuse.commit.preservation import Preservation
    from arvados_fuse.commit.session import Session
    from arvados_fuse.commit.uploads import Uploaded, Uploader

__all__ = ["Steps"]

log = logging.getLogger(__name__)

LONG_UPLOAD_S = 1.0
"""If sending blocks took longer, it is asked again whether others have changed the collection."""

MOST_TRIES = 5
"""How often a request is made anew because others changed what it is about."""

SMALL_MANIFEST = 1 << 18
"""Characters up to which the whole new manifest is asked for with each commit."""

MOST_SETTLED = 5000
"""Committed entries of a draft from which on the manifest is asked for, however large it is. To
leave that many to the tree takes the file system's lock for some 0.1 s."""

MANIFEST_PER_SETTLED = 1000
"""Characters of the manifest for each of these entries, at least: so the time that asking takes is
that of the number of files, and not of its square."""

SLICE = 2000
"""Files that are gone through before others get the file system's lock: some milliseconds."""

REST_S = 0.001
"""For how long the lock is left to others then. Who takes it again at once mostly gets it."""


class _Frozen(NamedTuple):
    """What one commit is about.

    generation: the last of the journal that belongs to it
    rebases: of the session; when there was another since then, `taken` is about what is no more
    """

    taken: Snapshot
    generation: int
    rebases: int


class Steps:
    """How the sessions of one mount are committed. Any thread, for one session at a time.

    locked: takes the file system's lock, which must not be held
    conflict_name: what a file is called from now on whose name others have given to something else
    """

    def __init__(
        self,
        cluster: Cluster,
        writing: ClusterWriting,
        uploader: Uploader,
        preservation: Preservation,
        *,
        locked: AbstractContextManager[object],
        conflict_name: Callable[[str], str],
    ) -> None:
        self._cluster = cluster
        self._writing = writing
        self._uploader = uploader
        self._preservation = preservation
        self._resigning = Resigning(cluster, uploader, locked)
        self._locked = locked
        self._conflict_name = conflict_name

    def commit(self, session: Session) -> None:
        """Bring everything up to now to the cluster.

        Raises what uploading and the requests raise; the session stays as it was then, and what
        was uploaded need not be uploaded again.
        """
        if session.is_scratch:
            self.compose(session)
            return
        is_signed_anew = False
        for attempt in range(1, MOST_TRIES + 1):
            self._find_out(session)
            if not self._is_dirty(session):
                if session.settled or session.draft.root.overlay:
                    self._leave_to_tree(session)
                return
            rebases = session.rebases
            try:
                if self._commit_once(session):
                    return
            except Forbidden:
                # Blocks may be signed for a token that is not used any more, or too long ago.
                if is_signed_anew or not self._writing.may_change_collection(session.uuid):
                    raise
                self._take_over(session)  # a whole manifest has what was not changed in it, too
                self._resigning.sign_anew(session)
                is_signed_anew = True
            except ClusterError:
                # What others did between the question and the request may be why.
                if attempt == MOST_TRIES or not self._was_overtaken(session, rebases):
                    raise
        raise ClusterError(
            f"The collection {session.uuid} is changed by others faster than it can be committed."
        )

    def _commit_once(self, session: Session) -> bool:
        """Go through the steps; false if what others did has overtaken them."""
        frozen = self._freeze(session)
        if frozen is None:
            return True
        started_at = lasting_clock()
        self._begin_uploads(session, frozen.taken)
        if self._is_behind(session):  # this is asked while the blocks are on their way
            self._take_over(session)
            frozen = self._freeze(session)
            if frozen is None:
                return True
        self._make_journal_whole(session)  # while the blocks are on their way, too
        self.bring_blocks(session, frozen.taken)
        self._resigning.send_again(session, frozen.taken)
        if lasting_clock() - started_at > LONG_UPLOAD_S and self._is_behind(session):
            return False
        return self._send(session, frozen)

    def compose(self, session: Session) -> str:
        """Bring everything to Keep, and return the manifest of a collection that is never saved.

        The lock must not be held. Raises what uploading raises, and AccessRefused if some of it
        cannot be read any more.
        """
        with session.composing:
            while True:
                token = self._uploader.token()
                manifest = self._compose(session)
                if token == self._uploader.token():
                    return manifest

    def _compose(self, session: Session) -> str:
        unreadable = None
        try:
            self._preservation.preserve(session)
        except AccessRefused as error:
            unreadable = error  # what is in the journal is brought to Keep all the same
        with self._locked:
            taken = snapshot(session.draft, whole=True)
            sealed = session.journal.rotate()
        assert taken is not None, "a whole snapshot is never nothing"
        self.bring_blocks(session, taken)
        with self._locked:
            session.outbox.committed()
        session.journal.committed(sealed.generation, "")
        if unreadable is not None:
            raise unreadable
        return full_manifest(taken)

    def preserve(self, session: Session) -> None:
        """Keep the blocks of a collection that is never saved readable, as far as they are.

        The lock must not be held. Raises what requests do. That something cannot be read any more
        is told by who reads it.
        """
        with session.composing, suppress(AccessRefused):
            self._preservation.preserve(session)

    def _is_dirty(self, session: Session) -> bool:
        """Whether there is something to commit; if not, nothing is left of what was undone."""
        with self._locked:
            if session.draft.is_dirty or session.is_adrift:
                return True
            session.outbox.committed()
            session.forget_undone()
            return False

    def _find_out(self, session: Session) -> None:
        """If the last request was not answered, find out whether the cluster has done it.

        What was made and sent, and removed here since, would be there again if it has.
        """
        if session.unanswered is None:
            return
        if self._is_behind(session):
            self._take_over(session)
        session.unanswered = None

    # -- what others did --------------------------------------------------------------------

    def _is_behind(self, session: Session) -> bool:
        state = self._cluster.collection_state(session.uuid)
        with self._locked:
            session.desired = state.desired
        return state.portable_data_hash != session.portable_data_hash

    def _was_overtaken(self, session: Session, rebases: int) -> bool:
        """Whether others have changed the collection since the draft was moved `rebases` times."""
        # An event may have told of it, so that the draft is on top of it by now.
        return self._is_behind(session) or session.rebases != rebases

    def _take_over(self, session: Session) -> None:
        """Move the draft on top of what the cluster has."""
        content = self._cluster.collection(session.uuid)
        tree = Tree.from_manifest(content.manifest_text)
        self._parse(session, tree)
        with self._locked:
            _give_up_what_was_replaced(session)
            self.rebase(session, content.item, tree, len(content.manifest_text))

    def _parse(self, session: Session, tree: Tree) -> None:
        """Parse what a rebase looks at, so that it need not be done with the lock held."""
        with self._locked:
            directories = looked_into(session.draft, tree)
        with suppress(ManifestError):  # the rebase raises it
            for directory in directories:
                directory.files()

    def _leave_to_tree(self, session: Session) -> None:
        """Leave to the tree what is committed, or was opened and not changed."""
        try:
            self._take_over(session)
        except NoSuchEntry:
            session.is_gone = True
        except FileSystemError as error:  # the cluster has everything: this can wait
            log.info("The new version of %s cannot be read: %s", session.uuid, error)

    def rebase(self, session: Session, item: Item, tree: Tree, manifest_size: int) -> None:
        """Move the draft on top of a version that the cluster has. With the lock held."""
        self._note_unanswered(session, tree)
        for path, kept_as in rebase(session.draft, tree, self._conflict_name):
            _note_conflict(session, Rename(path, kept_as))
            log.warning(
                "%s was changed here and elsewhere, in the collection %s: what was written here"
                " is now %s.",
                path,
                session.uuid,
                kept_as,
            )
        session.moved_to(item.portable_data_hash, manifest_size)
        session.desired = item.desired
        session.owner.rebased(item, tree, manifest_size)

    @staticmethod
    def _note_unanswered(session: Session, tree: Tree) -> None:
        """If the cluster has what was sent and not answered, it is ours, and no conflict."""
        sent = session.unanswered
        if sent is None:
            return
        paths = {path[1:]: bool(source) for path, source in sent.replace_files.items()}
        if shows(tree, paths, {file.path: file.extents for file in sent.files}):
            settle(sent)
            session.settled += len(sent.places)

    # -- blocks -----------------------------------------------------------------------------

    def _freeze(self, session: Session) -> _Frozen | None:
        with self._locked:
            session.outbox.let_go()
            is_whole = session.is_adrift or not self._writing.has_replace_files
            taken = snapshot(session.draft, whole=is_whole)
            if taken is not None and not (taken.is_expressible or taken.content):
                taken = snapshot(session.draft, whole=True)
            session.owner.looked_through()
            if taken is None:
                return None
            session.numbers.keep({frozen.file for frozen in taken.files})
            return _Frozen(taken, session.journal.rotate().generation, session.rebases)

    def bring_blocks(self, session: Session, taken: Snapshot) -> None:
        """Send to Keep what the files of a snapshot need, and let them have it from there."""
        while uploads := self._begin_uploads(session, taken):
            for chunk, upload in uploads.items():
                try:
                    uploaded = upload.result()
                except BaseException:
                    with self._locked:
                        session.outbox.upload_failed(chunk)
                    raise
                self._place(session, taken, chunk, uploaded)
        taken.fill_holes(partial(self._uploader.zeros, copies=session.copies))

    def _begin_uploads(
        self, session: Session, taken: Snapshot
    ) -> dict[ChunkLike, Future[Uploaded]]:
        """Begin to send the chunks that the files of a snapshot need, unless they are sent."""
        needed = live_parts(file.extents for file in taken.files)
        with self._locked:
            return {chunk: session.outbox.upload(chunk, parts) for chunk, parts in needed.items()}

    def _place(
        self, session: Session, taken: Snapshot, chunk: ChunkLike, uploaded: Uploaded
    ) -> None:
        taken.place(chunk, uploaded.spots)
        with self._locked:
            users = session.outbox.users(chunk)
        for first in range(0, len(users) - SLICE, SLICE):
            with self._locked:
                session.outbox.place(chunk, uploaded, users[first : first + SLICE])
            time.sleep(REST_S)
        with self._locked:
            session.placed(chunk, uploaded)

    # -- the request ------------------------------------------------------------------------

    def _send(self, session: Session, frozen: _Frozen) -> bool:
        """Make the request and note that it was done; false if a refresh has overtaken it."""
        with self._locked:
            if session.rebases != frozen.rebases:
                return False
            session.is_sending = True  # from now on, no refresh moves the draft
            session.unanswered = frozen.taken
        try:
            content = self._request(session, frozen.taken)
            session.unanswered = None
            if content is None:
                return False
            self._settle(session, frozen, content)
        finally:
            session.is_sending = False
        return True

    def _request(self, session: Session, taken: Snapshot) -> CollectionContent | None:
        """Make the request; None if others came before it, so that it has to be made anew."""
        if taken.content is not None:
            return self._replace(session, full_manifest(taken))
        change = delta(taken)
        most_settled = max(MOST_SETTLED, session.manifest_size // MANIFEST_PER_SETTLED)
        whole = session.manifest_size <= SMALL_MANIFEST or session.settled > most_settled
        return self._writing.edit(
            session.uuid, change.replace_files, change.manifest_text, whole=whole
        )

    def _replace(self, session: Session, manifest: str) -> CollectionContent | None:
        replaced = self._writing.replace(session.uuid, manifest, session.portable_data_hash)
        if replaced is None:
            return None
        content, before = replaced
        if before is None:
            return content
        # Somebody has changed the collection between the question and the request, which has undone
        # that. With theirs below and ours on top, all of it is sent once more.
        tree = Tree.from_manifest(before.manifest_text)
        with self._locked:
            session.unanswered = None
            _give_up_what_was_replaced(session)
            self.rebase(session, before.item, tree, len(before.manifest_text))
            session.portable_data_hash = content.item.portable_data_hash
            session.commits += 1
            session.is_adrift = True
            session.owner.committed(content.item)
        log.info("Merged what others did to %s while it was being replaced.", session.uuid)
        return None

    def _settle(self, session: Session, frozen: _Frozen, content: CollectionContent) -> None:
        taken = frozen.taken
        tree = Tree.from_manifest(content.manifest_text) if content.manifest_text else None
        self._settle_contents(taken)
        with self._locked:
            paths = {f.file: f.path for f in taken.files if f.file.revision != f.revision}
            attached = session.numbers.attached(paths)
            contents = session.numbers.contents(
                {f.file: f.extents for f in taken.files if f.file in paths}
            )
            settle(taken)
            session.outbox.committed()
            session.numbers.forget(f.file for f in taken.files if f.file.revision == f.revision)
            session.commits += 1
            session.is_adrift = False
            session.portable_data_hash = content.item.portable_data_hash
            session.journal_base = session.portable_data_hash
            session.owner.committed(content.item)
            session.settled += len(taken.places)
        try:  # at once: what is changed from now on is on top of what is committed
            session.journal.note_committed(
                frozen.generation, session.portable_data_hash, attached, contents
            )
        except FileSystemError as error:
            _warn_of_journal(session, error)
        if tree is not None:
            self._parse(session, tree)
            with self._locked:
                self.rebase(session, content.item, tree, len(content.manifest_text))

    def _settle_contents(self, taken: Snapshot) -> None:
        """Do most of what settling a large commit takes, while others get the lock in between."""
        for _ in range(SLICE, len(taken.files), SLICE):
            with self._locked:
                settle_contents(taken, SLICE)
            time.sleep(REST_S)

    @staticmethod
    def _make_journal_whole(session: Session) -> None:
        """Let a power cut leave of the journal all that is going to be sent, or nothing.

        On a disk that fails, what is written is better saved than not.
        """
        try:
            session.journal.make_whole()
        except FileSystemError as error:
            log.warning("%s is saved while its journal cannot be synced: %s", session.uuid, error)

    def shorten_journal(self, session: Session) -> None:
        """Let the journal forget what is committed. Waits for the disk; the lock must not be held.

        Who waits for the commit need not wait for this: a mount that finds what is committed
        already in a journal knows that.
        """
        try:
            session.journal.shorten()
        except FileSystemError as error:
            _warn_of_journal(session, error)


def _note_conflict(session: Session, conflict: Rename) -> None:
    """Let the journal know of a conflict, which is settled already.

    Without that, it would be found and settled once more after a crash.
    """
    try:
        session.note(conflict)
    except FileSystemError as error:
        log.warning("The journal of %s is behind what it is for: %s", session.uuid, error)


def _give_up_what_was_replaced(session: Session) -> None:
    """Others have changed once more what they are to be given back: there is no merging that."""
    if session.is_adrift:
        session.is_adrift = False
        log.warning(
            "%s was changed by others twice while it was being replaced: what they did first may be"
            " in a stored version alone (see .arvados#versions there).",
            session.uuid,
        )


def _warn_of_journal(session: Session, error: FileSystemError) -> None:
    """Say that a journal holds more than it need; the next commit takes that out too."""
    log.warning("%s is committed, but its journal is not shortened: %s", session.uuid, error)
