"""The journal of one collection that is being changed.

How a write goes in::

    chunk, offset = journal.append(data, big=None)  # any thread, no lock needed
    journal.record(Write(id, start, len(data), chunk.number, offset))  # in the order of changes

Each append is followed by the record of its Write, or by `abandon` when there will be none.
`record` is called in the order in which the collection changes in memory, so with whatever lock
orders the changes held; it is one small write. Other changes are a `record` alone.

How a commit takes it out::

    sealed = journal.rotate()          # with the same lock: at the moment of the snapshot
    ...                                # upload; changes go on and into a new generation
    journal.make_whole()               # before the request
    ...                                # commit
    journal.note_committed(sealed.generation, new_portable_data_hash, attached)
    ...                                # who waits for the commit can go on
    journal.shorten()                  # waits for the disk

Generations count from 1. A commit that failed is simply not reported: the next one takes the
generations of both.
"""

import contextlib
import secrets
import shutil
import threading
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from arvados_fuse.errors import FileSystemError, JournalError, NoSpace
from arvados_fuse.journal.chunks import CHUNK_SIZE, Chunk, create_chunk
from arvados_fuse.journal.files import disk_error, sync_directory
from arvados_fuse.journal.log import Log, create_log
from arvados_fuse.journal.packing import Packing
from arvados_fuse.journal.records import Based, Closed, Content, Operation, Synced, Write
from arvados_fuse.journal.reserve import Reserve
from arvados_fuse.journal.room import Room

__all__ = ["DROPPED_PREFIX", "CollectionJournal", "Sealed", "remove_collection"]

DROPPED_PREFIX = ".dropped-"
"""Begins the name of a directory that is being removed, whose content no longer counts."""

_T = TypeVar("_T")


class Sealed(NamedTuple):
    """What a commit has to bring to the cluster.

    generation: the last one that belongs to it
    chunks: those of this and all generations before that are not yet committed, oldest first; they
        have bytes and get no more
    """

    generation: int
    chunks: tuple[Chunk, ...]


class _Generation:
    """What is recorded between two commits. operations: how many."""

    def __init__(self, number: int, log: Log) -> None:
        self.number = number
        self.log = log
        self.operations = 0


class CollectionJournal:
    """What was written to a collection and is not committed. Threads: every method from any.

    uuid: the collection's, or another name of it that can be the name of a directory
    directory: made here; must not exist
    portable_data_hash: of the version that the first changes are on top of; "" when there is none
    room: where bytes are counted
    reserve: given up when the disk is so full that nothing can be committed
    unsynced: called when there is something to sync, each time; must be cheap and take no lock
    dropped: called when all is removed

    Raises NoSpace or JournalError.
    """

    def __init__(
        self,
        uuid: str,
        directory: Path,
        portable_data_hash: str,
        *,
        room: Room,
        reserve: Reserve,
        unsynced: Callable[[], None],
        dropped: Callable[[], None],
    ) -> None:
        self.uuid = uuid
        self._directory = directory
        self._room = room
        self._reserve = reserve
        self._notify_unsynced = unsynced
        self._notify_dropped = dropped
        self._lock = threading.Lock()  # of all below; held during small writes
        self._syncing = threading.Lock()  # taken before the former; held by who waits for the disk
        self._chunks: dict[int, Chunk] = {}  # those that some log refers to, by number
        self._last_chunk = 0
        self._packing = Packing(self._create_chunk)
        self._complete: list[Chunk] = []
        self._is_unsynced = False
        self._has_new_names = True
        self._is_dropped = False
        self._committed = 0  # the last generation that the cluster has
        # Which generation was being recorded when operations were synced last; 0 if a power cut
        # would leave none: the disk has nothing of them, or has them as committed.
        self._synced = 0
        self._generations = [_Generation(1, self._create(portable_data_hash))]

    # -- writing

    def append(
        self, data: bytes | bytearray | memoryview, big: Hashable | None = None
    ) -> tuple[Chunk, int]:
        """Put bytes into a chunk; they can be read there when this returns.

        data: at most CHUNK_SIZE bytes
        big: stands for a file that has grown large; None for small ones

        Returns the chunk and where in it they begin. Raises NoSpace or JournalError, and then
        nothing was written.
        """
        if len(data) > CHUNK_SIZE:
            raise ValueError(f"a chunk has no room for {len(data)} bytes")
        while True:
            with self._lock:
                self._check_use()
                chunk = self._packing.choose(big)
            offset = chunk.append(data)
            if offset is not None:
                if chunk.is_full:
                    chunk.seal()
                return chunk, offset

    def record(self, operation: Operation) -> None:
        """Note a change. What is noted survives the end of this process.

        Raises NoSpace or JournalError, and then it is not noted; the change must not be made. The
        append before a Write still waits for its record then, or to be abandoned.
        """
        with self._lock:
            self._check_use()
            generation = self._generations[-1]
            generation.log.append(operation)
            generation.operations += 1
            if isinstance(operation, Write):
                # The bytes may have been put into a chunk of a generation that is sealed by now.
                # The chunk stays as long as the log that refers to it.
                chunk = self._chunks[operation.chunk]
                chunk.generation = generation.number
                chunk.recorded()
            self._is_unsynced = True
        self._notify_unsynced()

    def record_of_commit(self, operation: Operation) -> None:
        """As `record`, of what a commit has changed: on a full disk at the cost of the reserve."""
        self._with_reserve(lambda: self.record(operation))

    def abandon(self, chunk: Chunk) -> None:
        """There will be no record of an append to this chunk."""
        with self._lock:
            chunk.recorded()
            if not self._is_dropped:
                self._remove_chunks()

    def finished(self, big: Hashable) -> None:
        """A large file is no longer being written: the room left in its chunk is for others."""
        with self._lock:
            self._packing.finished(big)

    def take_complete(self) -> list[Chunk]:
        """Chunks that have become sealed and were not returned before, to be uploaded early."""
        with self._lock:
            complete = [chunk for chunk in self._complete if chunk.is_sealed]
            if complete:
                self._complete = [chunk for chunk in self._complete if not chunk.is_sealed]
            return complete

    @property
    def is_empty(self) -> bool:
        """Whether nothing was recorded that is not committed."""
        with self._lock:
            return not any(each.operations for each in self._pending())

    # -- committing

    def rotate(self) -> Sealed:
        """Begin a new generation: a new log and new chunks. Returns what there was before.

        Raises NoSpace or JournalError, and then nothing has changed.
        """
        with self._lock:
            self._check_use()
            last = self._generations[-1]
            number = last.number + 1
            log = self._with_reserve(lambda: create_log(self._directory, number, self._room))
            try:
                self._with_reserve(lambda: last.log.append(Closed()))
            except FileSystemError:
                log.remove()
                raise
            self._has_new_names = True
            self._generations.append(_Generation(number, log))
            self._packing.seal()
            self._complete.clear()
            chunks = tuple(
                chunk
                for chunk in self._chunks.values()
                if self._committed < chunk.generation <= last.number and chunk.size
            )
            return Sealed(last.number, chunks)

    def committed(self, generation: int, portable_data_hash: str) -> None:
        """The cluster has everything up to a generation: forget it. Waits for the disk.

        As `note_committed`, for when later records use no identifiers of before, and `shorten`.
        """
        self.note_committed(generation, portable_data_hash, {})
        self.shorten()

    def note_committed(
        self,
        generation: int,
        portable_data_hash: str,
        attached: Mapping[int, str],
        contents: Mapping[int, Content] = MappingProxyType({}),
    ) -> None:
        """The cluster has everything up to a generation: it does not count any more.

        It is one small write. Until `shorten` has removed it a power cut, but no end of this
        process, may have it count again. Does nothing if a later one is known to be committed.

        portable_data_hash: of the version that has it
        attached: the paths in that version of files whose identifiers later records use. They may
            be left out when no later record uses them
        contents: what these files have in that version

        Raises NoSpace or JournalError: nothing is forgotten then, and it may be called again.
        """
        with self._lock:
            self._check_use()
            if generation >= self._generations[-1].number:
                raise ValueError(f"generation {generation} is not sealed")
            if generation <= self._committed:
                return
            follower = next(each for each in self._generations if each.number > generation)
            based = Based(portable_data_hash, attached, contents)
            self._with_reserve(lambda: follower.log.append(based))
            self._committed = generation

    def shorten(self) -> None:
        """Remove what is committed. Waits for the disk.

        Raises NoSpace or JournalError: nothing is removed then, and it may be called again.
        """
        with self._syncing:
            with self._lock:
                pending = self._pending()
                if self._is_dropped or len(pending) == len(self._generations):
                    return
                committed, follower = self._committed, pending[0]
            follower.log.sync()
            self._sync_names()
            with self._lock:
                if self._synced <= committed:
                    self._synced = 0
                while self._generations[0].number <= committed:
                    self._generations[0].log.remove()
                    del self._generations[0]
                self._remove_chunks()
        self._reserve.restore()

    def sync(self) -> None:
        """Force everything that is recorded to the disk, so that it survives a power cut. Waits.

        Raises NoSpace or JournalError; the disk has lost something then, and every sync fails until
        a commit has taken what was lost out of the journal.
        """
        with self._syncing:
            self._sync()

    def make_whole(self) -> None:
        """See to it that a power cut would leave all that was recorded up to now, or nothing of it.

        Called before a commit is sent: what was synced earlier, if that alone was left and done
        again, would undo what was saved. Waits for the disk, but only if something was synced that
        the disk is not known to have as committed.

        Raises NoSpace or JournalError, as `sync`.
        """
        with self._lock:
            if not self._synced:
                return
        with self._syncing:
            if self._synced:
                self._with_reserve(self._sync)

    def _sync(self) -> None:
        """Do what `sync` does. With the lock of syncing held."""
        with self._lock:
            if not self._is_unsynced or self._is_dropped:
                return
            self._is_unsynced = False
            *sealed, current = pending = self._pending()
            has_operations = any(each.operations for each in pending)
            if has_operations:
                self._synced = current.number
            size = current.log.size
            chunks = [
                chunk
                for chunk in self._chunks.values()
                if chunk.generation > self._committed and not chunk.is_synced
            ]
        try:
            for chunk in chunks:
                chunk.sync()
            for each in sealed:
                each.log.sync()
            self._sync_names()
            with self._lock:
                current.log.append(Synced(size))
            current.log.sync()
        except BaseException:
            with self._lock:
                self._is_unsynced = True
            raise
        if not has_operations:
            with self._lock:
                self._synced = 0

    def drop(self) -> None:
        """Remove everything: it is committed or discarded. Waits. Nothing can be done after it.

        Raises JournalError when the directory cannot be removed.
        """
        with self._syncing, self._lock:
            if self._is_dropped:
                return
            self._is_dropped = True
            self._packing.seal()
            self._generations.clear()
            self._chunks.clear()
            self._complete.clear()
        remove_collection(self._directory)
        self._notify_dropped()

    def _create(self, portable_data_hash: str) -> Log:
        """Make the directory and its first log, or nothing."""
        try:
            self._directory.mkdir(mode=0o700)
        except OSError as error:
            raise disk_error(error, self._directory) from error
        try:
            log = create_log(self._directory, 1, self._room)
            log.append(Based(portable_data_hash, {}))
        except FileSystemError:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise
        return log

    def _sync_names(self) -> None:
        """Force the names of new logs and chunks to the disk. With the lock of syncing held."""
        with self._lock:
            has_new_names, self._has_new_names = self._has_new_names, False
        if not has_new_names:
            return
        try:
            sync_directory(self._directory)
            sync_directory(self._directory.parent)
        except FileSystemError:
            with self._lock:
                self._has_new_names = True
            raise

    # -- with the lock held

    def _check_use(self) -> None:
        if self._is_dropped:
            raise JournalError(f"the journal of {self.uuid} is closed: the change is not made")

    def _create_chunk(self) -> Chunk:
        number = self._last_chunk + 1
        chunk = create_chunk(self._directory, number, self._room)
        chunk.generation = self._generations[-1].number
        self._last_chunk = number
        self._has_new_names = True
        self._chunks[number] = chunk
        self._complete.append(chunk)
        return chunk

    def _pending(self) -> list[_Generation]:
        """The generations that are not committed: one at least, the one that is being recorded."""
        return [each for each in self._generations if each.number > self._committed]

    def _remove_chunks(self) -> None:
        """Remove chunks that are in no log but those that are gone."""
        first = self._generations[0].number
        for chunk in list(self._chunks.values()):
            if chunk.generation < first and not chunk.unrecorded:
                chunk.remove()
                del self._chunks[chunk.number]

    def _with_reserve(self, action: Callable[[], _T]) -> _T:
        """Do what a commit needs, on a full disk at the cost of the reserve."""
        try:
            return action()
        except NoSpace:
            if not self._reserve.give_up():
                raise
            return action()


def remove_collection(directory: Path) -> None:
    """Remove the directory of a collection; at no moment does a part of it count. Waits.

    After that no power cut brings it back: what is in it would undo what was saved since.
    Raises NoSpace or JournalError.
    """
    doomed = directory.with_name(f"{DROPPED_PREFIX}{secrets.token_hex(8)}")
    try:
        directory.rename(doomed)
    except OSError as error:
        raise disk_error(error, directory) from error
    sync_directory(directory.parent)
    with contextlib.suppress(OSError):  # the next mount removes what is left of it
        shutil.rmtree(doomed)
