"""Inode numbers: which object each stands for, and which objects may go to save memory.

`Inodes` maps numbers to objects and counts what the kernel holds. `InodeCache` keeps the loaded
directories in the order of their last use and gives memory back when they grow over the limit.
Both are guarded by the file system's lock; neither does anything that can block.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Protocol

from arvados_fuse.errors import Stale
from arvados_fuse.fresh import FreshBase, Parent

__all__ = ["FILE_FOOTPRINT", "ROOT_INODE", "Evictable", "InodeCache", "Inodes"]

ROOT_INODE = 1
"""The number that FUSE gives to the root directory."""

FILE_FOOTPRINT = 240
"""Bytes that one file object costs with its entry in the table (tests/t0_units/test_inodes.py
measures it)."""


class Evictable(Protocol):
    """What the cache needs of a directory."""

    inode: int
    accounted: int

    def footprint(self) -> int:
        """Bytes of memory that the directory's loaded content takes."""

    def evict(self) -> None:
        """Give back what can be given back; leave the inode table if nothing needs it."""


class InodeCache:
    """The loaded directories, least recently used first, and their size in bytes.

    Eviction asks each directory, oldest first, to give up what it can, until the total is under
    the limit. What the kernel or an open handle needs stays, so the total can exceed the limit;
    what they give back goes at once as long as it does. So can what has just grown: it is being
    used.
    """

    def __init__(self, limit: int) -> None:
        """Make a cache that tries to stay under `limit` bytes."""
        self.limit = limit
        self.total = 0
        self._directories: OrderedDict[int, Evictable] = OrderedDict()  # by inode number
        # What the last attempt to make room left, the directory apart that it was made for.
        self._left = 0

    def used(self, directory: Evictable) -> None:
        """Note that `directory` was used now."""
        if directory.inode in self._directories:
            self._directories.move_to_end(directory.inode)

    def resized(self, directory: Evictable) -> None:
        """Account for what `directory` holds now, and make room if that is too much."""
        self._book(directory, directory.footprint())
        if directory.inode:
            self._directories[directory.inode] = directory
            self._directories.move_to_end(directory.inode)
        if self.total > self.limit:
            self._make_room(directory.inode)

    def removed(self, directory: Evictable) -> None:
        """Forget `directory`, which leaves the inode table."""
        self._book(directory, 0)
        self._directories.pop(directory.inode, None)

    def unpinned(self, number: int) -> None:
        """Note that nobody needs inode `number` any more; if memory is short, it goes."""
        directory = self._directories.get(number)
        if directory is not None and self.total > self.limit:
            self._evict(directory)

    def file_added(self, directory_inode: int) -> None:
        """Account for one more file object, of a directory that is being looked into now."""
        self.total += FILE_FOOTPRINT
        if self.total > self.limit:
            self._make_room(directory_inode)

    def file_removed(self) -> None:
        """Account for one file object less."""
        self.total -= FILE_FOOTPRINT
        if self.total < self._left:
            self._left = self.total

    def _make_room(self, in_use: int) -> None:
        """Evict until the total is under the limit, but not the directory of inode `in_use`."""
        kept = self._directories.get(in_use)
        others = self.total - (kept.accounted if kept is not None else 0)
        # When what is left is pinned, trying again for every small growth would cost a walk over
        # all directories each time; wait until there is a tenth more to win.
        if others <= self._left + self._left // 10:
            return
        before = self.total
        for number, directory in list(self._directories.items()):
            if self.total <= self.limit:
                break
            if number != in_use:
                self._evict(directory)
        self._left = others - (before - self.total)

    def _evict(self, directory: Evictable) -> None:
        directory.evict()
        if directory.inode in self._directories:
            self._book(directory, directory.footprint())

    def _book(self, directory: Evictable, footprint: int) -> None:
        self.total += footprint - directory.accounted
        directory.accounted = footprint
        if self.total < self._left:
            self._left = self.total


class Inodes:
    """The inode table: number -> object.

    Numbers are never used twice in the life of a mount. A directory may reserve a range of
    numbers for its entries and hand them out in listings without making the objects. Objects are
    also found by what they watch: the keys of the events that concern them.
    """

    def __init__(self, cache: InodeCache) -> None:
        """Make an empty table whose directories are accounted for in `cache`."""
        self.cache = cache
        self._objects: dict[int, FreshBase] = {}
        self._watchers: dict[str, list[FreshBase]] = {}
        self._next = ROOT_INODE

    def __len__(self) -> int:
        """Return the number of objects in the table."""
        return len(self._objects)

    def __iter__(self) -> Iterator[FreshBase]:
        """Yield all objects of the table, which must stay as it is meanwhile."""
        return iter(self._objects.values())

    def reserve(self, count: int) -> int:
        """Set `count` numbers aside and return the first of them."""
        first = self._next
        self._next += count
        return first

    def add(self, thing: FreshBase, number: int | None = None) -> None:
        """Enter `thing` under `number` (reserved before), or under a new number."""
        thing.inode = self.reserve(1) if number is None else number
        self._objects[thing.inode] = thing
        for key in thing.watches:
            self._watchers.setdefault(key, []).append(thing)
        if thing.parent is not None:
            thing.parent.live += 1
        if thing.transient:
            self.cache.file_added(thing.parent.inode if thing.parent is not None else 0)

    @staticmethod
    def reparent(thing: FreshBase, parent: Parent) -> None:
        """Note that `thing`, which is in the table, is an entry of `parent` now."""
        if thing.parent is not None:
            thing.parent.live -= 1
        thing.parent = parent
        parent.live += 1

    def find(self, number: int) -> FreshBase | None:
        """Return the object of `number`, or None if there is none now."""
        return self._objects.get(number)

    def watchers(self, keys: Iterable[str]) -> list[FreshBase]:
        """Return the objects that watch one of `keys` or several, each once."""
        found = {thing.inode: thing for key in keys for thing in self._watchers.get(key, ())}
        return list(found.values())

    def transient(self) -> list[int]:
        """Return the numbers of all objects that are dropped once nobody refers to them."""
        return [number for number, thing in self._objects.items() if thing.transient]

    def get(self, number: int) -> FreshBase:
        """Return the object of `number`. Raises Stale if there is none."""
        thing = self._objects.get(number)
        if thing is None:
            raise Stale(f"Inode {number} is no longer known; open the path again.")
        return thing

    def forget(self, number: int, lookups: int) -> None:
        """Note that the kernel has given back `lookups` references to `number`."""
        thing = self._objects.get(number)
        if thing is not None:
            thing.kernel_refs -= lookups
            self.drop_if_unused(thing)
            if not thing.pinned:
                self.cache.unpinned(number)

    def release(self, thing: FreshBase) -> None:
        """End one use of `thing`."""
        thing.uses -= 1
        self.drop_if_unused(thing)

    def drop_if_unused(self, thing: FreshBase) -> None:
        """Take a transient object out of the table when nobody refers to it any more."""
        if thing.transient and not thing.pinned and self._objects.get(thing.inode) is thing:
            self.remove(thing)

    def remove(self, thing: FreshBase) -> None:
        """Take `thing` out of the table."""
        del self._objects[thing.inode]
        for key in thing.watches:
            watchers = self._watchers[key]
            watchers.remove(thing)
            if not watchers:
                del self._watchers[key]
        if thing.parent is not None:
            thing.parent.live -= 1
        if thing.transient:
            self.cache.file_removed()
