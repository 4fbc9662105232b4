"""The blocks of one storage: the byte limit, and which block goes first.

Owns the order of eviction and the count of bytes. Threads: every method from any thread; the lock
is private and never held during I/O or while a block or the cache is called.
"""

import errno
import os
import threading
from collections import OrderedDict

from arvados_fuse.keep.block import Block
from arvados_fuse.keep.storage import Space, Storage, StoredCopy, footprint

__all__ = ["Shelf"]


class Shelf:
    """Verified blocks in one storage, within a limit.

    storage: where the bytes are
    limit: bytes of all blocks, those included that are just being filled and those that lie there
        idle; exceeded rather than that a reader waits for room
    slots: blocks that may be in use at once; more are released, which keeps their files

    Least recently used goes first, by second chance: a block whose `used` mark is set when its turn
    comes loses the mark and goes to the end of the row.
    """

    def __init__(self, storage: Storage, *, limit: int, slots: int) -> None:
        self.limit = limit
        self._storage = storage
        self._slots = slots
        self._lock = threading.Lock()
        self._held = 0  # bytes of blocks on the shelf and of reservations
        self._row: OrderedDict[Block, Space] = OrderedDict()  # next to be evicted first

    @property
    def held(self) -> int:
        """Bytes of the blocks on the shelf and of those being filled; idle ones not included."""
        return self._held

    def find(self, block: Block) -> StoredCopy | None:
        """What the storage has of a block, for :meth:`adopt`. Raises as Storage.find does."""
        return self._storage.find(block.hash, block.size)

    def reserve(self, size: int) -> None:
        """Set room for a block aside, evicting others.

        Raises OSError with ENOSPC when the storage is too full even without our blocks.
        """
        with self._lock:
            self._held += footprint(size)
        try:
            while self._is_full(size) and (self._storage.drop_idle() or self._evict()):
                pass
            if self._lacks_room(size):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except BaseException:
            self.cancel(size)
            raise

    def cancel(self, size: int) -> None:
        """Give a reservation back."""
        with self._lock:
            self._held -= footprint(size)

    def store(self, block: Block, content: memoryview) -> bool:
        """Store a verified block in the room reserved for it, and let it be read from there.

        Returns whether it is. If it would have to be read from the disk first, it is read from
        where it is now until that is given up. Raises OSError; the reservation is given back then.
        """
        try:
            space = self._storage.store(block.hash, content)
        except BaseException:
            self.cancel(block.size)
            raise
        self._place(block, space)
        return space.is_in_memory

    def adopt(self, block: Block, copy: StoredCopy) -> None:
        """Let a block be read from the verified copy that the storage had of it."""
        with self._lock:
            self._held += footprint(block.size)
        self._place(block, copy)

    def relinquish(self) -> None:
        """Give up every block that lies on another shelf, too."""
        with self._lock:
            taken = [(block, space) for block, space in self._row.items() if block.is_elsewhere]
            for block, _ in taken:
                del self._row[block]
                self._held -= footprint(block.size)
        _release(taken)

    def close(self) -> None:
        """Release every block."""
        with self._lock:
            released = [self._take() for _ in range(len(self._row))]
        _release(released)

    def _place(self, block: Block, space: Space) -> None:
        if space.is_in_memory:
            block.settle(space.view)
        else:
            block.settle_later(space.view)
        with self._lock:
            self._row[block] = space
            surplus = [self._take() for _ in range(len(self._row) - self._slots)]
        _release(surplus)

    def _is_full(self, size: int) -> bool:
        return self._held + self._storage.idle_size() > self.limit or self._lacks_room(size)

    def _lacks_room(self, size: int) -> bool:
        return self._storage.lacks_room(size, self._held + self._storage.idle_size())

    def _evict(self) -> bool:
        """Evict one block. False when there is none."""
        with self._lock:
            if not self._row:
                return False
            block, space = self._take()
        block.leave(space.view)
        space.discard()
        return True

    def _take(self) -> tuple[Block, Space]:
        """Take the block off the shelf whose turn it is. The lock is held, the row not empty."""
        for _ in range(len(self._row)):
            block = next(iter(self._row))
            if not block.used:
                break
            block.used = False
            self._row.move_to_end(block)
        block, space = self._row.popitem(last=False)
        self._held -= footprint(block.size)
        return block, space


def _release(taken: list[tuple[Block, Space]]) -> None:
    """Close blocks that were taken off a shelf, without deleting what is stored."""
    for block, space in taken:
        block.leave(space.view)
        space.release()
