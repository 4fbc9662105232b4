"""Descriptors and errors of the local disk.

Used by this package only.
"""

import contextlib
import errno
import os
from pathlib import Path

from arvados_fuse.errors import FileSystemError, JournalError, NoSpace

__all__ = ["OpenFile", "create_file", "disk_error", "open_file", "sync_directory"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def disk_error(error: OSError, path: Path) -> FileSystemError:
    """What an error of the journal's disk is for the program that is writing."""
    if error.errno in _FULL:
        return NoSpace(
            f"the journal cannot grow, {error.strerror}: make room where {path.parent} is, or wait"
            " until what it holds is committed"
        )
    return JournalError(f"{path} in the journal failed: {error.strerror or error}")


class OpenFile:
    """An open file that outlives its name: it is closed when nobody refers to it any more.

    path: where it is, or was
    descriptor: open for as long as this object is
    """

    __slots__ = ("__weakref__", "descriptor", "path")

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)

    def write_at(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        """Write all of `data` at `offset`. Raises NoSpace or JournalError; part may be there."""
        try:
            written = os.pwrite(self.descriptor, data, offset)
            if written != len(data):
                rest = memoryview(data)
                while written < len(data):
                    written += os.pwrite(self.descriptor, rest[written:], offset + written)
        except OSError as error:
            raise disk_error(error, self.path) from error

    def cut(self, size: int) -> None:
        """Take away what a failed write may have left after `size` bytes, if that can be done."""
        with contextlib.suppress(OSError):  # the write's failure is the one to tell
            os.ftruncate(self.descriptor, size)

    def sync(self) -> None:
        """Force the file's bytes to the disk. Waits. Raises NoSpace or JournalError."""
        try:
            os.fdatasync(self.descriptor)
        except OSError as error:
            raise disk_error(error, self.path) from error

    def remove(self) -> None:
        """Take the name away; who has the object can still read. Raises JournalError."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error, self.path) from error


def create_file(path: Path) -> OpenFile:
    """Make a private file, which must not exist. Raises NoSpace or JournalError."""
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        return OpenFile(path, os.open(path, flags, 0o600))
    except OSError as error:
        raise disk_error(error, path) from error


def open_file(path: Path) -> OpenFile:
    """Open a file to be read. Raises JournalError."""
    try:
        return OpenFile(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
    except OSError as error:
        raise disk_error(error, path) from error


def sync_directory(path: Path) -> None:
    """Force the names in a directory to the disk. Waits. Raises NoSpace or JournalError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise disk_error(error, path) from error
