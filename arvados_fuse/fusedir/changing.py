"""Directories of a collection that can be changed: how entries are made, removed and moved.

How files are changed is in `file_changes.py`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from arvados_fuse.collection.draft import DraftDirectory, DraftFile
from arvados_fuse.collection.rename import check_depth, rename
from arvados_fuse.errors import (
    Busy,
    Exists,
    FileSystemError,
    IsDirectory,
    NotDirectory,
    OtherCollection,
)
from arvados_fuse.fusedir.directory import Directory
from arvados_fuse.fusedir.file_changes import FileChanges, WritableTop
from arvados_fuse.fusedir.names import check_new_name
from arvados_fuse.fusefile import AttributeChange, CollectionFile, kept_with
from arvados_fuse.journal.records import Mkdir, Rename, Rmdir, Unlink

if TYPE_CHECKING:
    from arvados_fuse.commit.session import Session
    from arvados_fuse.fresh import FreshBase

__all__ = ["ChangingDirectory", "CollectionSubdirectory"]


class ChangingDirectory(FileChanges):
    """A directory of a collection whose entries can be changed."""

    __slots__ = ()

    def make_subdirectory(self, key: str, name: str) -> CollectionSubdirectory:
        """Make the object of a directory in this one."""
        return CollectionSubdirectory(self.around, self, key, name)

    # -- changes of entries -----------------------------------------------------------------

    def create(self, name: str) -> CollectionFile:
        """Make a new, empty file. May give the lock up.

        Raises Exists, InvalidArgument, NameTooLong, NameNotText, and what `begin` does.
        """
        check_new_name(name)
        with self._changing(self) as session:
            self._check_free(name)
            entry = self.own_draft().create(name)
            session.created(entry)
            self._touched()
            file = self._file_of(entry)
        self._keep(file, AttributeChange(mtime_ns=time.time_ns()))
        return file

    def mkdir(self, name: str) -> Directory:
        """Make a new directory. May give the lock up; raises as `create`."""
        check_new_name(name)
        with self._changing(self) as session:
            self._check_free(name)
            check_depth(self.own_draft())
            entry = self.own_draft().mkdir(name)
            session.note(Mkdir(entry.path()))
            self._touched()
            directory = self._directory_of(entry)
        directory.kept = kept_with(None, AttributeChange(mtime_ns=time.time_ns()))
        return directory

    def unlink(self, name: str) -> None:
        """Remove a file. May give the lock up. Raises NoSuchEntry, IsDirectory."""
        with self._changing(self) as session:
            thing = self._entry(name)
            if not isinstance(thing, CollectionFile):
                raise IsDirectory(f"{name!r} is a directory.")
            self._keep_content(thing)
            session.note(Unlink(self._path_in_collection(thing.key)))
            self.own_draft().unlink(thing.key)
            self._removed(thing.key, thing)
            self._touched()

    def rmdir(self, name: str) -> None:
        """Remove an empty directory. May give the lock up.

        Raises NoSuchEntry, NotDirectory, NotEmpty.
        """
        self._load_ahead(name)
        with self._changing(self) as session:
            thing = self._entry(name)
            if not isinstance(thing, ChangingDirectory):
                self.around.inodes.drop_if_unused(thing)
                raise NotDirectory(f"{name!r} is not a directory.")
            path = self._path_in_collection(thing.key)
            try:
                self.own_draft().rmdir(thing.key)
            finally:
                thing.resized()  # to find out whether it is empty may have loaded it
            session.note(Rmdir(path))
            self._removed(thing.key, thing)
            self._touched()

    def move(self, name: str, target: Directory, new_name: str) -> None:
        """Move an entry to another directory, or give it another name. May give the lock up.

        Raises what `not_taken` says if `target` is no directory of a collection, NoSuchEntry,
        IsDirectory, NotDirectory, NotEmpty, InvalidArgument, and what `begin` does.
        """
        if not isinstance(target, ChangingDirectory):
            with self._changing(self):
                raise target.not_taken(isinstance(self._entry(name), Directory))
        check_new_name(new_name)
        if target.collection is not self.collection:
            if target.collection.journal_name == self.collection.journal_name:
                # Not EXDEV: who copies instead may remove the file first, which is the same.
                raise Busy("Files can be moved in one place of the mount that has the collection.")
            self._move_far(name, target, new_name)
            return
        target._load_ahead(new_name)
        with self._changing(self, target) as session:
            thing = self._entry(name)
            replaced = target._found(new_name)
            if replaced is thing:
                self.around.inodes.drop_if_unused(thing)
                return
            key, new_key = thing.key, new_name if replaced is None else replaced.key
            self._drafted_object(thing)
            if replaced is not None:
                target._keep_content(replaced)
            old, new = self._path_in_collection(key), target._path_in_collection(new_key)
            try:
                rename(self.own_draft(), key, target.own_draft(), new_key)
            except FileSystemError:
                if isinstance(replaced, ChangingDirectory):
                    replaced.resized()  # as in rmdir
                elif replaced is not None:
                    self.around.inodes.drop_if_unused(replaced)
                raise
            session.note(Rename(old, new))
            self._moved_over(key, thing, target, new_key, replaced)

    def _move_far(self, name: str, target: ChangingDirectory, new_name: str) -> None:
        """Move a file to another collection, by reference: no data moves.

        First the other collection gets it, and commits it, then it is removed here: at no moment is
        it in neither.
        """
        # Blocks of a temporary collection are its own: no other can be removed below it.
        are_saved = self.collection.is_saved and target.collection.is_saved
        with self._changing(self):
            thing = self._entry(name)
            if not are_saved or not isinstance(thing, CollectionFile):
                raise OtherCollection(f"{name!r} can be copied to another collection.")
            self._draft_of(thing)
        self.collection.commit()  # what is only in the journal of this collection has to get out
        with self._changing(self), target._changing(target) as session:
            # Since this may have given the lock up for the other collection, all is seen anew.
            draft = self._draft_of(thing)
            if self._found(name) is not thing or draft.extents.pending_chunks():
                raise Busy(f"{name!r} is being changed.")
            self._copy(thing, draft, target, new_name, session)
        target.collection.commit()
        self.unlink(name)

    def _copy(
        self,
        thing: CollectionFile,
        draft: DraftFile,
        target: ChangingDirectory,
        new_name: str,
        session: Session,
    ) -> None:
        """Give another collection, whose session it is, a file, and the object with it."""
        replaced = target._found(new_name)
        if isinstance(replaced, ChangingDirectory):
            raise IsDirectory(f"{new_name!r} is a directory.")
        new_key = new_name
        if replaced is not None:
            new_key = replaced.key
            target._keep_content(replaced)
            path = target._path_in_collection(new_key)
            target.own_draft().unlink(new_key)
            session.note(Unlink(path))
            target._removed(new_key, replaced)
        copy = target.own_draft().create(new_key)
        copy.write_all(draft.extents)
        session.created(copy)
        self._hand_over(thing.key, thing, target, copy)
        target._touched()

    def _hand_over(
        self, key: str, thing: CollectionFile, target: ChangingDirectory, copy: DraftFile
    ) -> None:
        """Let the object of a file become that of its copy in another collection."""
        del self._drafted[key]
        self.around.inodes.reparent(thing, target)
        thing.moved(target, copy.name, target._present(copy.name))
        thing.draft = copy
        target._drafted[copy.name] = thing
        if thing.kept is not None:
            target._kept[copy.name] = thing.kept

    def _load_ahead(self, name: str) -> None:
        """Parse a directory of which it matters whether it is empty. May give the lock up.

        What is not loaded when that is found out is parsed with the lock held.
        """
        child = self.children.get(name)
        if isinstance(child, ChangingDirectory):
            child.load(child._node())

    def _check_free(self, name: str) -> None:
        """Raise Exists if there is an entry called `name`."""
        found = self._found(name)
        if found is not None:
            self.around.inodes.drop_if_unused(found)
            raise Exists(f"{name!r} is there already.")

    def _entry(self, name: str) -> CollectionFile | ChangingDirectory:
        """Return the entry that is shown as `name`. Raises NoSuchEntry."""
        found = self._found(name)
        if found is None:
            raise self.no_such_entry(name)
        return found

    def _found(self, name: str) -> CollectionFile | ChangingDirectory | None:
        """Return the entry that is shown as `name`; None if there is none."""
        found = self._shown_child(name)
        assert found is None or isinstance(found, CollectionFile | ChangingDirectory)
        return found

    def _keep_content(self, thing: FreshBase) -> None:
        """See to it that who has a file open keeps its content when its name is gone."""
        if isinstance(thing, CollectionFile) and thing.uses > 0:
            self._draft_of(thing)

    def _drafted_object(self, thing: FreshBase) -> None:
        """Let the draft know an entry that keeps its object while it moves."""
        if isinstance(thing, CollectionFile):
            self._draft_of(thing)
        else:
            assert isinstance(thing, ChangingDirectory)
            thing.own_draft()

    def _removed(self, key: str, thing: FreshBase) -> None:
        """Let go of the object of an entry whose name is gone."""
        self._kept.pop(key, None)
        if isinstance(thing, CollectionFile):
            thing.is_unlinked = True
            if self._drafted.get(key) is thing:
                self._unpin(thing)
            self.around.inodes.drop_if_unused(thing)
            return
        self._moved.pop(key, None)
        if self.children.get(key) is thing:
            del self.children[key]
        if isinstance(thing, ChangingDirectory):
            thing.become_nothing()

    def _moved_over(
        self,
        key: str,
        thing: FreshBase,
        target: ChangingDirectory,
        new_key: str,
        replaced: FreshBase | None,
    ) -> None:
        """Move the object of an entry after its draft."""
        if replaced is not None:
            target._removed(new_key, replaced)
        shown = target._present(new_key)
        self.around.inodes.reparent(thing, target)
        if isinstance(thing, CollectionFile):
            del self._drafted[key]
            kept = self._kept.pop(key, None)
            if kept is not None:
                target._kept[new_key] = kept
            thing.moved(target, new_key, shown)
            target._drafted[new_key] = thing
        else:
            assert isinstance(thing, ChangingDirectory)
            self.children.pop(key, None)
            self._moved.pop(key, None)
            thing.key, thing.name = new_key, shown
            target.children[new_key] = thing
            target._moved[new_key] = thing.inode
        self._touched()
        target._touched()

    def _touched(self) -> None:
        """Note that entries were changed now."""
        self.kept = kept_with(self.kept, AttributeChange(mtime_ns=time.time_ns()))
        self.collection.noted()

    def _path_in_collection(self, key: str) -> str:
        path = self.own_draft().path()
        return f"{path}/{key}" if path else key


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
