"""Blocks on disk: ``<3 hex>/<32 hex>`` below one directory, as keepstore lays them out.

A block appears under its name only when it is whole, has the right checksum and is on disk. What
is being written is in ``incoming/``; whatever a crash left there is removed at the next start.
All functions block; the server runs them in threads. Any number of threads may use one store.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from arvados_fuse.standalone.durable import make_directory, sync_directory
from arvados_fuse.standalone.keep.trash import is_at, rescue
from arvados_fuse.standalone.randoms import base36

__all__ = [
    "BlockCollision",
    "BlockStore",
    "Incoming",
    "StoredBlock",
    "stored_blocks",
]

_BLOCK_HASH = re.compile("[0-9a-f]{32}")

_PIECE = 1 << 20
"""Bytes that are read, written or hashed in one step; large enough to run without the GIL."""

_VERIFIED_LIMIT = 65536
"""How many verified files are remembered: more than fit on a disk that is worth sharing."""


class BlockCollision(Exception):
    """Different content with the same checksum."""


class _Identity(NamedTuple):
    """What tells a file from itself after a change."""

    inode: int
    size: int
    mtime_ns: int


class Incoming:
    """A block that is being written: `write` and `digest` each piece of it, in their order.

    One thread may write while another one digests.

    size: bytes written so far
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        self.path = path
        self._md5 = hashlib.md5()
        self._file = path.open("xb", buffering=0)

    def write(self, content: bytes | memoryview) -> None:
        """Append `content` to the file."""
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.size += len(content)

    def digest(self, content: bytes | memoryview) -> None:
        """Let the checksum include `content`."""
        self._md5.update(content)

    @property
    def block_hash(self) -> str:
        """The checksum of what has been digested."""
        return self._md5.hexdigest()

    def sync(self) -> None:
        """Bring the content to the disk, and close the file."""
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Remove the file, unless it has become a block."""
        self._file.close()
        with suppress(FileNotFoundError):
            self.path.unlink()


class BlockStore:
    """The blocks below `directory`. Makes it if it is not there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._incoming = directory / "incoming"
        make_directory(self._incoming)
        for leftover in self._incoming.iterdir():
            leftover.unlink()
        self._verified: OrderedDict[str, _Identity] = OrderedDict()
        self._lock = threading.Lock()
        self._synced_parents: set[str] = set()

    def path(self, block_hash: str) -> Path:
        """Return where the block is, or would be."""
        return self._directory / block_hash[:3] / block_hash

    def open(self, block_hash: str) -> BinaryIO:
        """Open the file of a block, which need not be good. Raises FileNotFoundError."""
        path = self.path(block_hash)
        try:
            return path.open("rb")
        except FileNotFoundError:
            if not rescue(path):
                raise
        return path.open("rb")

    def begin(self) -> Incoming:
        """Return an empty file for a new block: `keep` it, and in any case `abandon` it then."""
        return Incoming(self._incoming / base36(20))

    def keep(self, block: Incoming) -> None:
        """Make `block` one of the store; it is on disk when this returns.

        If the store has it, that file is compared and becomes as good as new. Raises
        BlockCollision if the content is another one, although its checksum is right.
        """
        block_hash = block.block_hash
        path = self.path(block_hash)
        if self._refresh(path, block):
            return
        block.sync()
        if path.parent.name not in self._synced_parents:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self._directory)
            self._synced_parents.add(path.parent.name)
        block.path.rename(path)
        sync_directory(path.parent)
        with path.open("rb") as file:
            self._remember(block_hash, _identity(file.fileno()))

    def _refresh(self, path: Path, block: Incoming) -> bool:
        """Set the time of the block at `path` to now. False if there is no good one to keep."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return False
        with file:
            fcntl.flock(file, fcntl.LOCK_SH)
            if not is_at(path, file.fileno()):
                return False  # it has just gone to the trash
            if not _same_content(path, block.path):
                if self.verify(block.block_hash, file.fileno()):
                    raise BlockCollision(f"{block.block_hash} exists with other content")
                return False
            os.utime(file.fileno())
            os.fsync(file.fileno())
            # Another request may have renamed it a moment ago, without having synced that yet.
            sync_directory(path.parent)
            self._remember(block.block_hash, _identity(file.fileno()))
        return True

    def add(self, content: bytes) -> str:
        """Store `content` as a block, and return its hash."""
        block = self.begin()
        try:
            block.write(content)
            block.digest(content)
            self.keep(block)
        finally:
            block.abandon()
        return block.block_hash

    def is_verified(self, block_hash: str, descriptor: int) -> bool:
        """Whether this file was verified before and has not changed since."""
        with self._lock:
            known = self._verified.get(block_hash)
            if known is None:
                return False
            self._verified.move_to_end(block_hash)
        return known == _identity(descriptor)

    def verify(self, block_hash: str, descriptor: int) -> bool:
        """Read the open file and say whether its checksum is right."""
        before = _identity(descriptor)
        md5 = hashlib.md5()
        offset = 0
        while piece := os.pread(descriptor, _PIECE, offset):
            md5.update(piece)
            offset += len(piece)
        if md5.hexdigest() != block_hash:
            return False
        self._remember(block_hash, before)
        return True

    def _remember(self, block_hash: str, identity: _Identity) -> None:
        with self._lock:
            self._verified[block_hash] = identity
            self._verified.move_to_end(block_hash)
            if len(self._verified) > _VERIFIED_LIMIT:
                self._verified.popitem(last=False)


class StoredBlock(NamedTuple):
    """A block in a store. `size` is in bytes; `mtime_s`, when it was last written, Unix time."""

    block_hash: str
    path: Path
    size: int
    mtime_s: float


def stored_blocks(directory: Path) -> Iterator[StoredBlock]:
    """Yield the blocks of the store in `directory`."""
    for group in sorted(directory.iterdir()):
        if len(group.name) != 3:
            continue
        for path in sorted(group.iterdir()):
            if _BLOCK_HASH.fullmatch(path.name):
                with suppress(FileNotFoundError):
                    status = path.stat()
                    yield StoredBlock(path.name, path, status.st_size, status.st_mtime)


def _identity(descriptor: int) -> _Identity:
    status = os.fstat(descriptor)
    return _Identity(status.st_ino, status.st_size, status.st_mtime_ns)


def _same_content(first: Path, second: Path) -> bool:
    if first.stat().st_size != second.stat().st_size:
        return False
    with first.open("rb", buffering=0) as one, second.open("rb", buffering=0) as other:
        while piece := one.read(_PIECE):
            if piece != other.read(_PIECE):
                return False
    return True
