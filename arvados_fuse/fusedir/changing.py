"""Directories of a collection that can be changed: how entries are made, removed and moved.

How files are changed is in `file_changes.py`, how entries go to other collections in `moving.py`.

A change has two parts. In the first it loads what it needs and begins the session, and may give the
lock up. In the second it looks everything up anew, writes it to the journal and makes it, and does
not: so it is made as a whole or, if the journal's disk is full, not at all.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from arvados_fuse.collection.draft import DraftDirectory
from arvados_fuse.collection.rename import check_depth
from arvados_fuse.errors import Busy, IsDirectory, NotDirectory
from arvados_fuse.fusedir.directory import Directory
from arvados_fuse.fusedir.file_changes import WritableTop
from arvados_fuse.fusedir.moving import Moving
from arvados_fuse.fusedir.names import check_new_name
from arvados_fuse.fusefile import AttributeChange, CollectionFile, kept_with

if TYPE_CHECKING:
    from arvados_fuse.commit.session import Session

__all__ = ["ChangingDirectory", "CollectionSubdirectory"]


class ChangingDirectory(Moving):
    """A directory of a collection whose entries can be changed."""

    __slots__ = ()

    def make_subdirectory(self, key: str, name: str) -> CollectionSubdirectory:
        """Make the object of a directory in this one."""
        return CollectionSubdirectory(self.around, self, key, name)

    def create(self, name: str) -> CollectionFile:
        """Make a new, empty file. May give the lock up.

        Raises Exists, InvalidArgument, NameTooLong, NameNotText, and what `begin` does.
        """
        check_new_name(name)
        with self._changing(self) as session:
            self._check_free(name)
            file = self._file_of(session.create(self.own_draft(), name))
            self._touched()
        self._keep(file, AttributeChange(mtime_ns=time.time_ns()))
        return file

    def mkdir(self, name: str) -> Directory:
        """Make a new directory. May give the lock up; raises as `create`."""
        check_new_name(name)
        with self._changing(self) as session:
            self._check_free(name)
            check_depth(self.own_draft())
            directory = self._directory_of(session.mkdir(self.own_draft(), name))
            self._touched()
        directory.kept = kept_with(None, AttributeChange(mtime_ns=time.time_ns()))
        return directory

    def unlink(self, name: str) -> None:
        """Remove a file. May give the lock up. Raises NoSuchEntry, IsDirectory."""
        with self._changing(self) as session:
            thing = self._entry(name)
            if not isinstance(thing, CollectionFile):
                raise IsDirectory(f"{name!r} is a directory.")
            with self._held(thing):
                self._keep_content(thing)
                session.unlink(self.own_draft(), thing.key)
                self._removed(thing.key, thing)
                self._touched()

    def rmdir(self, name: str) -> None:
        """Remove an empty directory. May give the lock up.

        Raises NoSuchEntry, NotDirectory, NotEmpty.
        """
        self._load_ahead(name)
        with self._changing(self) as session:
            thing = self._entry(name)
            with self._held(thing):
                if not isinstance(thing, ChangingDirectory):
                    raise NotDirectory(f"{name!r} is not a directory.")
                session.rmdir(self.own_draft(), thing.key)
                self._removed(thing.key, thing)
                self._touched()

    def move(self, name: str, target: Directory, new_name: str) -> None:
        """Move an entry to another directory, or give it another name. May give the lock up.

        Raises what `not_taken` says if `target` is no directory of a collection, NoSuchEntry,
        IsDirectory, NotDirectory, NotEmpty, InvalidArgument, and what `begin` and `move_far` do.
        """
        if not isinstance(target, ChangingDirectory):
            with self._changing(self):
                thing = self._entry(name)
                with self._held(thing):
                    raise target.not_taken(isinstance(thing, Directory))
        check_new_name(new_name)
        while target.collection is self.collection:
            target._load_ahead(new_name)
            with self._changing(self, target) as session:
                # Either may be in another collection by now.
                if target.collection is self.collection:
                    self._move_near(session, name, target, new_name)
                    return
        if target.collection.journal_name == self.collection.journal_name:
            # Not EXDEV: who copies instead may remove the file first, which is the same.
            raise Busy("Files can be moved in one place of the mount that has the collection.")
        self.move_far(name, target, new_name)

    def _move_near(
        self, session: Session, name: str, target: ChangingDirectory, new_name: str
    ) -> None:
        thing = self._entry(name)
        replaced = target._found(new_name)
        with self._held(thing, replaced):
            if replaced is thing:
                return
            key, new_key = thing.key, new_name if replaced is None else replaced.key
            self._drafted_object(thing)
            if replaced is not None:
                target._keep_content(replaced)
            session.rename(self.own_draft(), key, target.own_draft(), new_key)
            self._moved_over(key, thing, target, new_key, replaced)


class CollectionSubdirectory(ChangingDirectory):
    """A directory inside a collection. It is as fresh as its collection."""

    __slots__ = ()

    parent: ChangingDirectory

    @property
    def collection(self) -> WritableTop:
        """The directory at the top of the collection."""
        above: ChangingDirectory = self.parent
        while isinstance(above, CollectionSubdirectory):
            above = above.parent
        return above.collection

    def own_draft(self) -> DraftDirectory:
        """Return the draft of this directory, made now if there is none. There is a session."""
        if self.draft is None:
            self.draft = self.parent.own_draft().directory(self.key)
        return self.draft

    @property
    def is_shown(self) -> bool:
        """Whether a path leads here; not if it was removed, here or by others."""
        return self.parent.children.get(self.key) is self and self.parent.is_shown

    def lifetime(self, now: float) -> float:
        """As long as its collection's content."""
        return self.content_lifetime(now)

    def refresh(self) -> None:
        """Ask the cluster if the collection is too old. May give the lock up."""
        self.collection.refresh()

    def invalidate(self) -> None:
        """Distrust the collection."""
        self.collection.invalidate()

    def shrink(self) -> None:
        """Forget the parsed files; they can be parsed again to the same numbers."""
        self._node().drop_files()
