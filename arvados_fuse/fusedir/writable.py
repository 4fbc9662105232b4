"""The directory at the top of a collection that can be changed: its session."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from arvados_fuse.collection.repacking import Moves
from arvados_fuse.errors import AccessRefused, FileSystemError, NoSuchEntry, ReadOnly
from arvados_fuse.fusedir.changing import ChangingDirectory

if TYPE_CHECKING:
    from arvados_fuse.collection.draft import DraftDirectory
    from arvados_fuse.commit.committer import Committer
    from arvados_fuse.commit.session import Session
    from arvados_fuse.fusedir.directory import Directory, Surroundings

__all__ = ["WritableCollection"]


class WritableCollection(ChangingDirectory):
    """The top of a collection.

    A kind implements `check_writable`, `journal_name` and `make_session`.

    session: changes that are under way, or that are committed and not yet in the tree
    moves: where in Keep bytes were moved to, the last time, while the content stayed the same
    """

    __slots__ = ("moves", "session")

    def __init__(self, around: Surroundings, parent: Directory | None, key: str, name: str) -> None:
        super().__init__(around, parent, key, name)
        self.session: Session | None = None
        self.moves = Moves({})

    @property
    def journal_name(self) -> str:
        """What the journal calls the collection."""
        raise NotImplementedError

    def make_session(self, committer: Committer) -> Session:
        """Begin to change the collection, which is loaded. Raises NoSpace or JournalError."""
        raise NotImplementedError

    @property
    def committer(self) -> Committer:
        """What commits changes. Raises ReadOnly if the mount has none."""
        if self.around.writing is None:
            raise ReadOnly("The mount is read-only.")
        return self.around.writing.committer

    @property
    def is_begun(self) -> bool:
        """Whether there is a session, in which something can be changed at once."""
        return self.session is not None and self.session.is_based

    def begin(self) -> Session:
        """Return the session, begun now if there is none. May give the lock up.

        Raises Busy while a file of the same collection is written at another place of the mount.
        """
        self.check_writable()
        self.refresh()
        with self.in_use():
            while self.session is None and self.committer.wait_for_end(self.journal_name):
                self.invalidate()  # for what was changed at another place of the mount
                self.refresh()
        if self.session is None:
            self.session = self.make_session(self.committer)
            self.draft = self.session.draft.root
            self.uses += 1
        session = self.session
        session.used_at = time.monotonic()
        session.users += 1  # so that it does not end meanwhile
        try:
            session.base_journal()
        finally:
            session.users -= 1
        return session

    @property
    def is_saved(self) -> bool:
        """Whether the cluster gets the collection."""
        return True

    @property
    def is_shown(self) -> bool:
        """Always: a collection that is trashed can still be seen by who is in it."""
        return True

    def own_draft(self) -> DraftDirectory:
        """Return the draft of the top directory. There is a session."""
        assert self.draft is not None, "there is a session"
        return self.draft

    def noted(self) -> None:
        """Something was changed: commit it some time soon."""
        if self.session is not None:
            self.committer.changed(self.session)

    def relieve(self) -> None:
        """The journal is short of room: bring what it has of this collection to the cluster."""
        if self.session is not None:
            self.committer.relieve(self.session)

    def closed(self) -> None:
        """Do what the close of a changed file asks for. May give the lock up."""
        if self.session is not None:
            self.committer.closed(self.session)

    def commit(self) -> None:
        """Commit what was changed. May give the lock up."""
        if self.session is not None:
            self.committer.commit(self.session)

    def looked_through(self) -> None:
        """Account for what is loaded of the directories that have a draft."""
        self.account_draft()

    def sign_changes_anew(self) -> None:
        """Get new block signatures for what was changed. May give the lock up."""
        try:
            self.commit()  # it signs anew what only this mount has sent
        except FileSystemError:
            if self.session is not None:
                self.session.take_back()
        self.invalidate()
        with suppress(NoSuchEntry, AccessRefused):  # what is in the journal can be read even so
            self.refresh()

    def ended(self) -> None:
        """The session is over: everything is in the tree."""
        self.session = None
        self.forget_draft()
        self.around.inodes.release(self)

    def repacking(self, moves: Moves) -> None:
        """From now on the cluster may have some bytes in other blocks."""
        self.moves = moves
        self.uses += 1

    def repacked(self) -> None:
        """What `repacking` announced is done, or was given up."""
        self.around.inodes.release(self)
