"""Blocks in files: the disk cache.

The layout is the official SDK's, so that both use one cache, also at the same time:
``<directory>/<first 3 hex digits>/<md5>.keepcacheblock`` holds the bytes of one block; directories
have mode 0700, files 0600. Whoever uses a file holds a shared flock on it; whoever deletes one must
first get an exclusive one, without waiting.

A block is written only when it is complete and verified, under a name of its own that ends in
``.filling``, and then renamed. So a file of the final name is whole unless the disk or a power cut
damaged it; therefore every file is checked once before its first use. The check reads the file
instead of its mapping: a bad sector is an error then, not a signal that ends the process. Mappings
are read-only, so a full disk cannot end the process either. Filling mapped files instead was
measured: with its page faults a block took more than twice as long.
"""

import contextlib
import errno
import fcntl
import hashlib
import mmap
import os
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from arvados_fuse.keep.blockfile import BlockWriter
from arvados_fuse.keep.locators import MAX_BLOCK_SIZE
from arvados_fuse.keep.storage import DamagedCopy, footprint

__all__ = ["DiskStorage", "default_disk_cache_size", "disk_cache_slots"]

_SUFFIX = ".keepcacheblock"
_BLOCK_FILE = re.compile(r"([0-9a-f]{32})\.keepcacheblock", re.ASCII)
_LEFTOVER = re.compile(r"[0-9a-f]{32}\.[0-9a-f]+\.filling|tmp.*\.keepcacheblock", re.ASCII)

_LEFTOVER_AGE_S = 60.0
"""A draft is locked a moment after it was made; leave its writer the time."""

_SCAN_INTERVAL_S = 60.0
"""How long the count of idle files may miss what other processes do to the directory."""

_RESERVE = 0.05
"""Share of the space that the disk would have free without this cache that is never used."""

_CHECK_SLICE = 1 << 18
"""Bytes at once. Measured: the buffer fits into L2."""

_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""For files found by name, which may be anything: follow no link, wait for no pipe."""

_DESCRIPTORS_PER_BLOCK = 8
"""One in so many descriptors may stand for a block: each block takes two (the file's and the
mapping's), and sockets and other files need some too."""


def disk_cache_slots(nofile_limit: int) -> int:
    """How many blocks may be open at once. nofile_limit: the soft RLIMIT_NOFILE."""
    return max(1, nofile_limit // _DESCRIPTORS_PER_BLOCK)


def default_disk_cache_size(directory: str, nofile_limit: int) -> int:
    """Bytes for a disk cache whose size was not given, by the official driver's rule.

    The least of a tenth of the file system, a quarter of what is free there or already taken by
    this cache, and 64 MiB for every block that may be open; at least 64 MiB. Raises OSError when
    the directory cannot be looked at.
    """
    status = os.statvfs(directory)
    held = sum(size for _, _, size in _block_files(Path(directory)))
    available = status.f_bavail * status.f_frsize + held
    return max(
        MAX_BLOCK_SIZE,
        min(
            status.f_blocks * status.f_frsize // 10,
            available // 4,
            disk_cache_slots(nofile_limit) * MAX_BLOCK_SIZE,
        ),
    )


class DiskStorage:
    """Blocks in a directory that other processes may use at the same time.

    Idle blocks are those that are on disk and not open here: from earlier runs, of other processes,
    or released. A thread that wants to store counts them now and then by looking at the directory.
    One that another process uses cannot be deleted; it is that process's to count.

    writer: writes the files

    Raises OSError when the directory cannot be made.
    """

    def __init__(self, directory: str, writer: BlockWriter | None = None) -> None:
        self._directory = Path(directory)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._writer = writer or BlockWriter()
        self._lock = threading.Lock()  # of the fields below; never held during I/O
        self._open: dict[str, int] = {}  # how many spaces of a block exist here
        self._idle: OrderedDict[str, int] = OrderedDict()  # bytes on disk by hash, oldest first
        self._idle_size = 0
        self._scanning = threading.Lock()
        self._scan_due_at = 0.0

    # -- Storage

    def find(self, block_hash: str, size: int) -> "DiskSpace | None":
        """A file that an earlier run or another process left. Raises DamagedCopy or OSError."""
        path = self._path(block_hash)
        try:
            descriptor = os.open(path, _OPEN_FLAGS)
        except FileNotFoundError:
            return None
        space = None
        try:
            if _lock_shared(descriptor):
                status = os.fstat(descriptor)
                if status.st_size != size:
                    _delete(descriptor, path)
                    raise DamagedCopy(f"{path} has {status.st_size} bytes instead of {size}")
                space = DiskSpace(self, block_hash, descriptor, path, is_in_memory=True)
                with contextlib.suppress(OSError):  # not our file: the order suffers, no more
                    os.utime(descriptor, ns=(time.time_ns(), status.st_mtime_ns))
                self._opened(space)
        finally:
            if space is None:
                os.close(descriptor)
        return space

    def store(self, block_hash: str, content: memoryview) -> "DiskSpace":
        """Write a verified block. Raises OSError."""
        path = self._path(block_hash)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor, draft = _create_draft(path.parent, block_hash)
        try:
            is_cached = self._writer.write(descriptor, content)
            space = DiskSpace(self, block_hash, descriptor, path, is_in_memory=is_cached)
            draft.rename(path)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                draft.unlink()
            os.close(descriptor)
            raise
        self._opened(space)
        return space

    def idle_size(self) -> int:
        """Bytes of idle blocks, as of the last look at the directory."""
        self._scan_if_due()
        return self._idle_size

    def drop_idle(self) -> bool:
        """Delete the oldest idle block, or forget it here if another process uses it."""
        with self._lock:
            if not self._idle:
                return False
            block_hash, size = self._idle.popitem(last=False)
            self._idle_size -= size
        _delete_unused(self._path(block_hash))
        return True

    def lacks_room(self, size: int, held: int) -> bool:
        """Whether `size` more bytes would leave less free than the reserve."""
        status = os.statvfs(self._directory)
        free = status.f_bavail * status.f_frsize
        return free - size < (free + held) * _RESERVE

    # -- bookkeeping

    def closed(self, block_hash: str, size: int, *, stays: bool) -> None:
        """A space is no longer in use. stays: whether its file is an idle block now."""
        with self._lock:
            left = self._open.pop(block_hash) - 1
            if left:
                self._open[block_hash] = left
            elif stays:
                self._idle_size += footprint(size) - self._idle.pop(block_hash, 0)
                self._idle[block_hash] = footprint(size)

    def _opened(self, space: "DiskSpace") -> None:
        with self._lock:
            self._open[space.hash] = self._open.get(space.hash, 0) + 1
            self._idle_size -= self._idle.pop(space.hash, 0)

    def _path(self, block_hash: str) -> Path:
        return self._directory / block_hash[:3] / (block_hash + _SUFFIX)

    def _scan_if_due(self) -> None:
        """Count idle files and remove leftovers, unless that was done lately or is being done."""
        if time.monotonic() < self._scan_due_at or not self._scanning.acquire(blocking=False):
            return
        try:
            _remove_leftovers(self._directory)
            found = sorted(_block_files(self._directory))
            with self._lock:
                self._idle = OrderedDict(
                    (block_hash, footprint(size))
                    for _, block_hash, size in found
                    if block_hash not in self._open
                )
                self._idle_size = sum(self._idle.values())
            self._scan_due_at = time.monotonic() + _SCAN_INTERVAL_S
        finally:
            self._scanning.release()


class DiskSpace:
    """An open, mapped and locked file with one block. Owned by one thread at a time.

    hash: the block's
    view: its bytes
    is_in_memory: whether they are in the kernel's page cache once the file is written or verified
    """

    __slots__ = ("_descriptor", "_path", "_storage", "hash", "is_in_memory", "view")

    def __init__(
        self,
        storage: DiskStorage,
        block_hash: str,
        descriptor: int,
        path: Path,
        *,
        is_in_memory: bool,
    ) -> None:
        """Take over the descriptor of a locked file, all of which is the block, and map it."""
        self.hash = block_hash
        self.is_in_memory = is_in_memory
        self.view = memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))
        self._storage = storage
        self._descriptor = descriptor
        self._path = path

    def verify(self, progress: Callable[[int], None]) -> None:
        """Read the file and compare its md5. Raises DamagedCopy; the file is deleted then."""
        try:
            checksum = self._checksum(progress)
        except OSError as error:
            self._reject()
            raise DamagedCopy(f"{self._path} cannot be read: {error.strerror}") from error
        if checksum != self.hash:
            self._reject()
            raise DamagedCopy(f"{self._path} has another checksum than its name")

    def release(self) -> None:
        """Close the file and leave it on disk."""
        self._close(stays=True)

    def discard(self) -> None:
        """Close the file, and delete it unless another process uses it."""
        _delete_unless_locked(self._descriptor, self._path)
        self._close(stays=False)

    def _reject(self) -> None:
        """Close the file and delete it, whoever uses it."""
        _delete(self._descriptor, self._path)
        self._close(stays=False)

    def _close(self, *, stays: bool) -> None:
        os.close(self._descriptor)
        self._storage.closed(self.hash, len(self.view), stays=stays)

    def _checksum(self, progress: Callable[[int], None]) -> str:
        """The md5 of the file, in hex. Raises OSError."""
        digest = hashlib.md5(usedforsecurity=False)
        buffer = memoryview(bytearray(_CHECK_SLICE))
        position = 0
        while position < len(self.view):
            count = os.preadv(self._descriptor, [buffer], position)
            if not count:
                raise OSError(errno.EIO, "it has become shorter")
            position += count
            progress(position)
            digest.update(buffer[:count])
        return digest.hexdigest()


# -- files


def _lock_shared(descriptor: int) -> bool:
    """Tell others that we use a file. False when one of them is deleting it. Raises OSError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return bool(os.fstat(descriptor).st_nlink)


def _create_draft(directory: Path, block_hash: str) -> tuple[int, Path]:
    """A new locked file for a block that is being written. Raises OSError."""
    draft = directory / f"{block_hash}.{secrets.token_hex(8)}.filling"
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if not _lock_shared(descriptor):
            why = "another process took it for a leftover"
            raise FileNotFoundError(errno.ENOENT, why, str(draft))
    except BaseException:
        draft.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    return descriptor, draft


def _delete(descriptor: int, path: Path) -> None:
    """Delete the file of a descriptor, unless the path is another file by now."""
    with contextlib.suppress(OSError):  # gone already, or a disk that lets nothing be deleted
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            os.unlink(path)


def _delete_unless_locked(descriptor: int, path: Path) -> None:
    """Delete the file of a descriptor, unless somebody else uses it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    _delete(descriptor, path)


def _delete_unused(path: Path) -> None:
    """Delete a file that is not open here, unless somebody else uses it."""
    with contextlib.suppress(OSError):  # gone already, or not ours to delete
        descriptor = os.open(path, _OPEN_FLAGS)
        try:
            _delete_unless_locked(descriptor, path)
        finally:
            os.close(descriptor)


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    """All files of a cache directory, but for those in subdirectories that only others may see."""
    with os.scandir(directory) as subdirectories:
        for subdirectory in subdirectories:
            if len(subdirectory.name) == 3 and subdirectory.is_dir(follow_symlinks=False):
                try:
                    entries = os.scandir(subdirectory)
                except PermissionError:
                    continue
                with entries:
                    yield from entries


def _block_files(directory: Path) -> Iterator[tuple[int, str, int]]:
    """Time of last use, hash and size in bytes of every block file."""
    for entry in _entries(directory):
        if match := _BLOCK_FILE.fullmatch(entry.name):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                status = entry.stat(follow_symlinks=False)
                yield status.st_atime_ns, match[1], status.st_size


def _remove_leftovers(directory: Path) -> None:
    """Delete drafts, ours and the SDK's, whose writers are dead: nobody holds a lock on them."""
    for entry in _entries(directory):
        if _LEFTOVER.fullmatch(entry.name):
            with contextlib.suppress(FileNotFoundError):  # renamed or deleted just now
                age_s = time.time() - entry.stat(follow_symlinks=False).st_mtime
                if age_s > _LEFTOVER_AGE_S:
                    _delete_unused(Path(entry.path))
