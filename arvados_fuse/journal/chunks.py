"""Files of bytes that were written, each to become one Keep block.

What is written is appended in the order in which it comes, whatever file and offset it belongs to.
So small files pack themselves together, and a large file's bytes make whole blocks. Which bytes
belong where is in the log.
"""

import contextlib
import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from arvados_fuse.errors import JournalError
from arvados_fuse.journal.files import OpenFile, create_file, disk_error, open_file
from arvados_fuse.journal.room import Room

__all__ = ["CHUNK_SIZE", "Chunk", "chunk_name", "create_chunk", "open_chunk"]

CHUNK_SIZE = 64 << 20
"""Bytes that a chunk holds at most: those of the largest block (Arvados documentation, "Keep")."""


def chunk_name(number: int) -> str:
    """The file name of a chunk."""
    return f"chunk-{number:06d}"


class Chunk:
    """Bytes in a file. Compared by identity; threads: every method from any thread.

    The file can be read for as long as the object exists, also after its name was removed.

    number: names it in its collection's journal
    size: bytes that it has; they never change and never move
    is_sealed: whether no more bytes are appended
    generation, unrecorded: belong to the collection's journal: the newest generation whose log
        refers to the chunk, and how many appends are still without their record
    """

    __slots__ = (
        "__weakref__",
        "_file",
        "_lock",
        "_room",
        "_sync_failure",
        "_synced_size",
        "generation",
        "is_sealed",
        "number",
        "size",
        "unrecorded",
    )

    def __init__(self, file: OpenFile, number: int, size: int, room: Room | None) -> None:
        self.number = number
        self.size = size
        self.is_sealed = False
        self.generation = 0
        self.unrecorded = 0
        self._file = file
        self._room = room
        self._lock = threading.Lock()  # held during an append
        self._synced_size = 0
        self._sync_failure: str | None = None

    def __del__(self) -> None:
        if self._room is not None:
            self._room.give_back(self.size)

    def __repr__(self) -> str:
        return f"<Chunk {self.number} with {self.size} bytes>"

    @property
    def is_full(self) -> bool:
        """Whether it has all the bytes that a block can have."""
        return self.size >= CHUNK_SIZE

    @property
    def is_synced(self) -> bool:
        """Whether all bytes are known to be on the disk."""
        return self._synced_size == self.size

    def append(self, data: bytes | bytearray | memoryview) -> int | None:
        """Write bytes to the end; they are there, for every reader, when this returns.

        Returns where they begin, or None, with nothing written, when the chunk is sealed or has no
        room for all of them: it is sealed then. Raises NoSpace or JournalError, and the chunk is as
        before.
        """
        with self._lock:
            offset = self.size
            if self.is_sealed or offset + len(data) > CHUNK_SIZE:
                self.is_sealed = True
                return None
            self._file.write_at(data, offset)
            self.size = offset + len(data)
            self.unrecorded += 1
        if self._room is not None:
            self._room.take(len(data))
        return offset

    def recorded(self) -> None:
        """Count the record of an append, or that there will be none."""
        with self._lock:
            self.unrecorded -= 1

    def seal(self) -> None:
        """Append nothing more. Waits for an append that is going on."""
        with self._lock:
            self.is_sealed = True

    def read(self, offset: int, size: int) -> bytes:
        """Exactly these bytes. Raises JournalError when they cannot be read."""
        try:
            data = os.pread(self._file.descriptor, size, offset)
            while len(data) < size:
                more = os.pread(self._file.descriptor, size - len(data), offset + len(data))
                if not more:
                    raise JournalError(f"{self._file.path} in the journal has become shorter")
                data += more
        except OSError as error:
            raise disk_error(error, self._file.path) from error
        return data

    @contextlib.contextmanager
    def view(self) -> Iterator[memoryview]:
        """The bytes that it has now, mapped, until the end of the block. Raises JournalError.

        Slices that outlive the block keep the mapping, and the room on the disk.
        """
        size = self.size
        if not size:
            yield memoryview(b"")
            return
        try:
            mapping = mmap.mmap(self._file.descriptor, size, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:
            raise JournalError(
                f"{self._file.path} in the journal cannot be read: {error}"
            ) from error
        view = memoryview(mapping)
        try:
            yield view
        finally:
            # Where a traceback holds on to a slice, the mapping ends with the traceback.
            with contextlib.suppress(BufferError):
                view.release()
                mapping.close()

    def sync(self) -> None:
        """Force the bytes to the disk. Waits. Raises NoSpace or JournalError.

        When that has failed once it fails always: the kernel reports lost bytes only once.
        """
        if self._sync_failure is not None:
            raise JournalError(self._sync_failure)
        size = self.size
        try:
            self._file.sync()
        except Exception as error:
            self._sync_failure = str(error)
            raise
        self._synced_size = size

    def remove(self) -> None:
        """Take the name away. The bytes stay for who has the object. Raises JournalError."""
        self._file.remove()


def create_chunk(directory: Path, number: int, room: Room) -> Chunk:
    """A new chunk. room: where its bytes are counted. Raises NoSpace or JournalError."""
    return Chunk(create_file(directory / chunk_name(number)), number, 0, room)


def open_chunk(directory: Path, number: int) -> Chunk:
    """A chunk that an earlier mount has left; it is sealed. Raises JournalError."""
    file = open_file(directory / chunk_name(number))
    chunk = Chunk(file, number, os.fstat(file.descriptor).st_size, None)
    chunk.seal()
    return chunk
