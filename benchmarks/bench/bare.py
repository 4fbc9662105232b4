"""The least that a daemon on llfuse can do: one file in memory, and one directory of names.

    python -m benchmarks.bench.bare [--size BYTES] [--files N] [--workers N] MOUNT_DIR

What it needs for a piece of work is what no daemon in Python on llfuse can do without. The root has
the file `large`, and `--files` small ones in a directory `names`. All may be kept for ever.
"""

from __future__ import annotations

import argparse
import errno
import os
import stat
from collections.abc import Iterator

import llfuse

LARGE_INODE, NAMES_INODE, FIRST_INODE = 2, 3, 4
PIECE_SIZE = 1 << 20
LIFETIME_S = 1e6


class Bare(llfuse.Operations):
    """The requests that reading and listing make."""

    def __init__(self, size: int, files: int) -> None:
        """Serve one file of `size` bytes and `files` names."""
        super().__init__()
        self._size = size
        content = os.urandom(PIECE_SIZE) * (size // PIECE_SIZE)
        self._view = memoryview(content)
        self._names = [b"file%06d.txt" % number for number in range(files)]
        self._inodes = {name: FIRST_INODE + place for place, name in enumerate(self._names)}

    def _attributes(self, inode: int) -> llfuse.EntryAttributes:
        attributes = llfuse.EntryAttributes()
        attributes.st_ino = inode
        is_directory = inode in (llfuse.ROOT_INODE, NAMES_INODE)
        attributes.st_mode = stat.S_IFDIR | 0o755 if is_directory else stat.S_IFREG | 0o644
        attributes.st_size = self._size if inode == LARGE_INODE else 64
        attributes.attr_timeout = attributes.entry_timeout = LIFETIME_S
        return attributes

    def getattr(self, inode: int, ctx: llfuse.RequestContext) -> llfuse.EntryAttributes:
        """Return attributes."""
        return self._attributes(inode)

    def lookup(
        self, parent_inode: int, name: bytes, ctx: llfuse.RequestContext
    ) -> llfuse.EntryAttributes:
        """Find a name."""
        if parent_inode == NAMES_INODE and name in self._inodes:
            return self._attributes(self._inodes[name])
        if parent_inode == llfuse.ROOT_INODE and name in (b"large", b"names"):
            return self._attributes(LARGE_INODE if name == b"large" else NAMES_INODE)
        raise llfuse.FUSEError(errno.ENOENT)

    def opendir(self, inode: int, ctx: llfuse.RequestContext) -> int:
        """Open a directory."""
        return inode

    def readdir(self, fh: int, off: int) -> Iterator[tuple[bytes, llfuse.EntryAttributes, int]]:
        """Yield the names, with one object for all attributes."""
        entry = llfuse.EntryAttributes()
        entry.st_mode = stat.S_IFREG
        names = self._names if fh == NAMES_INODE else []
        for position in range(off, len(names)):
            entry.st_ino = FIRST_INODE + position
            yield names[position], entry, position + 1

    def releasedir(self, fh: int) -> None:
        """Close a directory."""

    def open(self, inode: int, flags: int, ctx: llfuse.RequestContext) -> int:
        """Open a file."""
        return inode

    def read(self, fh: int, off: int, size: int) -> memoryview:
        """Return a part of the content, which is not copied."""
        return self._view[off : off + size]

    def release(self, fh: int) -> None:
        """Close a file."""

    def statfs(self, ctx: llfuse.RequestContext) -> llfuse.StatvfsData:
        """Say that the mount lives."""
        return llfuse.StatvfsData()


def main() -> None:
    """Mount until unmounted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--files", type=int, default=0)
    parser.add_argument("--workers", type=int, default=8, help="threads that answer")
    parser.add_argument("--foreground", action="store_true", help="always")
    parser.add_argument("directory")
    given = parser.parse_args()
    options = {*llfuse.default_options, "fsname=bare", "max_read=131072"}
    llfuse.init(Bare(given.size, given.files), given.directory, options)
    try:
        llfuse.main(workers=given.workers)
    finally:
        llfuse.close()


if __name__ == "__main__":
    main()
