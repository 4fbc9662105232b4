"""Writing the file of a block: through the kernel's page cache, or past it.

A file that is written the usual way stays in the page cache: to read it again is as fast as memory.
It costs a copy of each page, and a page. On a virtual machine whose free memory the host takes back
each new page has to be had from the host again, which takes ten times as long as the copy. There,
and only while the disk keeps up, a block is written straight to the disk (O_DIRECT).
"""

import errno
import fcntl
import os
import threading
import time

__all__ = ["BlockWriter"]

_SLICE = 1 << 20
"""Bytes that are written through the page cache at once, and whose price is looked at. Measured:
one large write is slower."""

_DIRECT_SLICE = 4 << 20
"""Bytes that are written past the page cache at once."""

_DEAR_S_PER_BYTE = 1e-9
"""Measured: 0.15e-9 for pages that are there, 0.5e-9 for new ones that the machine has, 2.2e-9 for
those that the host has to give."""

_ALIGNMENT = 4096
"""Place and length of what is written past the page cache are multiples of this on all disks."""

_DIRECT_WRITERS = 2
"""Blocks written past the page cache at the same time. When there are more the disk does not keep
up with the network, and the page cache has to take what it cannot."""


class BlockWriter:
    """Writes blocks to files. Threads: every method from any thread.

    dear_s_per_byte: processor time for a byte from which on the page cache is too dear; with 0 it
        always is
    """

    def __init__(self, dear_s_per_byte: float = _DEAR_S_PER_BYTE) -> None:
        self._dear_s_per_byte = dear_s_per_byte
        self._direct = threading.BoundedSemaphore(_DIRECT_WRITERS)

    def write(self, descriptor: int, content: memoryview) -> bool:
        """Write a whole block to an empty file. Returns whether it is in the page cache.

        Raises OSError, before the first byte if the block will not fit.
        """
        _allocate(descriptor, len(content))
        position = _write_while_cheap(descriptor, content, self._dear_s_per_byte)
        cached = position
        if position < len(content) and self._direct.acquire(blocking=False):
            try:
                position = _write_directly(descriptor, content, position)
            finally:
                self._direct.release()
        _write_slices(descriptor, content, position, _SLICE)
        return position == cached


def _allocate(descriptor: int, size: int) -> None:
    """Set room on disk aside, where the file system can; a file in few pieces is faster, too."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise


def _write_while_cheap(descriptor: int, content: memoryview, dear: float) -> int:
    """Write through the page cache, until that was dear. Returns where.

    dear: processor seconds for a byte
    """
    position = 0
    price = 0.0
    while position < len(content) and price < dear:
        started_s = time.thread_time()
        written = os.pwrite(descriptor, content[position : position + _SLICE], position)
        price = (time.thread_time() - started_s) / written
        position += written
    return position


def _write_slices(descriptor: int, content: memoryview, position: int, size: int) -> int:
    """Write `content` from `position` on, `size` bytes at once. Returns its end."""
    while position < len(content):
        position += os.pwrite(descriptor, content[position : position + size], position)
    return position


def _write_directly(descriptor: int, content: memoryview, position: int) -> int:
    """The same past the page cache, but for a last part of a page. Returns how far it got.

    That is `position` where the file system (tmpfs, overlayfs) or the memory does not suit.
    """
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    end = len(content) // _ALIGNMENT * _ALIGNMENT
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
        return _write_slices(descriptor, content[:end], position, _DIRECT_SLICE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return position
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
