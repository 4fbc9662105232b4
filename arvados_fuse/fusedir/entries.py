"""What the changes of a directory's entries have in common: finding them, and moving their objects.

The changes themselves are in `changing.py` and `moving.py`. But for `_load_ahead`, nothing here
gives the lock up in a directory that is loaded.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from arvados_fuse.errors import Exists
from arvados_fuse.fusedir.file_changes import FileChanges
from arvados_fuse.fusefile import AttributeChange, CollectionFile, kept_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arvados_fuse.fresh import FreshBase

__all__ = ["EntryChanges"]


class EntryChanges(FileChanges):
    """The part of a collection's directory that knows its entries as objects that can change."""

    __slots__ = ()

    def _load_ahead(self, name: str) -> None:
        """Parse a directory of which it matters whether it is empty. May give the lock up.

        What is not loaded when that is found out is parsed with the lock held.
        """
        child = self.children.get(name)
        if isinstance(child, EntryChanges):
            child.load(child._node())

    @contextmanager
    def _held(self, *things: FreshBase | None) -> Iterator[None]:
        """Look at entries; let go of those objects that nobody needs in the end."""
        try:
            yield
        finally:
            for thing in things:
                if isinstance(thing, EntryChanges):
                    thing.resized()  # to find out whether it is empty may have loaded it
                elif thing is not None:
                    self.around.inodes.drop_if_unused(thing)

    def _check_free(self, name: str) -> None:
        """Raise Exists if there is an entry called `name`."""
        found = self._found(name)
        if found is not None:
            self.around.inodes.drop_if_unused(found)
            raise Exists(f"{name!r} is there already.")

    def _entry(self, name: str) -> CollectionFile | EntryChanges:
        """Return the entry that is shown as `name`. Raises NoSuchEntry."""
        found = self._found(name)
        if found is None:
            raise self.no_such_entry(name)
        return found

    def _found(self, name: str) -> CollectionFile | EntryChanges | None:
        """Return the entry that is shown as `name`; None if there is none."""
        found = self._shown_child(name)
        assert found is None or isinstance(found, CollectionFile | EntryChanges)
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
            assert isinstance(thing, EntryChanges)
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
        self._renumber_directory(key)
        if self.children.get(key) is thing:
            del self.children[key]
        assert isinstance(thing, EntryChanges), "there are files and directories"
        thing.become_nothing()

    def _renumber_directory(self, key: str) -> None:
        """Let a directory that others may bring back be another than the object that is gone."""
        self._moved.pop(key, None)
        numbers = self._subdirectory_inodes
        if numbers is not None and key in numbers:
            numbers[key] = self.around.inodes.reserve(1)

    def _moved_over(
        self,
        key: str,
        thing: FreshBase,
        target: EntryChanges,
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
            assert isinstance(thing, EntryChanges)
            self.children.pop(key, None)
            self._renumber_directory(key)
            thing.key, thing.name = new_key, shown
            target.children[new_key] = thing
            target._moved[new_key] = thing.inode
        self._touched()
        target._touched()

    def _touched(self) -> None:
        """Note that entries were changed now."""
        self.kept = kept_with(self.kept, AttributeChange(mtime_ns=time.time_ns()))
        self.collection.noted()
