"""A program that writes through a journal, its model, and disks that lose things."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from arvados_fuse.errors import NoSpace
from arvados_fuse.journal.collection import CollectionJournal
from arvados_fuse.journal.files import OpenFile
from arvados_fuse.journal.journal import ABOUT, LOCK, RESERVE, About, boot_id
from arvados_fuse.journal.records import (
    Attach,
    Create,
    Operation,
    Rename,
    Truncate,
    Unlink,
    Write,
)
from arvados_fuse.journal.recovery import Orphan, Recovered
from arvados_fuse.journal.reserve import Reserve
from arvados_fuse.journal.room import Room

ABOUT_US = About(
    host="arvados.example.com",
    cluster_id="zzzzz",
    user_uuid="zzzzz-tpzed-000000000000000",
    mount_point="/mnt/keep",
    started="2030-01-01 00:00:00",
    boot_id=boot_id(),
)
UUID = "zzzzz-4zz18-000000000000000"
Content = dict[str, bytes]


def collection_journal(directory: Path, portable_data_hash: str = "v0") -> CollectionJournal:
    """The journal of a collection without a mount around it, so that nothing else happens."""
    if not (directory / LOCK).exists():
        directory.mkdir(exist_ok=True)
        (directory / LOCK).touch()
        (directory / ABOUT).write_text(json.dumps(ABOUT_US._asdict()))
    return CollectionJournal(
        UUID,
        directory / UUID,
        portable_data_hash,
        room=Room(1 << 40),
        reserve=Reserve(directory / RESERVE),
        unsynced=lambda: None,
        dropped=lambda: None,
    )


def refuse_records(
    monkeypatch: pytest.MonkeyPatch, is_refused: Callable[[Operation], bool] = lambda _: True
) -> None:
    """Let the journal's disk have no room for some records."""
    record = CollectionJournal.record

    def record_if_there_is_room(self: CollectionJournal, operation: Operation) -> None:
        if is_refused(operation):
            raise NoSpace("the journal cannot grow")
        record(self, operation)

    monkeypatch.setattr(CollectionJournal, "record", record_if_there_is_room)


def orphan(directory: Path, *, after_power_cut: bool = False) -> Orphan:
    """The journal in a directory, as the next mount finds it."""
    about = ABOUT_US._replace(boot_id="another") if after_power_cut else ABOUT_US
    (directory / ABOUT).write_text(json.dumps(about._asdict()))
    return Orphan(directory, OpenFile(directory / LOCK, os.open(directory / LOCK, os.O_RDWR)))


def replay(recovered: Recovered, versions: Mapping[str, Content]) -> Content:
    """The content of the collection after what was recovered is done again."""
    paths = {p: bytearray(c) for p, c in versions[recovered.portable_data_hash].items()}
    files = {number: paths[path] for number, path in recovered.attached.items()}
    gone = bytearray()
    for operation in recovered.operations():
        match operation:
            case Create(number, path):
                files[number] = paths[path] = bytearray()
            case Attach(number, path):
                files[number] = paths[path]
            case Write(number, start, size, chunk, offset):
                put(files.get(number, gone), start, recovered.chunks[chunk].read(offset, size))
            case Truncate(number, size):
                resize(files.get(number, gone), size)
            case Unlink(path):
                del paths[path]
            case Rename(old, new):
                paths[new] = paths.pop(old)
    return {path: bytes(file) for path, file in paths.items()}


def resize(file: bytearray, size: int) -> None:
    del file[size:]
    file.extend(bytes(size - len(file)))


def put(file: bytearray, start: int, data: bytes) -> None:
    if start > len(file):
        resize(file, start)
    file[start : start + len(data)] = data


@dataclasses.dataclass(eq=False)
class File:
    """A file of the model. number: its identifier in the journal; 0 before it has one."""

    content: bytearray
    number: int = 0


class Program:
    """Changes a collection at random, the same way for the same seed, with or without a journal.

    history: the content before the first step and after each
    versions: the content of each version that was committed
    steps: how many steps were done, so how long `history` is with the first
    synced: the step that was the last when the last sync began that has ended
    committed: the step at which the snapshot was taken that the cluster has
    forgotten: the same, of the last commit that was removed from the journal
    """

    def __init__(self, seed: int, journal: CollectionJournal | None) -> None:
        self._random = random.Random(seed)
        self._journal = journal
        self._paths: dict[str, File] = {"base": File(bytearray(b"of the base"))}
        self._unlinked: list[File] = []
        self._numbers = 0
        self._pending: list[tuple[str, int, dict[int, str]]] = []
        self._sealed = 0
        self.versions = {"v0": self.content()}
        self.history = [self.content()]
        self.synced = 0
        self.committed = 0
        self.forgotten = 0

    def content(self) -> Content:
        return {path: bytes(file.content) for path, file in self._paths.items()}

    @property
    def steps(self) -> int:
        return len(self.history) - 1

    def step(self) -> None:
        """Do one thing, of which some change the content and some do not."""
        weights = {
            self._create: 3,
            self._write: 12,
            self._truncate: 2,
            self._rename: 2,
            self._unlink: 2,
            self._rotate: 2,
            self._commit: 2,
            self._sync: 2,
            self._shorten: 1,
        }
        action = self._random.choices(list(weights), list(weights.values()))[0]
        action()
        self.history.append(self.content())

    def _any_path(self) -> str:
        return self._random.choice(sorted(self._paths))

    def _record(self, operation: Any) -> None:
        if self._journal is not None:
            self._journal.record(operation)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _create(self) -> None:
        path = f"d/f{self._random.randrange(8)}"
        file = File(bytearray(), self._number())
        self._record(Create(file.number, path))
        if path in self._paths:
            self._unlinked.append(self._paths[path])
        self._paths[path] = file

    def _write(self) -> None:
        file = self._paths[self._any_path()]
        if self._unlinked and self._random.random() < 0.1:
            file = self._random.choice(self._unlinked)
        start = self._random.randrange(len(file.content) + 20)
        data = self._random.randbytes(self._random.randrange(1, 60))
        big = self._random.choice([None, None, file])
        if self._journal is not None:
            chunk, offset = self._journal.append(data, big)
            self._name(file)
            self._record(Write(file.number, start, len(data), chunk.number, offset))
        else:
            self._name(file)
        put(file.content, start, data)

    def _name(self, file: File) -> None:
        if not file.number:
            number = self._number()
            path = next((p for p, f in self._paths.items() if f is file), None)
            if path is not None:
                self._record(Attach(number, path))
            file.number = number

    def _truncate(self) -> None:
        file = self._paths[self._any_path()]
        size = self._random.randrange(80)
        self._name(file)
        self._record(Truncate(file.number, size))
        resize(file.content, size)

    def _rename(self) -> None:
        old, new = self._any_path(), f"d/f{self._random.randrange(8)}"
        if old != new:
            self._record(Rename(old, new))
            if new in self._paths:
                self._unlinked.append(self._paths[new])
            self._paths[new] = self._paths.pop(old)

    def _unlink(self) -> None:
        if len(self._paths) > 1:
            path = self._any_path()
            self._record(Unlink(path))
            self._unlinked.append(self._paths.pop(path))

    def _rotate(self) -> None:
        """Take the snapshot of a commit."""
        if self._journal is not None:
            self._journal.rotate()
        self._sealed += 1
        version = f"v{self._sealed}"
        attached = {file.number: path for path, file in self._paths.items() if file.number}
        self.versions[version] = self.content()
        self._pending.append((version, self.steps, attached))

    def _commit(self) -> None:
        """The newest or another commit that was begun succeeds."""
        if self._pending:
            index = self._random.randrange(len(self._pending))
            version, self.committed, attached = self._pending[index]  # the cluster has it now
            if self._journal is not None:
                self._journal.note_committed(int(version[1:]), version, attached)
            del self._pending[: index + 1]

    def _shorten(self) -> None:
        """What is committed is removed."""
        if self._journal is not None:
            self._journal.shorten()
        self.forgotten = self.committed

    def _sync(self) -> None:
        if self._journal is not None:
            self._journal.sync()
        self.synced = self.steps


class Killed(BaseException):
    """The process was killed here."""


_CALLS = ("pwrite", "open", "mkdir", "unlink", "rename", "fsync", "fdatasync", "ftruncate")


class Killer:
    """Kills at a system call that changes something: nothing comes to the disk after it.

    calls_left: so many are still done; the one after it, if it writes, does a part of its work
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, calls_left: int, part: float) -> None:
        self.calls_left = calls_left
        self._part = part
        for name in _CALLS:
            monkeypatch.setattr(os, name, self._guarded(getattr(os, name), name == "pwrite"))

    def _guarded(self, call: Callable[..., Any], is_write: bool) -> Callable[..., Any]:
        def guarded(*arguments: Any, **options: Any) -> Any:
            self.calls_left -= 1
            if self.calls_left >= 0:
                return call(*arguments, **options)
            if self.calls_left == -1 and is_write:
                descriptor, data, offset = arguments
                call(descriptor, data[: int(len(data) * self._part)], offset)
            raise Killed

        return guarded


class LosingDisk:
    """A directory on a disk that, at a power cut, loses what was not forced to it.

    Notes what each file had when it was last synced, and which names each directory had.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._files: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._identities: dict[int, int] = {}  # inode numbers are used again
        self._created = 0
        self._open, self._mkdir = os.open, os.mkdir
        monkeypatch.setattr(os, "open", self._opened)
        monkeypatch.setattr(os, "mkdir", self._made)
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._noting(getattr(os, name)))

    def _noting(self, call: Callable[[int], None]) -> Callable[[int], None]:
        def noting(descriptor: int) -> None:
            call(descriptor)
            self._note(descriptor)

        return noting

    def _opened(self, path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        descriptor = self._open(path, flags, *arguments, **options)
        if flags & os.O_EXCL:
            self._identify(os.fstat(descriptor))
        return descriptor

    def _made(self, path: Any, *arguments: Any, **options: Any) -> None:
        self._mkdir(path, *arguments, **options)
        self._identify(os.stat(path, dir_fd=options.get("dir_fd")))

    def _identify(self, status: os.stat_result) -> None:
        """Note that something is new, whatever has had its inode number before."""
        self._created += 1
        self._identities[status.st_ino] = -self._created

    def _identity(self, inode: int) -> int:
        return self._identities.get(inode, inode)

    def _note(self, descriptor: int) -> None:
        inode = os.fstat(descriptor).st_ino
        path = Path(f"/proc/self/fd/{descriptor}")
        if path.is_dir():
            entries = os.scandir(descriptor)
            self._names[self._identity(inode)] = {
                each.name: self._identity(each.inode()) for each in entries
            }
        else:
            self._files[self._identity(inode)] = path.read_bytes()

    def force(self, directory: Path) -> None:
        """Note that all of a directory is on the disk, as what is found after a power cut."""
        paths = [directory, *directory.rglob("*")]
        for path in paths:
            self._identify(path.stat())
        for path in paths:
            descriptor = self._open(path, os.O_RDONLY)
            self._note(descriptor)
            os.close(descriptor)

    def cut_power(self, source: Path, target: Path, seed: int) -> None:
        """Write to `target` what of the directory `source` may be left."""
        choice = random.Random(seed)
        target.mkdir()
        durable = self._names.get(self._identity(source.stat().st_ino), {})
        for entry in sorted(os.scandir(source), key=lambda each: each.name):
            was_synced = entry.name in durable
            if not was_synced and choice.random() < 0.5:
                continue
            if entry.is_dir():
                self.cut_power(Path(entry.path), target / entry.name, choice.randrange(1 << 30))
            else:
                now = Path(entry.path).read_bytes()
                safe = self._files.get(self._identity(entry.inode()), b"")
                (target / entry.name).write_bytes(_damaged(safe, now, choice))
        for name, identity in durable.items():
            # A name that was removed may be there again.
            if not (source / name).exists() and choice.random() < 0.5:
                self._bring_back(identity, target / name)

    def _bring_back(self, identity: int, target: Path) -> None:
        """Write to `target` what was forced to the disk of a file or directory that was removed."""
        if identity in self._files:
            target.write_bytes(self._files[identity])
        elif identity in self._names:
            target.mkdir()
            for name, inside in self._names[identity].items():
                self._bring_back(inside, target / name)


def _damaged(safe: bytes, now: bytes, choice: random.Random) -> bytes:
    """Content of a file of which only `safe` had been forced to the disk."""
    kept = bytearray(now[: choice.randint(len(safe), len(now))])
    for start in range(len(safe), len(kept), 64):  # the new size came there, these bytes did not
        if choice.random() < 0.5:
            size = min(64, len(kept) - start)
            kept[start : start + size] = bytes(size)
    return bytes(kept)


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> Iterator[None]:
    """A disk that has so many bytes left, of which half of a write may get the last ones."""
    write = os.pwrite

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        nonlocal free
        grows = max(0, offset + len(data) - os.fstat(descriptor).st_size)
        if grows <= free:
            free -= grows
            return write(descriptor, data, offset)
        fits = len(data) - grows + free
        free = 0
        if fits <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, bytes(data)[:fits], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        yield
