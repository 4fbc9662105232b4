"""A file system that can be written to, without a mount: a cluster, Keep and a kernel in memory.

Everything between is the real thing: adapter, directories, drafts, sessions, the journal on disk,
and the steps of commits. What is done by several threads in a mount is done by two here, of which
one runs at a time, and which change places where the file system's lock is given up. So any
interleaving can be had again.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import os
import re
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import llfuse
import pytest

from arvados_fuse.api import CollectionContent, Item
from arvados_fuse.api.writing import Replaced
from arvados_fuse.collection.locator import block_name
from arvados_fuse.collection.tree import Tree
from arvados_fuse.commit.copies import Standard
from arvados_fuse.commit.known import KnownBlocks
from arvados_fuse.commit.preservation import Preservation
from arvados_fuse.commit.recovery import Nobody, Recovery
from arvados_fuse.commit.rescue import Rescue
from arvados_fuse.commit.session import Owner, Session
from arvados_fuse.commit.steps import Steps
from arvados_fuse.commit.uploads import Uploader
from arvados_fuse.commit.writing import Writing
from arvados_fuse.errors import Busy, ClusterError, FileSystemError, NoSuchEntry, TimedOut
from arvados_fuse.events import Event, State
from arvados_fuse.fresh import SingleFlight
from arvados_fuse.fusedir.changes import Changes, Refresher
from arvados_fuse.fusedir.collection import CollectionDirectory
from arvados_fuse.fusedir.directory import Directory, Surroundings
from arvados_fuse.fusedir.magic import FixedDirectory
from arvados_fuse.fusedir.names import NameRules
from arvados_fuse.fusedir.project import HomeDirectory
from arvados_fuse.inodes import InodeCache, Inodes
from arvados_fuse.journal.journal import Journal
from arvados_fuse.journal.recovery import orphans
from arvados_fuse.keep.locators import EMPTY_BLOCK
from arvados_fuse.metrics import Metrics
from arvados_fuse.operations import Operations
from arvados_fuse.trust import Trust
from tests.support.drafts import Blocks, Content, manifest_text, replace_files, tree_segments
from tests.support.fakes import (
    HOME,
    FakeBlock,
    FakeBlocks,
    FakeClock,
    FakeCluster,
    FakeJobs,
    FakeKernel,
)
from tests.support.journals import ABOUT_US
from tests.support.turns import Locked, Turns, Unlocked

__all__ = ["KNOWN_S", "WritableCluster", "WritableMount", "conflict_name"]

UUID = "zzzzz-4zz18-000000000000001"
REFRESH_S = 15.0
KNOWN_S = 600.0
"""For how long a block is known to be in Keep that was stored there."""
CALLER = SimpleNamespace(uid=os.getuid(), gid=os.getgid(), pid=os.getpid(), umask=0o022)
"""As llfuse.RequestContext, which cannot be made."""


def conflict_name(name: str) -> str:
    """What ours is called when theirs has the name."""
    return f"{name}~ours"


class WritableCluster(FakeCluster):
    """Collections that can be changed, and the blocks of their content. A `ClusterWriting`.

    There is one called "model"; what names no other is about that.

    failures: what the next requests for a change raise, the first of them first
    between: what happens in the next requests that replace the whole content, the first of them
        first, between the question whether it is what is expected and the change
    events: what the event bus tells next, the first of them first
    keeps_versions: whether what is replaced is kept as a version
    keeps_content: whether content of before is found by its hash
    blocks: Keep
    clock: of the cluster and of its mounts
    token: of the user
    """

    has_replace_files = True
    keeps_versions = True
    keeps_content = True
    replicas = 1

    def __init__(self) -> None:
        super().__init__()
        self.blocks = Blocks()
        self.clock = FakeClock()
        self.token = "1"
        self.failures: list[Exception] = []
        self.between: list[Callable[[], None]] = []
        self.events: list[Event] = []
        self._known: dict[str, str] = {}  # the last version of each that the mount was told of
        self.add_collection(UUID, "model", "")

    def set_manifest(self, uuid: str, manifest: str) -> str:
        manifest = re.sub(r"\+A[0-9a-f]+@[0-9a-f]+", "", manifest)
        before = self.items[uuid]
        self.items[uuid] = before._replace(modified_ns=before.modified_ns + 1000)
        found = super().set_manifest(uuid, manifest)
        states = [self._state(item) for item in (before, self.items[uuid])]
        at_ns = self.items[uuid].modified_ns
        self.events.append(Event(at_ns, uuid, self.owners[uuid], at_ns, *states))
        return found

    def _state(self, item: Item) -> State:
        return State(item.name, self.owners[item.uuid], item.portable_data_hash, is_trashed=False)

    def collection_state(self, ident: str) -> Item:
        item = super().collection_state(ident)
        self._known[ident] = item.portable_data_hash
        return item

    def collection(self, ident: str) -> CollectionContent:
        present = {item.portable_data_hash for item in self.items.values()}
        if "+" in ident and not (self.keeps_content or ident in present):
            raise NoSuchEntry(f"{ident} is gone")
        content = super().collection(ident)
        self._known[ident] = content.item.portable_data_hash
        return content

    def copy(self) -> WritableCluster:
        """Another one with the same content, and the same Keep, that refuses nothing."""
        other = copy.copy(self)
        for name in ("items", "owners", "manifests", "_known"):
            setattr(other, name, dict(getattr(self, name)))
        other.asked, other.failures, other.between, other.events = [], [], [], []
        return other

    def _stored(self, uuid: str) -> Content:
        """The content of a collection, in segments."""
        manifest = self.manifests[self.items[uuid].portable_data_hash]
        return tree_segments(Tree.from_manifest(manifest).root)

    def content_of(self, uuid: str) -> dict[str, bytes | None]:
        """The content of a collection: bytes of files, None for directories."""
        stored = self.blocks.bytes_of(self._stored(uuid))
        return {"/".join(path): data for path, data in stored.items()}

    @property
    def content(self) -> dict[str, bytes | None]:
        """The content of the one."""
        return self.content_of(UUID)

    def edit_elsewhere(self, changes: Mapping[str, bytes | None], uuid: str = UUID) -> None:
        """Let another client set files, or remove files and directories (None).

        All other files keep their blocks: a file in other blocks would count as changed.
        """
        content = self._stored(uuid)
        for path, data in changes.items():
            names = tuple(path.split("/"))
            for below in [p for p in content if p[: len(names)] == names]:
                del content[below]
            if data is not None:
                content |= {names[:depth]: None for depth in range(1, len(names))}
                content |= self.blocks.stored({names: data})
        self._set(uuid, content)

    def _set(self, uuid: str, stored: Content) -> None:
        self.set_manifest(uuid, manifest_text(stored))

    def collect_garbage(self) -> None:
        """Let Keep have the blocks of the collections alone."""
        contents = [self._stored(uuid) for uuid in self.items]
        segments = (
            each for content in contents for file in content.values() for each in file or ()
        )
        used = {block_name(locator) for locator, _, _ in segments}
        for block in self.blocks.contents.keys() - used - {EMPTY_BLOCK}:
            del self.blocks.contents[block]

    def store_block(self, data: bytes) -> str:
        """Store a block in Keep, and return its signed locator."""
        return self.blocks.put(data)

    def block(self, locator: str) -> bytes:
        """Read a block from Keep."""
        return self.blocks.get(locator)

    def may_change_collection(self, uuid: str) -> bool:
        self._ask("right")
        return True

    def edit(
        self, uuid: str, replace: Mapping[str, str], manifest_text: str, *, whole: bool
    ) -> CollectionContent:
        self._ask(f"edit {uuid}")
        is_current = self._known[uuid] == self.items[uuid].portable_data_hash
        supplied = tree_segments(Tree.from_manifest(manifest_text).root)
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None and not isinstance(failure, TimedOut):
            raise failure
        try:
            self._set(uuid, replace_files(self._stored(uuid), dict(replace), supplied))
        except AssertionError as error:
            if is_current:
                raise
            raise ClusterError(f"the request makes no sense any more: {error}") from error
        if failure is not None:
            raise failure
        return self._answer(uuid, whole=whole)

    def replace(self, uuid: str, manifest_text: str, expected: str) -> Replaced | None:
        self._ask(f"replace {uuid}")
        if self.failures:
            raise self.failures.pop(0)
        if self.items[uuid].portable_data_hash != expected:
            return None
        if self.between:
            self.between.pop(0)()
        before = self.items[uuid]
        self._set(uuid, tree_segments(Tree.from_manifest(manifest_text).root))
        if not self.keeps_versions or before.portable_data_hash == expected:
            return Replaced(self._answer(uuid, whole=True), None)
        stored = CollectionContent(before, self.manifests[before.portable_data_hash])
        return Replaced(self._answer(uuid, whole=True), stored)

    def _answer(self, uuid: str, *, whole: bool) -> CollectionContent:
        item = self.items[uuid]
        self._known[uuid] = item.portable_data_hash
        return CollectionContent(item, self.manifests[item.portable_data_hash] if whole else "")


class _Keep(FakeBlocks):
    """The blocks of a cluster, to be read and written."""

    def __init__(self, cluster: WritableCluster) -> None:
        super().__init__()
        self._cluster = cluster

    def get(self, locator: str) -> Any:
        """Return a block, of which nothing is kept here: each time Keep is asked."""
        try:
            self.add(self._cluster.block(locator))
        except FileSystemError as error:
            self.blocks[locator[:32]] = FakeBlock(error)
        return super().get(locator)

    def put(
        self,
        data: bytes | bytearray | memoryview,
        *,
        classes: tuple[str, ...],
        replicas: int,
        md5: str | None = None,
    ) -> str:
        return self._cluster.store_block(bytes(data))


class _KeepReader:
    """The same blocks for who reads them whole. A `BlockReader`, as far as it is asked."""

    def __init__(self, cluster: WritableCluster) -> None:
        self._cluster = cluster

    def get(
        self,
        locator: str,
        sink: memoryview,
        arrived: Callable[[int], None],
        restarted: Callable[[], None],
    ) -> None:
        data = self._cluster.block(locator)
        sink[:] = data
        arrived(len(data))


class InlineCommitter:
    """A committer that commits in the thread of who asks for it, and only when asked."""

    def __init__(self, mount: WritableMount) -> None:
        self._mount = mount
        self._busy: set[Session] = set()
        self._ending: set[str] = set()
        self.sessions: list[Session] = []

    def begin(
        self, uuid: str, tree: Tree, portable_data_hash: str, owner: Owner, *, manifest_size: int
    ) -> Session:
        session = self.make_session(
            uuid, tree, portable_data_hash, owner, manifest_size=manifest_size
        )
        self.sessions.append(session)
        return session

    def make_session(
        self, uuid: str, tree: Tree, portable_data_hash: str, owner: Owner, *, manifest_size: int
    ) -> Session:
        """A session that is committed by who asks for it."""
        return Session(
            uuid,
            tree,
            portable_data_hash,
            owner,
            manifest_size=manifest_size,
            journal=self._mount.journal,
            uploader=self._mount.uploader,
            unlocked=self._mount.unlocked,
        )

    def wait_for_end(self, uuid: str) -> bool:
        """Commit and end the session of another directory that shows the collection."""
        other = next((each for each in self.sessions if each.uuid == uuid), None)
        if other is not None:
            self.commit(other)
            if other in self.sessions:
                raise Busy(f"{uuid} is being changed at another place of the mount.")
        elif uuid in self._ending:
            self._ending.discard(uuid)
            with self._mount.unlocked:  # as when the journal of the last one is being removed
                pass
        else:
            return False
        return True

    def relieve(self, session: Session) -> None:
        assert session in self.sessions, "the session has ended"

    def rebase(self, session: Session, item: Item, tree: Tree, manifest_size: int) -> None:
        self._mount.steps.rebase(session, item, tree, manifest_size)

    def changed(self, session: Session) -> None:
        assert session in self.sessions, "the session has ended"

    def closed(self, session: Session) -> None:
        assert session in self.sessions, "the session has ended"

    def commit(self, session: Session) -> None:
        """Commit, as the real one: twice, so that what was committed gets into the tree."""
        while session in self._busy:
            with self._mount.flights_unlocked:
                pass
        if session not in self.sessions:
            return
        self._busy.add(session)
        try:
            with self._mount.unlocked:
                self._mount.steps.commit(session)
                if session.settled:
                    self._mount.steps.commit(session)
                self._mount.steps.shorten_journal(session)
            session.error = None
        except FileSystemError as error:
            session.error = error
            raise
        finally:
            self._busy.remove(session)
        if session.is_idle:
            self.sessions.remove(session)
            self._ending.add(session.uuid)
            session.owner.ended()
            session.journal.drop()


class WritableMount:
    """A file system on a `WritableCluster`, and a kernel: paths in, errno or results out.

    Has what `invariants.check` needs. End it with `close`.

    turns: where the lock is given up
    """

    def __init__(
        self,
        cluster: WritableCluster,
        journals: Path,
        *,
        directory_cache: int = 1 << 30,
        shows_home: bool = False,
        shows_twice: bool = False,
    ) -> None:
        """Mount the one collection.

        shows_home: mount the user's home, with all collections
        shows_twice: show the one at two places, "one" and "two"
        """
        self.cluster = cluster
        self.turns = Turns()
        self.unlocked = Unlocked(self.turns, may_block=False)
        self.flights_unlocked = Unlocked(self.turns, may_block=True)
        self.clock = cluster.clock
        self.kernel = FakeKernel()
        self.metrics = Metrics()
        self.inodes = Inodes(InodeCache(directory_cache))
        self.keep = keep = _Keep(cluster)
        locked = Locked(self.turns)
        self.journal = Journal.create(journals, ABOUT_US, 1 << 30)
        self.uploader = Uploader(
            keep, KnownBlocks(lambda: cluster.token, KNOWN_S, self.clock), Standard(1, ())
        )
        self.steps = Steps(
            cluster,
            cluster,
            self.uploader,
            Preservation(keep, self.uploader, locked, 600.0),
            locked=locked,
            conflict_name=conflict_name,
        )
        self.committer = InlineCommitter(self)
        self.jobs = FakeJobs()
        self.trust = trust = Trust(REFRESH_S, self.clock)
        around = Surroundings(
            cluster=cluster,
            inodes=self.inodes,
            flights=SingleFlight(self.flights_unlocked, time_limit_s=5.0),
            kernel=self.kernel,
            names=NameRules("_", "utf-8"),
            trust=trust,
            background=Refresher(self.inodes, locked, self.jobs),
            started_ns=1,
            status=dict,
            writing=Writing(self.committer, cluster, ()),
        )
        self.changes = Changes(around, locked)
        if shows_home:
            self.root: Directory = HomeDirectory(around, None, HOME, "")
        elif shows_twice:
            self.root = FixedDirectory(around, None, "")
        else:
            self.root = CollectionDirectory(around, None, UUID, "")
        self.root.plant()
        if isinstance(self.root, FixedDirectory):
            for name in ("one", "two"):
                self.root.put(name, CollectionDirectory(around, self.root, UUID, name))
        self.operations = Operations(
            inodes=self.inodes,
            blocks=keep,
            kernel=self.kernel,
            unlocked=self.unlocked,
            clock=trust.now,
            metrics=self.metrics,
            writable=True,
        )
        self.references: Counter[int] = Counter()
        self._opened: dict[int, int] = {}  # inode numbers of open files, by handle
        self._unlinked: set[int] = set()

    def left(self, journals: Path) -> WritableCluster:
        """Copy to `journals` what is left of it if it is killed now; returns the cluster then."""
        shutil.copytree(self.journal.directory.parent, journals, dirs_exist_ok=True)
        return self.cluster.copy()

    def recover(self) -> None:
        """Commit what mounts have left that were killed. All of it must be possible."""
        assert self.try_to_recover()

    def try_to_recover(self) -> bool:
        """Commit what mounts have left that were killed; whether all of that was possible."""
        rescue = Rescue(self.cluster, self.cluster, self.steps, _KeepReader(self.cluster), ())
        recovery = Recovery(self.cluster, self.steps, rescue, self._begin_recovery)
        left = orphans(self.journal.directory.parent, ABOUT_US.cluster_id, ABOUT_US.user_uuid)
        is_complete = True
        for orphan in left:
            is_complete &= recovery.recover(orphan)
        return is_complete

    def _begin_recovery(self, uuid: str, manifest: str, portable_data_hash: str) -> Session:
        return self.committer.make_session(
            uuid,
            Tree.from_manifest(manifest),
            portable_data_hash,
            Nobody(),
            manifest_size=len(manifest),
        )

    def close(self) -> None:
        """End it, and leave the journal as it is."""
        self.uploader.close()
        self.journal.close()

    # -- the kernel -------------------------------------------------------------------------

    def lookup(self, path: str) -> llfuse.EntryAttributes:
        """Walk to a path. Raises OSError."""
        attributes = self._answered(lambda: self.operations.getattr(1, CALLER))
        for name in path.split("/") if path else []:
            if not stat.S_ISDIR(attributes.st_mode):
                raise OSError(errno.ENOTDIR, path)
            attributes = self._look(attributes.st_ino, name)
        return attributes

    def _look(self, directory: int, name: str) -> llfuse.EntryAttributes:
        attributes = self._answered(
            lambda: self.operations.lookup(directory, os.fsencode(name), CALLER)
        )
        if attributes.st_ino == 0:
            raise OSError(errno.ENOENT, name)
        self.references[attributes.st_ino] += 1
        return attributes

    @staticmethod
    def _answered(request: Callable[[], Any]) -> Any:
        try:
            return request()
        except llfuse.FUSEError as error:
            raise OSError(error.errno, os.strerror(error.errno)) from error

    def _place(self, path: str) -> tuple[int, bytes]:
        directory, _, name = path.rpartition("/")
        attributes = self.lookup(directory)
        if not stat.S_ISDIR(attributes.st_mode):
            raise OSError(errno.ENOTDIR, path)
        return attributes.st_ino, os.fsencode(name)

    def forget(self, numbers: list[int] | None = None) -> None:
        """Forget some inodes, or all."""
        numbers = list(self.references) if numbers is None else numbers
        self.operations.forget([(n, self.references.pop(n, 0)) for n in numbers if n != 1])

    def create(self, path: str) -> int:
        directory, name = self._place(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        handle, attributes = self._answered(
            lambda: self.operations.create(directory, name, 0o644, flags, CALLER)
        )
        self.references[attributes.st_ino] += 1
        self._opened[handle] = attributes.st_ino
        return handle

    def make(self, path: str, content: bytes) -> None:
        """Make a file of this content."""
        handle = self.create(path)
        self.write(handle, 0, content)
        self.release(handle)

    def open(self, path: str) -> int:
        number = self.lookup(path).st_ino
        handle = self._answered(lambda: self.operations.open(number, os.O_RDWR, CALLER))
        self._opened[handle] = number
        return handle

    def write(self, handle: int, offset: int, data: bytes) -> None:
        self._answered(lambda: self.operations.write(handle, offset, data))

    def read(self, handle: int, offset: int, size: int) -> bytes:
        return bytes(self._answered(lambda: self.operations.read(handle, offset, size)))

    def release(self, handle: int) -> None:
        self._answered(lambda: self.operations.flush(handle))
        self._answered(lambda: self.operations.release(handle))
        self._forget_unlinked(self._opened.pop(handle))

    def fsync(self, handle: int) -> None:
        self._answered(lambda: self.operations.fsync(handle, False))

    def use_new_token(self) -> None:
        """Do what follows on a new token: content and signatures are asked for anew."""
        for thing in self.inodes:
            if isinstance(thing, CollectionDirectory):
                thing.invalidate()

    def commit(self) -> None:
        """Commit all collections, as reading `.arvados#commit` in each does.

        Raises FileSystemError.
        """
        for session in list(self.committer.sessions):
            self.committer.commit(session)

    def commit_in_vain(self, error: FileSystemError) -> None:
        """Commit; the cluster fails with `error`, and has done it if that is TimedOut."""
        self.cluster.failures = [error]
        with pytest.raises(type(error)):
            self.commit()

    def mkdir(self, path: str) -> None:
        directory, name = self._place(path)
        attributes = self._answered(lambda: self.operations.mkdir(directory, name, 0o755, CALLER))
        self.references[attributes.st_ino] += 1

    def rmdir(self, path: str) -> None:
        directory, name = self._place(path)
        self._answered(lambda: self.operations.rmdir(directory, name, CALLER))

    def unlink(self, path: str) -> None:
        directory, name = self._place(path)
        number = self._look(directory, os.fsdecode(name)).st_ino
        self._answered(lambda: self.operations.unlink(directory, name, CALLER))
        self._unlinked.add(number)
        self._forget_unlinked(number)

    def _forget_unlinked(self, number: int) -> None:
        """Forget an inode that has no name and that nobody has open, as the kernel does at once."""
        if number in self._unlinked and number not in self._opened.values():
            self.forget([number])

    def rename(self, old: str, new: str) -> None:
        old_directory, old_name = self._place(old)
        new_directory, new_name = self._place(new)
        moved = self._look(old_directory, os.fsdecode(old_name)).st_ino
        replaced = None
        with contextlib.suppress(FileNotFoundError):
            replaced = self._look(new_directory, os.fsdecode(new_name)).st_ino
        self._answered(
            lambda: self.operations.rename(old_directory, old_name, new_directory, new_name, CALLER)
        )
        if replaced is not None and replaced != moved:
            self._unlinked.add(replaced)
            self._forget_unlinked(replaced)

    def truncate(self, path: str, size: int) -> None:
        self.set_attributes(self.lookup(path).st_ino, size=size)

    def set_attributes(
        self, number: int, *, size: int | None = None, mtime_ns: int | None = None
    ) -> llfuse.EntryAttributes:
        attributes = llfuse.EntryAttributes()
        fields = _Fields()
        if size is not None:
            attributes.st_size, fields.update_size = size, True
        if mtime_ns is not None:
            attributes.st_mtime_ns, fields.update_mtime = mtime_ns, True
        return self._answered(
            lambda: self.operations.setattr(number, attributes, fields, None, CALLER)
        )

    def list(self, path: str) -> dict[str, llfuse.EntryAttributes]:
        """The entries of a directory, each looked up; checks that both answers agree."""
        number = self.lookup(path).st_ino
        handle = self._answered(lambda: self.operations.opendir(number, CALLER))
        listed = [(n, e.st_mode, e.st_ino) for n, e, _ in self.operations.readdir(handle, 2)]
        self.operations.releasedir(handle)
        entries = {}
        for name, mode, inode in listed:
            entry = entries[os.fsdecode(name)] = self._look(number, os.fsdecode(name))
            assert stat.S_IFMT(entry.st_mode) == stat.S_IFMT(mode)
            assert entry.st_ino == inode, f"{name} of {path} has two numbers"
        assert len(entries) == len(listed), f"a name stands twice in {path}"
        return entries

    def walk(self, path: str = "") -> dict[str, bytes | None]:
        """Everything: bytes of files, None for directories."""
        found: dict[str, bytes | None] = {}
        for name, entry in self.list(path).items():
            below = f"{path}/{name}" if path else name
            if stat.S_ISDIR(entry.st_mode):
                found[below] = None
                found |= self.walk(below)
            else:
                found[below] = self.content(entry)
        return found

    def content(self, entry: llfuse.EntryAttributes) -> bytes:
        """The bytes of a file, which must be as many as its attributes say."""
        handle = self._answered(lambda: self.operations.open(entry.st_ino, os.O_RDONLY, CALLER))
        data = self.read(handle, 0, entry.st_size + 100)
        self._answered(lambda: self.operations.release(handle))
        assert len(data) == entry.st_size
        return data


class _Fields:
    """As llfuse.SetattrFields, which cannot be made."""

    update_size = update_mtime = update_atime = False
    update_mode = update_uid = update_gid = False
