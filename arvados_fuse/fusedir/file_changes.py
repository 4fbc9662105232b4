"""Files of a collection that can be changed: how they are.

A change is made in the draft and noted in the journal at once; commits follow in the background
(`commit/`). What is shown is in `drafted.py`, how entries come and go in `changing.py`.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol, cast

from arvados_fuse.collection.draft import DraftDirectory, DraftFile
from arvados_fuse.errors import FileTooBig, NoSuchEntry, Stale
from arvados_fuse.fusedir.drafted import DraftBacked
from arvados_fuse.fusedir.tree import TopDirectory
from arvados_fuse.fusefile import AttributeChange, CollectionFile, kept_with

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from arvados_fuse.commit.session import Session

__all__ = ["FileChanges", "WritableTop"]

LARGEST_FILE = 16 << 40
"""Bytes that a file may have. A manifest names each 64 MiB of it, holes too: that is 20 MB of text,
which the cluster still takes in one request."""


class WritableTop(TopDirectory, Protocol):
    """The directory at the top of a collection, as changes need it."""

    @property
    def writable(self) -> bool:
        """Whether, as far as is known, the collection can be changed."""

    @property
    def is_saved(self) -> bool:
        """Whether the cluster gets the collection; not a temporary one."""

    @property
    def journal_name(self) -> str:
        """What the journal calls the collection, at whatever place of the mount it is shown."""

    @property
    def session(self) -> Session | None:
        """The changes that are under way, if there are any."""

    @property
    def is_begun(self) -> bool:
        """Whether there is a session, in which something can be changed at once."""

    def begin(self) -> Session:
        """Return the session, begun now if there is none. May give the lock up.

        Raises ReadOnly, NotPermitted, Busy, NoSpace, JournalError, and what asking the cluster or
        a commit does.
        """

    def check_writable(self) -> None:
        """Raise ReadOnly or NotPermitted if the collection must not be changed.

        May give the lock up.
        """

    def commit(self) -> None:
        """Commit what was changed. May give the lock up."""

    def sign_changes_anew(self) -> None:
        """Get new block signatures for what was changed. May give the lock up."""

    def closed(self) -> None:
        """Do what the close of a changed file asks for. May give the lock up."""

    def noted(self) -> None:
        """Something was changed: commit it some time soon."""

    def relieve(self) -> None:
        """The journal is short of room: bring what it has of this collection to the cluster."""


class FileChanges(DraftBacked):
    """The part of a collection's directory that changes its files."""

    __slots__ = ()

    @property
    def collection(self) -> WritableTop:
        """The directory at the top of the collection."""
        raise NotImplementedError

    def own_draft(self) -> DraftDirectory:
        """Return the draft of this directory, made now if there is none. There is a session."""
        raise NotImplementedError

    @property
    def is_shown(self) -> bool:
        """Whether a path leads here; not if it was removed, here or by others."""
        raise NotImplementedError

    def make_file(self, index: int, key: str, name: str, size: int) -> CollectionFile:
        """Make the object of a file of this directory."""
        file = CollectionFile(self, self._node(), index, key=key, name=name, size=size)
        file.kept = self._kept.get(key)
        return file

    @property
    def writable(self) -> bool:
        """Whether, as far as is known, entries can be changed."""
        return self.collection.writable

    # -- changes of files -------------------------------------------------------------------

    def change_attributes(self, change: AttributeChange) -> None:
        """Keep attributes of this directory. May give the lock up."""
        self.check_writable()
        self.kept = kept_with(self.kept, change)

    def change_file_attributes(self, file: CollectionFile, change: AttributeChange) -> None:
        """Keep attributes of `file`. May give the lock up."""
        self.check_writable()
        cast("FileChanges", file.parent)._keep(file, change)  # renamed meanwhile, it may be

    def _keep(self, file: CollectionFile, change: AttributeChange) -> None:
        file.kept = kept_with(file.kept, change)
        if not file.is_unlinked:
            self._kept[file.key] = file.kept

    def check_writable(self) -> None:
        """Raise ReadOnly or NotPermitted if the collection must not be changed.

        May give the lock up.
        """
        self.collection.check_writable()

    def write_file(self, file: CollectionFile, offset: int, data: bytes) -> None:
        """Write into `file`. May give the lock up."""
        _check_size(offset + len(data))
        with self._changing_file(file) as (session, draft):
            draft.pins += 1  # it must not leave the overlay while the lock is given up
            try:
                session.write(draft, offset, data)
            finally:
                draft.pins -= 1
            directory = cast("FileChanges", file.parent)  # it may have been renamed meanwhile
            directory._keep(file, AttributeChange(mtime_ns=time.time_ns()))
            if session.is_short_of_room:
                directory.collection.relieve()

    def truncate_file(self, file: CollectionFile, size: int) -> None:
        """Cut `file` off, or lengthen it by zeros. May give the lock up."""
        _check_size(size)
        with self._changing_file(file) as (session, draft):
            if size != draft.size:
                session.truncate(draft, size)
            directory = cast("FileChanges", file.parent)
            directory._keep(file, AttributeChange(mtime_ns=time.time_ns()))
            directory.collection.noted()

    def file_closed(self) -> None:
        """Do what the close of a file that is not saved asks for. May give the lock up."""
        self.collection.closed()

    def file_released(self, file: CollectionFile) -> None:
        """A handle of `file` is about to go while the file has a draft."""
        draft, session = file.draft, self.collection.session
        assert draft is not None
        if session is not None:
            session.written_out(draft)
        is_in_overlay = self._drafted.get(file.key) is file
        if not is_in_overlay and not file.is_unlinked and file.uses == 1 and file.index >= 0:
            self._be_of_tree(file, draft)

    def is_empty(self) -> bool:
        """Whether there is no entry. May give the lock up."""
        listing = self.listing()
        return not listing.directories and not listing.files

    def commit(self) -> None:
        """Commit the collection. May give the lock up."""
        self.collection.commit()

    def sign_changes_anew(self) -> None:
        """Get new block signatures for what was changed in the collection, as far as there are.

        May give the lock up.
        """
        self.collection.sign_changes_anew()

    def _draft_of(self, file: CollectionFile) -> DraftFile:
        """Return the draft of a file, made now if need be. There is a session.

        May give the lock up. Raises Stale if the file is not what its name leads to: others have
        changed it since it was opened, or it is being moved.
        """
        self._files()
        draft = file.draft
        if draft is not None and (file.is_unlinked or self._drafted.get(file.key) is file):
            return draft
        if not (self.is_shown and self._is_shown_as(file.key, file)):
            raise Stale(f"{file.path()} was changed elsewhere since it was opened; open it again.")
        entry = self.own_draft().open_file(file.key)
        self._pin(file, entry)
        return entry

    def _is_shown_as(self, key: str, file: CollectionFile) -> bool:
        found = self._child(key)
        if found is not None and found is not file:
            self.around.inodes.drop_if_unused(found)
        return found is file

    # -- while something is changed --------------------------------------------------------

    @contextmanager
    def _changing(self, *directories: FileChanges) -> Iterator[Session]:
        """Begin to change something. May give the lock up, but not any more when it has begun.

        directories: whose entries are going to change, and are loaded for that; none of them may be
            removed, or NoSuchEntry is raised. They may be of several collections, which all have a
            session then

        Yields the session of this directory's collection.
        """
        with ExitStack() as held:
            for directory in directories:
                held.enter_context(directory.in_use())
            sessions = self._begin(directories)
            for directory in directories:
                directory._check_shown()
            for session in sessions:
                session.users += 1
            try:
                yield sessions[0]
            finally:
                for session in sessions:
                    session.users -= 1

    def _begin(self, directories: Sequence[FileChanges]) -> list[Session]:
        """Begin the sessions of all collections and load the directories: the own one comes first.

        While the lock is given up for one of that, the rest may be undone, and a directory may be
        moved to another collection. So it is done until all of it is.
        """
        involved = (self, *directories)
        while True:
            for each in involved:
                each.collection.begin()
            for directory in directories:
                directory.load(directory._node())
            if all(each.collection.is_begun for each in involved) and all(
                directory._node().loaded for directory in directories
            ):
                found = {id(each.collection): each.collection.session for each in involved}
                return [session for session in found.values() if session is not None]

    @contextmanager
    def _changing_file(self, file: CollectionFile) -> Iterator[tuple[Session, DraftFile]]:
        """Begin to change a file, wherever it is by now. As `_changing`; raises Stale."""
        while True:
            directory = cast("FileChanges", file.parent)
            with directory.in_use(), directory._changing() as session:
                directory._files()  # gives the lock up if they are not loaded
                if file.parent is directory and directory.collection.session is session:
                    yield session, directory._draft_of(file)
                    return

    def _check_shown(self) -> None:
        """Raise NoSuchEntry if no path leads here any more."""
        if not self.is_shown:
            raise NoSuchEntry(f"The directory {self.name!r} has been removed.")


def _check_size(size: int) -> None:
    """Raise FileTooBig if no file may have so many bytes."""
    if size > LARGEST_FILE:
        raise FileTooBig(f"A file may have up to {LARGEST_FILE >> 40} TiB.")
