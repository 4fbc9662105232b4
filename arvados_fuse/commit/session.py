"""One collection that is being changed: what a change does at once, and what is on its way.

Everything here is called with the file system's lock held. What waits says so, and gives the lock
up meanwhile. The steps of a commit are in `steps.py`.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from arvados_fuse.collection.draft import Draft, DraftDirectory, DraftFile
from arvados_fuse.collection.extents import Pending, Stored
from arvados_fuse.collection.locator import block_name
from arvados_fuse.collection.rename import check_rename, rename
from arvados_fuse.collection.transfer import remove, unpack
from arvados_fuse.commit.known import lasting_clock
from arvados_fuse.journal.records import (
    Attach,
    Create,
    Mkdir,
    Receive,
    Remove,
    Rename,
    Rmdir,
    Truncate,
    Unlink,
    Write,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
    from concurrent.futures import Future

    from arvados_fuse.api import Desired, Item
    from arvados_fuse.collection.delta import Snapshot
    from arvados_fuse.collection.extents import ChunkLike, ExtentMap
    from arvados_fuse.collection.repacking import Moves
    from arvados_fuse.collection.transfer import Parcel
    from arvados_fuse.collection.tree import Tree
    from arvados_fuse.commit.copies import Copies
    from arvados_fuse.commit.uploads import Uploaded, Uploader
    from arvados_fuse.errors import FileSystemError
    from arvados_fuse.fresh import Unlocked
    from arvados_fuse.journal.chunks import Chunk
    from arvados_fuse.journal.collection import CollectionJournal
    from arvados_fuse.journal.journal import Journal
    from arvados_fuse.journal.records import Content

__all__ = ["SCRATCH_PREFIX", "Owner", "Sent", "Session", "Stay", "live_parts"]

SCRATCH_PREFIX = "tmp-"
"""Begins the names of collections that are never saved, in the journal."""

LARGE = 1 << 20
"""Bytes from which on a file gets chunks of its own, so that its bytes stay together."""

ROOM_TIME_LIMIT_S = 600.0
"""How long a write waits for room in the journal before the program is told that it is full."""


class Owner(Protocol):
    """Who shows the collection: told, with the lock held, what the cluster has now."""

    @property
    def signatures_hold(self) -> bool:
        """Whether the block signatures of the tree that is shown can be used."""

    def committed(self, item: Item) -> None:
        """The cluster has what was changed; `item` is the record now."""

    def rebased(self, item: Item, tree: Tree, manifest_size: int) -> None:
        """The draft is on top of `tree` now, the content of `item`.

        manifest_size: characters of its manifest
        """

    def looked_through(self) -> None:
        """The directories of the draft were looked through, which may have loaded them."""

    def ended(self) -> None:
        """The session is over: everything is in the tree."""

    def repacking(self, moves: Moves) -> None:
        """From now on the cluster may have some bytes in other blocks.

        The session ends; the owner has to stay where it is until `repacked`.
        """

    def repacked(self) -> None:
        """What `repacking` announced is done, or was given up."""


class Sent(NamedTuple):
    """Where in the journal the bytes of a block are: a chunk, and the parts of it in the block."""

    chunk: Chunk
    parts: Sequence[tuple[int, int]]


class Stay(NamedTuple):
    """A block of a collection that is never saved.

    token: the one that it was stored with, or an older one of this mount
    since: when it was stored, or later by half of a signature's life at most; in seconds of
        `lasting_clock`
    """

    token: str
    since: float


class Session:
    """The draft of one collection, its journal, and the blocks that are on their way.

    uuid: of the collection; of one that is never saved, a name with SCRATCH_PREFIX
    draft: what the collection is, with all changes
    portable_data_hash: of the version that the cluster is known to have
    journal_base: of the version that the journal's changes are on top of
    owner: who shows it
    manifest_size: characters of the cluster's manifest, about
    desired: copies and storage classes of the collection, as it wanted when last asked; None if
        that is not known
    settled: how many files were committed since the draft was last moved to another base
    sent: the blocks that were sent and are not committed, by hash and size
    commits: how many commits have been sent, to tell an answer that was asked for before from one
        that was asked for after
    used_at: when something was last begun to be changed, in seconds of time.monotonic
    users: requests that are changing something now
    rebases: how often the draft was moved to another base
    is_sending: whether a commit is being sent now
    is_adrift: whether the cluster has other content than the draft is on top of: what others had
        changed in the moment before was replaced, and has to be brought back
    is_gone: whether the collection was removed when the cluster had everything
    unanswered: what was sent last, if there was no answer, so that the cluster may have it or not
    stays: of a collection that is never saved, its blocks, by hash and size
    sources: uuids of collections that something was moved here from
    composing: held, without the file system's lock, while the manifest of a scratch collection is
        composed
    error: why the last commit failed; None if it did not
    """

    def __init__(
        self,
        uuid: str,
        tree: Tree,
        portable_data_hash: str,
        owner: Owner,
        *,
        manifest_size: int,
        journal: Journal,
        uploader: Uploader,
        unlocked: Unlocked,
    ) -> None:
        """Begin to change a collection. Raises NoSpace or JournalError."""
        self.uuid = uuid
        self.draft = Draft(tree)
        self.portable_data_hash = self.journal_base = portable_data_hash
        self.owner = owner
        self.manifest_size = manifest_size
        self.desired: Desired | None = None
        self.settled = 0
        self.commits = 0
        self.used_at = time.monotonic()
        self.users = self.rebases = 0
        self.is_sending = False
        self.is_adrift = False
        self.is_gone = False
        self.unanswered: Snapshot | None = None
        self.stays: dict[str, Stay] = {}
        self.sources: set[str] = set()
        self.composing = threading.Lock()
        self.error: FileSystemError | None = None
        self.journal: CollectionJournal = journal.collection(uuid, portable_data_hash)
        self._room = journal
        self._uploader = uploader
        self._unlocked = unlocked
        self._ids: dict[DraftFile, int] = {}
        self._last_id = 0
        self._users: dict[ChunkLike, set[DraftFile]] = {}
        self._uploads: dict[ChunkLike, Future[Uploaded]] = {}
        self.sent: dict[str, Sent] = {}

    @property
    def is_scratch(self) -> bool:
        """Whether the collection is never saved."""
        return self.uuid.startswith(SCRATCH_PREFIX)

    @property
    def is_overtaking(self) -> bool:
        """Whether a commit is under way that an answer of the cluster would not show as a whole."""
        return self.is_sending or self.is_adrift

    @property
    def present(self) -> Tree | None:
        """The present version, if the draft is on top of it and its block signatures hold."""
        is_present = self.owner.signatures_hold and not self.settled
        return self.draft.base if is_present else None

    @property
    def copies(self) -> Copies:
        """What is asked of Keep for new blocks of the collection."""
        return self._uploader.copies(self.desired)

    @property
    def is_short_of_room(self) -> bool:
        """Whether the journal is so full that what it holds should get to the cluster soon."""
        return self._room.used_bytes > self._room.limit_bytes // 2

    @property
    def is_idle(self) -> bool:
        """Whether the tree says all that the draft says, so that the draft is not needed.

        Nor is that of a collection that is gone, when there is nothing in it to be saved.
        """
        if self.is_gone and not self.draft.is_dirty:
            return not (self.users or self._users)
        return not (self.users or self.draft.root.overlay or self._users)

    @property
    def pending_bytes(self) -> int:
        """Bytes in chunks of the journal that are not known to be in Keep."""
        return sum(cast("Chunk", chunk).size for chunk in self._users)

    @property
    def pending_files(self) -> int:
        """How many files have bytes there."""
        return len(set().union(*self._users.values()))

    # -- changes ----------------------------------------------------------------------------

    def write(self, file: DraftFile, start: int, data: bytes) -> None:
        """Write bytes into a file. Gives the lock up, and waits while the journal is full.

        Raises NoSpace or JournalError, and then nothing was written.
        """
        large = file if max(file.size, start + len(data)) >= LARGE else None
        with self._unlocked:
            self._room.wait_for_room(len(data), ROOM_TIME_LIMIT_S)
            chunk, offset = self.journal.append(data, large)
        try:
            self.journal.record(Write(self._id(file), start, len(data), chunk.number, offset))
        except BaseException:
            self.journal.abandon(chunk)
            raise
        file.write(start, len(data), Pending(chunk, offset))
        self._users.setdefault(chunk, set()).add(file)
        if chunk.is_sealed or start + len(data) > LARGE:
            self._upload_complete()

    def truncate(self, file: DraftFile, size: int) -> None:
        """Cut a file off or lengthen it by zeros. Raises NoSpace or JournalError."""
        self.journal.record(Truncate(self._id(file), size))
        file.truncate(size)

    def create(self, directory: DraftDirectory, name: str) -> DraftFile:
        """Make a file. Raises as `DraftDirectory.create`, NoSpace or JournalError."""
        directory.check_new(name)
        self._last_id += 1
        number = self._last_id
        self.journal.record(Create(number, directory.path_of(name)))
        file = directory.create(name)
        self._ids[file] = number
        return file

    def mkdir(self, directory: DraftDirectory, name: str) -> DraftDirectory:
        """Make a directory. Raises as `DraftDirectory.mkdir`, NoSpace or JournalError."""
        directory.check_new(name)
        self.journal.record(Mkdir(directory.path_of(name)))
        return directory.mkdir(name)

    def unlink(self, directory: DraftDirectory, name: str) -> None:
        """Remove a file, which is there. Raises NoSpace or JournalError."""
        self.journal.record(Unlink(directory.path_of(name)))
        directory.unlink(name)

    def rmdir(self, directory: DraftDirectory, name: str) -> DraftDirectory:
        """Remove a directory. Raises as `DraftDirectory.rmdir`, NoSpace or JournalError."""
        directory.check_rmdir(name)
        self.journal.record(Rmdir(directory.path_of(name)))
        return directory.rmdir(name)

    def rename(
        self,
        old_directory: DraftDirectory,
        old_name: str,
        new_directory: DraftDirectory,
        new_name: str,
    ) -> None:
        """Move an entry. Raises as `rename` does, NoSpace or JournalError."""
        check_rename(old_directory, old_name, new_directory, new_name)
        self.journal.record(
            Rename(old_directory.path_of(old_name), new_directory.path_of(new_name))
        )
        rename(old_directory, old_name, new_directory, new_name)

    def receive(self, parcel: Parcel, source: str, directory: DraftDirectory, name: str) -> None:
        """Put what another collection has under a name, in the place of what is there.

        source: uuid of the other collection

        Raises NoSpace or JournalError.
        """
        received = Receive(directory.path_of(name), source, parcel.directories, parcel.files)
        self.journal.record(received)
        unpack(parcel, directory, name)
        self.sources.add(source)

    def remove(self, directory: DraftDirectory, name: str) -> None:
        """Remove what another collection has now. Raises NoSpace or JournalError."""
        self.journal.record(Remove(directory.path_of(name)))
        remove(directory, name)

    def note(self, operation: Rename) -> None:
        """Note that an entry has given way to others. Raises NoSpace or JournalError."""
        self.journal.record_of_commit(operation)

    def written_out(self, file: DraftFile) -> None:
        """Note that nobody has `file` open for writing any more."""
        self.journal.finished(file)

    def _id(self, file: DraftFile) -> int:
        """Return what the journal calls the file."""
        number = self._ids.get(file)
        if number is None:
            self._last_id += 1
            number = self._last_id
            if file.parent is not None:
                self.journal.record(Attach(number, file.path(), _content(file.extents)))
            self._ids[file] = number  # only now: without the record it would mean nothing
        return number

    def moved_to(self, portable_data_hash: str, manifest_size: int) -> None:
        """Note that the draft is on top of another version now."""
        self.portable_data_hash = portable_data_hash
        self.manifest_size = manifest_size
        self.settled = 0
        self.rebases += 1
        self.unanswered = None

    @property
    def is_based(self) -> bool:
        """Whether the journal is on top of the version that the draft is on top of.

        If it has changes already, the next commit sees to that.
        """
        return self.journal_base == self.portable_data_hash or not self.journal.is_empty

    def base_journal(self) -> None:
        """Let the journal begin on top of the version that the draft is on top of.

        Called before something is changed. Gives the lock up if there is something to do. Raises
        NoSpace or JournalError.
        """
        while not self.is_based:
            self._begin_journal_anew()

    def forget_undone(self) -> None:
        """Let the journal forget what was done and undone, as files that were made and removed.

        Called when the cluster has all that there is. Gives the lock up if there is something to
        do. Raises NoSpace or JournalError.
        """
        if not (self.draft.is_dirty or self.journal.is_empty):
            self._begin_journal_anew()

    def _begin_journal_anew(self) -> None:
        base = self.portable_data_hash
        generation = self.journal.rotate().generation
        self.keep_ids(())
        with self._unlocked:
            self.journal.committed(generation, base, {})
        self.journal_base = base  # only now: on a full disk it is not

    def adopt(self) -> None:
        """Note the chunks of a draft that was changed without the session, as in a recovery."""
        for file in self._files():
            for chunk in file.extents.pending_chunks():
                self._users.setdefault(chunk, set()).add(file)

    # -- blocks -----------------------------------------------------------------------------

    def _upload_complete(self) -> None:
        """Send the chunks that are full, while the rest is still being written."""
        for chunk in self.journal.take_complete():
            # What is left of unlinked files is read from the chunk itself.
            files = (file for file in self._users.get(chunk, ()) if file.parent is not None)
            if parts := live_parts(chunk, (file.extents for file in files)):
                self.upload(chunk, parts)

    def upload(self, chunk: ChunkLike, parts: Sequence[tuple[int, int]]) -> Future[Uploaded]:
        """Begin to send `parts` of a sealed chunk to Keep, unless it is on its way already."""
        future = self._uploads.get(chunk)
        if future is None or _has_failed(future):
            # What is not part of the present version may be collected as garbage at any time.
            future = self._uploader.upload(cast("Chunk", chunk), parts, self.copies, self.present)
            self._uploads[chunk] = future
        return future

    def placed(self, chunk: ChunkLike, uploaded: Uploaded) -> None:
        """Let the files have their bytes from Keep that had them from this chunk.

        What was written to it after the upload began stays as it is, and what was unlinked.
        """
        self._uploads.pop(chunk, None)
        spots = uploaded.spots
        if spots:
            block = block_name(spots[0].stored.locator)
            parts = [(spot.offset, spot.size) for spot in spots]
            self.sent[block] = Sent(cast("Chunk", chunk), parts)
            if self.is_scratch:
                self.stays[block] = Stay(uploaded.token, lasting_clock())
        for file in self._users.get(chunk, ()):
            if file.parent is not None:
                file.extents.place(chunk, spots)

    def let_go(self) -> None:
        """Forget the chunks that only removed or overwritten bytes were in.

        Who reads an unlinked file has what is left of its chunks in its extents.
        """
        for chunk, users in list(self._users.items()):
            left = {f for f in users if f.parent is not None and f.extents.is_pending(chunk)}
            if left:
                self._users[chunk] = left
            else:
                del self._users[chunk]
                self._uploads.pop(chunk, None)

    def upload_failed(self, chunk: ChunkLike) -> None:
        """Forget an upload that failed, so that the next commit tries again."""
        self._uploads.pop(chunk, None)

    def blocks(self) -> set[str]:
        """Hash and size of all blocks of Keep that files of the draft have bytes from."""
        return set().union(*(file.extents.blocks() for file in self._files()))

    def locators(self) -> dict[str, str]:
        """One locator of each of these blocks, signature included."""
        found: dict[str, str] = {}
        for file in self._files():
            found.update(file.extents.locators())
        return found

    def paths_with(self, blocks: Set[str]) -> list[str]:
        """The files of the draft that have bytes from some of these blocks, sorted."""
        return sorted(f.path() for f in self._files() if not blocks.isdisjoint(f.extents.blocks()))

    def sign(self, locators: Mapping[str, str]) -> None:
        """Let the files of the draft have other locators, by hash and size of the blocks."""
        for file in self._files():
            file.extents.sign(locators)

    def _files(self) -> Iterator[DraftFile]:
        """Yield the files that are or may be changed."""
        for directory in _directories(self.draft.root):
            for _, file in directory.own_files():
                yield file

    # -- names in the journal ---------------------------------------------------------------

    def keep_ids(self, files: Collection[DraftFile]) -> None:
        """Forget what the journal calls all files but these: it begins a new generation.

        A generation must not use a name that was given in one that may be gone before it.
        """
        self._ids = {file: self._ids[file] for file in files if file in self._ids}

    def forget_ids(self, files: Iterable[DraftFile]) -> None:
        """The cluster has these files as they are; their next change names them anew."""
        for file in files:
            self._ids.pop(file, None)

    def contents(self, extents: Mapping[DraftFile, ExtentMap]) -> dict[int, Content]:
        """What those of the files have in Keep that the journal has a name for, by that."""
        found = {self._ids[f]: _content(e) for f, e in extents.items() if f in self._ids}
        return {number: content for number, content in found.items() if content is not None}

    def attached(self, paths: Mapping[DraftFile, str]) -> dict[int, str]:
        """What the journal calls those of the files that it has a name for, with their paths."""
        return {self._ids[file]: path for file, path in paths.items() if file in self._ids}


def _content(extents: ExtentMap) -> Content | None:
    """What a file has in Keep; None if it has something elsewhere."""
    content = []
    for _, size, source in extents.extents():
        if not isinstance(source, Stored):
            return None
        content.append((source.locator, source.offset, size))
    return tuple(content)


def _has_failed(upload: Future[Uploaded]) -> bool:
    """Whether an upload has ended in an error, of which the next commit knows nothing yet."""
    return upload.done() and upload.exception() is not None


def _directories(directory: DraftDirectory) -> Iterator[DraftDirectory]:
    """Yield a directory and all below it that are objects."""
    yield directory
    for entry in directory.overlay.values():
        if isinstance(entry, DraftDirectory):
            yield from _directories(entry)


def live_parts(chunk: ChunkLike, maps: Iterable[ExtentMap]) -> list[tuple[int, int]]:
    """The parts of a chunk that files have bytes from: (offset, size), joined and sorted."""
    parts = sorted(
        (extent.source.offset, extent.size)
        for extents in maps
        for extent in extents.extents()
        if isinstance(extent.source, Pending) and extent.source.chunk is chunk
    )
    joined: list[tuple[int, int]] = []
    for offset, size in parts:
        if joined and offset <= joined[-1][0] + joined[-1][1]:
            first, length = joined[-1]
            joined[-1] = first, max(length, offset + size - first)
        else:
            joined.append((offset, size))
    return joined
