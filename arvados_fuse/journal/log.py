r"""Logs: files of records, one a line, each with a checksum.

A line is ``<crc32 in 8 hex digits> <record in JSON>\n``. The checksum goes on from that of the line
before, so that a line counts only after the very lines that it was written after. Whatever
breaks that (a torn line, zeros, other bytes) is the end of the log.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from arvados_fuse.errors import FileSystemError, JournalError, NoSpace
from arvados_fuse.journal.files import OpenFile, create_file, disk_error
from arvados_fuse.journal.records import Record, decode, encode
from arvados_fuse.journal.room import Room

__all__ = ["Line", "Log", "create_log", "log_name", "read_log"]

_LONGEST_LINE = 256 << 20
"""Bytes; guards the memory of the reader, who takes a longer line for the end of the log. A Based
record with a million paths has less."""


def log_name(generation: int) -> str:
    """The file name of a log."""
    return f"log-{generation:06d}"


class Log:
    """A log that is being written. Threads: one at a time, but `sync` at any time.

    size: bytes of whole lines
    """

    def __init__(self, file: OpenFile, room: Room) -> None:
        self.size = 0
        self._file = file
        self._room = room
        self._checksum = 0
        self._sync_failure: str | None = None

    def __del__(self) -> None:
        self._room.give_back(self.size)

    def append(self, record: Record) -> None:
        """Write a line. Raises NoSpace or JournalError, and the log is as before.

        A log that is not the last one and ends in half a line is taken for damaged, so what a
        failed write has left is cut off.
        """
        content = encode(record)
        checksum = zlib.crc32(content, self._checksum)
        line = b"%08x %s\n" % (checksum, content)
        if len(line) >= _LONGEST_LINE:
            raise NoSpace("This is too much for one line of the journal: do it in smaller parts.")
        try:
            self._file.write_at(line, self.size)
        except FileSystemError:
            self._file.cut(self.size)
            raise
        self.size += len(line)
        self._checksum = checksum
        self._room.take(len(line))

    def sync(self) -> None:
        """Force it to the disk. Waits. Raises NoSpace or JournalError; once, then always."""
        if self._sync_failure is not None:
            raise JournalError(self._sync_failure)
        try:
            self._file.sync()
        except Exception as error:
            self._sync_failure = str(error)
            raise

    def remove(self) -> None:
        """Take the name away. Raises JournalError."""
        self._file.remove()


def create_log(directory: Path, generation: int, room: Room) -> Log:
    """A new, empty log. room: where its bytes are counted. Raises NoSpace or JournalError."""
    return Log(create_file(directory / log_name(generation)), room)


class Line(NamedTuple):
    """A whole line that was read. end: where it ends in the log, in bytes."""

    end: int
    record: Record


def read_log(path: Path) -> Iterator[Line]:
    """The lines of a log up to the first that is not whole.

    Raises JournalError when the file cannot be read, or a whole line is not known to this version:
    another version wrote it, and to go on without it would lose what it says.
    """
    checksum = end = 0
    try:
        with path.open("rb") as file:
            while line := file.readline(_LONGEST_LINE):
                content = line[9:-1]
                checksum = zlib.crc32(content, checksum)
                if line[:9] != b"%08x " % checksum or line[-1:] != b"\n":
                    return
                end += len(line)
                yield Line(end, decode(content))
    except OSError as error:
        raise disk_error(error, path) from error
    except ValueError as error:
        raise JournalError(
            f"{path}: {error}; use the version of arv-mount that wrote it"
        ) from error
