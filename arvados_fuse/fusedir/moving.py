"""Moving a file or directory to another collection of the mount, by reference: no data moves.

First the other collection gets it, and commits it; then it is removed here. So at every moment it
is in one of the two at least, also after a crash, and its blocks are always in a collection that
the cluster knows. Objects, with their numbers and all who have them open, move in the end, when it
is certain that nothing has changed since. What was written to meanwhile is sent once more.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from arvados_fuse.collection.draft import DraftDirectory
from arvados_fuse.collection.rename import check_depth
from arvados_fuse.collection.transfer import bases, pack
from arvados_fuse.errors import (
    Busy,
    FileSystemError,
    IsDirectory,
    NotDirectory,
    NotEmpty,
    OtherCollection,
)
from arvados_fuse.fusedir.drafted import nothing
from arvados_fuse.fusedir.entries import EntryChanges
from arvados_fuse.fusefile import CollectionFile

if TYPE_CHECKING:
    from arvados_fuse.collection.transfer import Parcel
    from arvados_fuse.commit.session import Session
    from arvados_fuse.fresh import FreshBase

__all__ = ["Moving"]

log = logging.getLogger(__name__)

MOST_TRIES = 4
"""How often what is to be moved is committed anew because somebody goes on writing to it."""


class _Sent(NamedTuple):
    """What another collection has got, and where.

    key: true name there
    is_file_lost: whether there was a file before, which the name does not lead to any more
    was_directory: whether there was an empty directory
    """

    parcel: Parcel
    key: str
    is_file_lost: bool
    was_directory: bool


class Moving(EntryChanges):
    """The part of a collection's directory that moves entries to other collections."""

    __slots__ = ()

    def move_far(self, name: str, target: Moving, new_name: str) -> None:
        """Move an entry to a directory of another collection. May give the lock up.

        Raises OtherCollection if one of the two is never saved, Busy if the entry is written to
        all the time, the errors of a rename, and those of a commit. If it fails, the entry is where
        it was.
        """
        # Blocks of a temporary collection are its own: no other can be removed below it.
        if not (self.collection.is_saved and target.collection.is_saved):
            raise OtherCollection(f"{name!r} can be copied to another collection.")
        sent: _Sent | None = None
        try:
            for _ in range(MOST_TRIES):
                sent = self._send(name, target, new_name, sent)
                target.collection.commit()
                if self._let_go_of(name, target, sent):
                    return
            raise Busy(f"{name!r} is being changed.")
        except FileSystemError:
            if sent is not None:
                target._take_back(sent)
            raise
        finally:
            self._account_for(name)
            target._account_for(new_name)

    def _account_for(self, name: str) -> None:
        """Account for what was loaded here, and of an entry with all that is in it."""
        self.resized()
        child = self.children.get(self._odd.get(name, name))
        if isinstance(child, Moving):
            child._account_below()

    def _account_below(self) -> None:
        self.resized()
        for child in list(self.children.values()):
            if isinstance(child, Moving):
                child._account_below()

    # -- the other collection gets it -------------------------------------------------------

    def _send(self, name: str, target: Moving, new_name: str, before: _Sent | None) -> _Sent:
        """Let `target` have what there is, in the place of what was sent before."""
        for _ in range(MOST_TRIES):
            self._load_below(name)
            target._load_ahead(new_name)
            with self._changing(self, target) as session, suppress(Busy):
                return self._send_now(session, name, target, new_name, before)
            self.collection.commit()  # what is only in the journal of this collection
        raise Busy(f"{name!r} is being written to.")

    def _send_now(
        self, session: Session, name: str, target: Moving, new_name: str, before: _Sent | None
    ) -> _Sent:
        thing, replaced = self._entry(name), target._found(new_name)
        with self._held(thing, replaced):
            other = target.collection.session
            assert other is not None, "it is begun"
            parcel = pack(self.own_draft(), thing.key)
            check_depth(target.own_draft(), parcel.levels)
            key = new_name if replaced is None else replaced.key
            if before is None or not target._holds(key, before.parcel):
                _check_replaceable(thing, replaced)
            if replaced is not None:
                target._keep_content(replaced)
            other.receive(parcel, session.uuid, target.own_draft(), key)
            target._forget_copy(key, replaced)
            target._touched()
            if before is not None:
                return before._replace(parcel=parcel)
            was_file = isinstance(replaced, CollectionFile)
            return _Sent(parcel, key, was_file, was_directory=isinstance(replaced, Moving))

    def _load_below(self, name: str) -> None:
        """Parse all that is below an entry. May give the lock up.

        What is not loaded when it is looked at is parsed with the lock held.
        """
        with self._changing(self):
            nodes = list(bases(self.own_draft(), self._odd.get(name, name)))
        for node in nodes:
            self.load(node)

    def _holds(self, key: str, parcel: Parcel) -> bool:
        """Whether just what a parcel holds is under a name. Raises Busy."""
        draft = self.own_draft()
        return draft.has(key) and pack(draft, key).has_same_content(parcel)

    def _take_back(self, sent: _Sent) -> None:
        """Remove what came from another collection, which goes on having it, if that can be."""
        if sent.is_file_lost:
            return  # what is there is at least what somebody wanted to be there
        try:
            with self._changing(self) as session:
                if not self._holds(sent.key, sent.parcel):
                    return
                session.remove(self.own_draft(), sent.key)
                self._forget_copy(sent.key, self._object(sent.key))
                if sent.was_directory:
                    session.mkdir(self.own_draft(), sent.key)
                self._touched()
        except FileSystemError as error:
            log.warning("%s/%s is in two collections: %s", self.path(), sent.key, error)

    # -- and it goes from here --------------------------------------------------------------

    def _let_go_of(self, name: str, target: Moving, sent: _Sent) -> bool:
        """Remove what `target` has; false if it is not that any more.

        Raises Busy if `target` has something else by now.
        """
        target._load_below(sent.key)
        with self._changing(self, target) as session:
            thing, copy = self._entry(name), target._object(sent.key)
            with self._held(thing, copy):
                if target._is_used(copy) or not target._holds(sent.key, sent.parcel):
                    raise Busy(f"What {name!r} is moved to was changed.")
                try:
                    if not self._holds(thing.key, sent.parcel):
                        return False
                except Busy:
                    return False
                nodes = list(bases(self.own_draft(), thing.key))
                session.remove(self.own_draft(), thing.key)
                target._forget_copy(sent.key, copy)
                self._hand_over(thing, target, sent.key)
        for node in nodes:
            node.drop_files()
        return True

    def _object(self, key: str) -> FreshBase | None:
        """Return the object of an entry if there is one."""
        found = self.children.get(key) or self._drafted.get(key)
        if found is None and self._file_inodes is not None:
            index = self._node().files().index(key)
            found = self.around.inodes.find(self._file_inodes[index]) if index is not None else None
        return found

    def _is_used(self, copy: FreshBase | None) -> bool:
        """Whether somebody has opened a copy that was made here, or something in it."""
        if isinstance(copy, Moving):
            return copy.uses + copy.live > 0
        if isinstance(copy, CollectionFile):
            return copy.uses > (self._drafted.get(copy.key) is copy)
        return False

    def _forget_copy(self, key: str, copy: FreshBase | None) -> None:
        """Let go of the object of a copy that is gone, or is to be that of what it is a copy of."""
        if isinstance(copy, Moving):
            copy.leave_draft()
        elif isinstance(copy, CollectionFile):
            self._renumber_file(key, copy)  # the next version may have the same under this name
        if copy is not None:
            self._removed(key, copy)

    def _hand_over(self, thing: FreshBase, target: Moving, new_key: str) -> None:
        """Let the object of what was removed here be that of its copy, with all below."""
        shown = target._present(new_key)
        draft = target.own_draft()
        self.around.inodes.reparent(thing, target)
        if isinstance(thing, CollectionFile):
            key = thing.key
            self._renumber_file(key, thing)
            kept = self._kept.pop(key, None)
            if kept is not None:
                target._kept[new_key] = kept
            if self._drafted.pop(key, None) is not None:
                thing.uses -= 1  # it is pinned again
            thing.moved(target, new_key, shown)
            thing.node, thing.index = target._node(), -1
            target._pin(thing, draft.open_file(new_key))
        else:
            assert isinstance(thing, Moving)
            key = thing.key
            self.children.pop(key, None)
            self._renumber_directory(key)
            thing.key, thing.name = new_key, shown
            target.children[new_key] = thing
            target._moved[new_key] = thing.inode
            thing._become(draft.directory(new_key))
        self._touched()
        target._touched()

    def _renumber_file(self, key: str, file: CollectionFile) -> None:
        """Let what a later version has under a name be another file than the one that has gone."""
        table, numbers = self._files()
        index = table.index(key)
        if index is not None and numbers[index] == file.inode:
            self._renumber(index, numbers)

    def _become(self, draft: DraftDirectory) -> None:
        """Be a directory of another collection from now on, which has the same content.

        Objects of files and directories below stay what they are to the kernel.
        """
        files = {file.inode: file for file in self._live_files() if self._shows(file)}
        files |= {file.inode: file for file in self._drafted.values()}
        self._file_inodes = self._subdirectory_inodes = None
        self._odd = {}
        self.draft, self.node = draft, draft.base or nothing()
        self._note_odd([*self.children, *draft.overlay])
        for file in files.values():
            if self._drafted.get(file.key) is file:
                file.uses -= 1
            file.node, file.index = self.node, -1
            self._pin(file, draft.open_file(file.key))
        for name, child in self.children.items():
            assert isinstance(child, Moving), "all are of the content"
            self._moved[name] = child.inode
            child._become(draft.directory(name))
        self.resized()

    def _shows(self, file: CollectionFile) -> bool:
        """Whether the object of a file of the tree is what its name leads to."""
        return (
            file.parent is self
            and not file.is_unlinked
            and self._drafted.get(file.key, file) is file
            and file.index >= 0
        )


def _check_replaceable(thing: EntryChanges | CollectionFile, replaced: FreshBase | None) -> None:
    """Raise NotDirectory, IsDirectory or NotEmpty if an entry must not replace another."""
    if isinstance(thing, CollectionFile):
        if isinstance(replaced, EntryChanges):
            raise IsDirectory(f"{replaced.name!r} is a directory: a file cannot replace it.")
    elif isinstance(replaced, CollectionFile):
        raise NotDirectory(f"{replaced.name!r} is a file: a directory cannot replace it.")
    elif isinstance(replaced, EntryChanges) and not replaced.own_draft().is_empty:
        raise NotEmpty(f"The directory {replaced.name!r} is not empty.")
