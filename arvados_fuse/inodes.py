"""Inode numbers: which object each stands for, and which objects may go to save memory.

`Inodes` maps numbers to objects and counts what the kernel holds. `InodeCache` keeps the loaded
directories in the order of their last use and gives memory back when they grow over the limit.
Both are guarded by the file system's lock; neither does anything that can block.
"""

from collections import OrderedDict
from typing import Protocol

from arvados_fuse.errors import Stale
from arvados_fuse.fresh import FreshBase

__all__ = ["FILE_FOOTPRINT", "ROOT_INODE", "Evictable", "InodeCache", "Inodes"]

ROOT_INODE = 1
"""The number that FUSE gives to the root directory."""

FILE_FOOTPRINT = 320
"""Bytes that one file object costs with its entry in the table (measured: tests/t0_units)."""


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
    the limit. What the kernel or an open handle needs stays, so the total can exceed the limit.
    """

    def __init__(self, limit: int) -> None:
        """Make a cache that tries to stay under `limit` bytes."""
        self.limit = limit
        self.total = 0
        self._directories: OrderedDict[int, Evictable] = OrderedDict()
        self._threshold = limit

    def used(self, directory: Evictable) -> None:
        """Note that `directory` was used now."""
        if directory.inode in self._directories:
            self._directories.move_to_end(directory.inode)

    def resized(self, directory: Evictable) -> None:
        """Account for what `directory` holds now, and make room if that is too much."""
        footprint = directory.footprint()
        self.total += footprint - directory.accounted
        directory.accounted = footprint
        if directory.inode:
            self._directories[directory.inode] = directory
            self._directories.move_to_end(directory.inode)
        if self.total > self._threshold:
            self._make_room(keep=directory)

    def removed(self, directory: Evictable) -> None:
        """Forget `directory`, which has left the inode table."""
        self.total -= directory.accounted
        directory.accounted = 0
        self._directories.pop(directory.inode, None)

    def file_added(self) -> None:
        """Account for one more file object."""
        self.total += FILE_FOOTPRINT
        if self.total > self._threshold:
            self._make_room(keep=None)

    def file_removed(self) -> None:
        """Account for one file object less."""
        self.total -= FILE_FOOTPRINT

    def _make_room(self, keep: Evictable | None) -> None:
        for directory in list(self._directories.values()):
            if self.total <= self.limit:
                break
            if directory is not keep:
                self._evict(directory)
        # When the rest is pinned, trying again for every small growth would cost a walk over all
        # directories each time; wait until there is a tenth more to win.
        self._threshold = max(self.limit, int(self.total * 1.1))

    def _evict(self, directory: Evictable) -> None:
        directory.evict()
        if directory.inode in self._directories:
            footprint = directory.footprint()
            self.total += footprint - directory.accounted
            directory.accounted = footprint


class Inodes:
    """The inode table: number -> object.

    Numbers are never used twice in the life of a mount. A directory may reserve a range of
    numbers for its entries and hand them out in listings without making the objects.
    """

    def __init__(self, cache: InodeCache) -> None:
        """Make an empty table whose directories are accounted for in `cache`."""
        self.cache = cache
        self._objects: dict[int, FreshBase] = {}
        self._next = ROOT_INODE

    def __len__(self) -> int:
        """Return the number of objects in the table."""
        return len(self._objects)

    def reserve(self, count: int) -> int:
        """Set `count` numbers aside and return the first of them."""
        first = self._next
        self._next += count
        return first

    def add(self, thing: FreshBase, number: int | None = None) -> None:
        """Enter `thing` under `number` (reserved before), or under a new number."""
        thing.inode = self.reserve(1) if number is None else number
        self._objects[thing.inode] = thing
        if thing.parent is not None:
            thing.parent.live += 1
        if thing.transient:
            self.cache.file_added()

    def find(self, number: int) -> FreshBase | None:
        """Return the object of `number`, or None if there is none now."""
        return self._objects.get(number)

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
        if thing.parent is not None:
            thing.parent.live -= 1
        if thing.transient:
            self.cache.file_removed()
