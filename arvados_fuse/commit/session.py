"""One collection that is being changed: what a change does at once.

Everything here is called with the file system's lock held. What waits says so, and gives the lock
up meanwhile. What the journal calls files is in `numbers.py`, what is on its way to Keep in
`outbox.py`; the steps of a commit are in `steps.py`.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol
from weakref import WeakSet

from arvados_fuse.clock import lasting_clock
from arvados_fuse.collection.draft import Draft, DraftDirectory, DraftFile
from arvados_fuse.collection.extents import Pending, Stored
from arvados_fuse.collection.locator import block_name
from arvados_fuse.collection.rename import check_rename, rename
from arvados_fuse.collection.transfer import remove, unpack
from arvados_fuse.commit.numbers import FileNumbers
from arvados_fuse.commit.outbox import Outbox, Sent
from arvados_fuse.journal.records import (
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
    from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
    from concurrent.futures import Future

    from arvados_fuse.api import Desired, Item
    from arvados_fuse.collection.delta import Snapshot
    from arvados_fuse.collection.extents import ChunkLike
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

__all__ = ["SCRATCH_PREFIX", "Owner", "Session", "Stay"]

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


class Stay(NamedTuple):
    """A block of a collection that is never saved.

    token: the one that it was stored with, or an older one of this mount
    since: when it was stored, or later by half of a signature's life at most; in seconds of
        `lasting_clock`
    """

    token: str
    since: float


class Session:
    """The draft of one collection, and its part of the journal.

    uuid: of the collection; of one that is never saved, a name with SCRATCH_PREFIX
    draft: what the collection is, with all changes
    portable_data_hash: of the version that the cluster is known to have
    journal_base: of the version that the journal's changes are on top of
    owner: who shows it
    manifest_size: characters of the cluster's manifest, about
    desired: copies and storage classes of the collection, as it wanted when last asked; None if
        that is not known
    settled: how many files were committed since the draft was last moved to another base
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
    numbers: what the journal calls the files
    outbox: what has to get from the journal to Keep, and what has got there
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
        self._nameless: WeakSet[DraftFile] = WeakSet()  # that somebody has open
        self.numbers = FileNumbers(self.journal)
        self.outbox = Outbox(self.journal, self._upload)

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

    def _upload(self, chunk: Chunk, parts: Sequence[tuple[int, int]]) -> Future[Uploaded]:
        # What is not part of the present version may be collected as garbage at any time.
        return self._uploader.upload(chunk, parts, self.copies, self.present)

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
            return not self.users and self.outbox.is_empty
        return not (self.users or self.draft.root.overlay) and self.outbox.is_empty

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
            self.journal.record(
                Write(self.numbers.number(file), start, len(data), chunk.number, offset)
            )
        except BaseException:
            self.journal.abandon(chunk)
            raise
        file.write(start, len(data), Pending(chunk, offset))
        self.outbox.add(chunk, file)
        if chunk.is_sealed or start + len(data) > LARGE:
            self.outbox.send_complete()

    def truncate(self, file: DraftFile, size: int) -> None:
        """Cut a file off or lengthen it by zeros. Raises NoSpace or JournalError."""
        self.journal.record(Truncate(self.numbers.number(file), size))
        file.truncate(size)

    def create(self, directory: DraftDirectory, name: str) -> DraftFile:
        """Make a file. Raises as `DraftDirectory.create`, NoSpace or JournalError."""
        directory.check_new(name)
        number = self.numbers.next()
        self.journal.record(Create(number, directory.path_of(name)))
        file = directory.create(name)
        self.numbers.give(file, number)
        return file

    def mkdir(self, directory: DraftDirectory, name: str) -> DraftDirectory:
        """Make a directory. Raises as `DraftDirectory.mkdir`, NoSpace or JournalError."""
        directory.check_new(name)
        self.journal.record(Mkdir(directory.path_of(name)))
        return directory.mkdir(name)

    def unlink(self, directory: DraftDirectory, name: str) -> None:
        """Remove a file, which is there. Raises NoSpace or JournalError."""
        self.journal.record(Unlink(directory.path_of(name)))
        self._removed(directory.unlink(name))

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
        self._removed(rename(old_directory, old_name, new_directory, new_name))

    def _removed(self, entry: DraftFile | DraftDirectory | None) -> None:
        """Remember a file that has no name any more, for as long as somebody has it open."""
        if isinstance(entry, DraftFile):
            self._nameless.add(entry)

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
        self.numbers.keep(())
        with self._unlocked:
            self.journal.committed(generation, base)
        self.journal_base = base  # only now: on a full disk it is not

    def adopt(self) -> None:
        """Note the chunks of a draft that was changed without the session, as in a recovery."""
        for file in self._files():
            for chunk in file.extents.pending_chunks():
                self.outbox.add(chunk, file)

    # -- blocks -----------------------------------------------------------------------------

    def placed(self, chunk: ChunkLike, uploaded: Uploaded) -> None:
        """Note that a chunk is in Keep; see `Outbox.placed`."""
        block = self.outbox.placed(chunk, uploaded)
        if block is not None and self.is_scratch:
            self.stays[block] = Stay(uploaded.token, lasting_clock())

    def blocks(self) -> set[str]:
        """Hash and size of all blocks of Keep that files have bytes from, nameless ones too."""
        return set().union(*(file.extents.blocks() for file in self._files()))

    def locators(self) -> dict[str, str]:
        """One locator of each of these blocks, signature included."""
        found: dict[str, str] = {}
        for file in self._files():
            found.update(file.extents.locators())
        return found

    def paths_with(self, blocks: Set[str]) -> list[str]:
        """The files of the draft that have bytes from some of these blocks, sorted."""
        files = (file for file in self._files() if file.parent is not None)
        return sorted(f.path() for f in files if not blocks.isdisjoint(f.extents.blocks()))

    def sign(self, locators: Mapping[str, str]) -> None:
        """Let these files have other locators, by hash and size of the blocks."""
        for file in self._files():
            file.extents.sign(locators)

    def take_back(self) -> None:
        """Let files have from the journal what was sent and is not committed.

        It can be read there, though no signature holds; the next commit sends it again.
        """
        for file in self._files():
            for at, size, source in file.extents.extents():
                if not isinstance(source, Stored):
                    continue
                sent = self.outbox.sent.get(block_name(source.locator))
                if sent is not None:
                    self._take_back(file, at, _in_journal(sent, source.offset, size))

    def _take_back(self, file: DraftFile, start: int, parts: Iterable[tuple[int, Pending]]) -> None:
        for size, part in parts:
            file.extents.write(start, size, part)
            self.outbox.add(part.chunk, file)
            start += size

    def _files(self) -> Iterator[DraftFile]:
        """Yield the files that are or may be changed, and those that are open without a name."""
        for directory in _directories(self.draft.root):
            for _, file in directory.own_files():
                yield file
        yield from self._nameless


def _directories(directory: DraftDirectory) -> Iterator[DraftDirectory]:
    """Yield a directory and all below it that are objects."""
    yield directory
    for entry in directory.overlay.values():
        if isinstance(entry, DraftDirectory):
            yield from _directories(entry)


def _in_journal(sent: Sent, offset: int, size: int) -> Iterator[tuple[int, Pending]]:
    """Yield where in the journal bytes of a block are that was sent from there, in order."""
    for start, length in sent.parts:
        taken = min(length - offset, size)
        if taken > 0:
            yield taken, Pending(sent.chunk, start + offset)
            size -= taken
        offset = max(offset - length, 0)
