"""The files that are open: how one is opened and closed, and which number stands for it.

Called with the file system's lock held.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from arvados_fuse.handles import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arvados_fuse.fresh import KernelNotifier, Unlocked
    from arvados_fuse.fusefile import File
    from arvados_fuse.handles import FileHandle
    from arvados_fuse.inodes import Inodes
    from arvados_fuse.keep.cache import BlockCache

__all__ = ["OpenFiles", "wants_to_write"]


def wants_to_write(flags: int) -> bool:
    """Whether who opens a file with these flags of open(2) may change it."""
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC))


class OpenFiles:
    """The handles of open files, by number."""

    def __init__(
        self,
        numbers: Iterator[int],
        inodes: Inodes,
        blocks: BlockCache,
        kernel: KernelNotifier,
        unlocked: Unlocked,
    ) -> None:
        """Begin with none.

        numbers: where handles get theirs from; none comes twice
        """
        self._numbers = numbers
        self._inodes = inodes
        self._blocks = blocks
        self._kernel = kernel
        self._unlocked = unlocked
        self._handles: dict[int, FileHandle] = {}

    def get(self, number: int) -> FileHandle | None:
        """Return a handle; None if there is none of that number."""
        return self._handles.get(number)

    def open(self, file: File, flags: int, *, is_new: bool = False) -> int:
        """Open a file and return the number of its handle.

        flags: of open(2)
        is_new: whether the same request has just made the file. Else the lock may be given up

        Raises what `refresh`, `check_writable` and `truncate` of the file do.
        """
        writing = is_new or wants_to_write(flags)
        file.uses += 1  # from now on it keeps its content if its name is removed
        try:
            if not is_new:
                _prepare(file, flags)
            handle = open_file(file, self._blocks, self._unlocked, self._kernel, writing=writing)
        except BaseException:
            self._inodes.release(file)
            raise
        number = next(self._numbers)
        self._handles[number] = handle
        return number

    def close(self, number: int) -> None:
        """Let go of a handle, if there is one of that number."""
        handle = self._handles.pop(number, None)
        if handle is not None:
            handle.thing.released()
            self._inodes.release(handle.thing)


def _prepare(file: File, flags: int) -> None:
    """Get a file ready that was there before. May give the lock up."""
    if wants_to_write(flags):
        file.check_writable()
    file.refresh()
    if flags & os.O_TRUNC:
        file.truncate(0)
