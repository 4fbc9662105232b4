"""Where verified blocks stay: the protocol of every kind of storage, and the one in RAM."""

import contextlib
import mmap
from collections.abc import Callable
from typing import Protocol

__all__ = ["DamagedCopy", "RamStorage", "Space", "Storage", "StoredCopy", "allocate", "footprint"]

_PAGE = mmap.PAGESIZE
_HUGE_PAGE = 2 << 20


class Space(Protocol):
    """A verified block in storage."""

    @property
    def view(self) -> memoryview:
        """The block's bytes, read-only. Stays valid for as long as it or a slice of it is held."""

    @property
    def is_in_memory(self) -> bool:
        """Whether all of the view is in memory now, be it the kernel's or our own."""

    def release(self) -> None:
        """Nobody here uses the block any more; let it stay where that costs no memory."""

    def discard(self) -> None:
        """Nobody here uses the block any more; give its place back unless others use it."""


class DamagedCopy(Exception):
    """What was stored of a block is not that block. It has been deleted."""


class StoredCopy(Space, Protocol):
    """A block that was found in storage and is yet to be verified."""

    def verify(self, progress: Callable[[int], None]) -> None:
        """Read what is stored and compare its md5. Raises DamagedCopy.

        progress: told how many bytes have been read and can be served from the view; what it raises
            comes out of verify, and the copy is still the caller's then
        """


class Storage(Protocol):
    """A kind of storage. Methods may do I/O: call them without any lock."""

    def find(self, block_hash: str, size: int) -> StoredCopy | None:
        """What an earlier run left of a block.

        Raises DamagedCopy when it has another size, OSError when it cannot be opened.
        """

    def store(self, block_hash: str, content: memoryview) -> Space:
        """Keep a verified block. Raises OSError when that is not possible."""

    def idle_size(self) -> int:
        """Bytes of blocks that are stored and that nobody here uses."""

    def drop_idle(self) -> bool:
        """Give up the idle block that was used longest ago. False when there is none."""

    def lacks_room(self, size: int, held: int) -> bool:
        """Whether `size` more bytes would use up what is to be left free.

        held: bytes that the caller stores here, idle ones included
        """


def footprint(size: int) -> int:
    """Bytes that a block of `size` bytes takes in memory or on disk: whole pages."""
    return (size + _PAGE - 1) // _PAGE * _PAGE


def allocate(size: int) -> memoryview:
    """Writable memory for one block. Raises OSError when there is none.

    Private anonymous memory of its own: it goes back to the system when the last slice is dropped,
    and huge pages save most of the page faults of a large block. The first bytes lie in small
    pages: a reader may wait for them, and to clear a huge page takes up to some milliseconds.
    """
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size > _HUGE_PAGE:
        with contextlib.suppress(OSError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_HUGEPAGE, _HUGE_PAGE, size - _HUGE_PAGE)
    return memoryview(memory)


class RamStorage:
    """Blocks in anonymous memory: those of this process, and gone with it."""

    def find(self, block_hash: str, size: int) -> None:
        """Nothing outlives a run in RAM."""

    def store(self, block_hash: str, content: memoryview) -> "RamSpace":
        """Keep the very memory that the block was filled into."""
        return RamSpace(content)

    def idle_size(self) -> int:
        """Memory that nobody uses is given back at once."""
        return 0

    def drop_idle(self) -> bool:
        """There never is an idle block."""
        return False

    def lacks_room(self, size: int, held: int) -> bool:
        """The byte limit is all that holds for RAM."""
        return False


class RamSpace:
    """A verified block in anonymous memory."""

    is_in_memory = True

    def __init__(self, content: memoryview) -> None:
        self.view = content.toreadonly()

    def release(self) -> None:
        """The memory goes with the last reference to it."""

    def discard(self) -> None:
        """The memory goes with the last reference to it."""
