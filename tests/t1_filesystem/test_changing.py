"""Changes of files and names: whole or not at all, whatever fails and whoever comes between."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llfuse
import pytest

from arvados_fuse.errors import NoSpace
from arvados_fuse.journal.collection import CollectionJournal
from arvados_fuse.journal.records import Attach, Operation
from tests.support import invariants
from tests.support.journals import refuse_records
from tests.support.workplace import errno_of
from tests.support.writable import CALLER, REFRESH_S, WritableCluster, WritableMount

CONTENT = {"a": b"aaa", "b": b"bbb", "d/f": b"fff", "d/e/g": b"ggg", "empty/gone": b""}


@pytest.fixture
def cluster() -> WritableCluster:
    """A cluster with one collection."""
    cluster = WritableCluster()
    cluster.edit_elsewhere(CONTENT)
    cluster.edit_elsewhere({"empty/gone": None})
    return cluster


@pytest.fixture
def mount(cluster: WritableCluster, tmp_path: Path) -> Iterator[WritableMount]:
    """A mount of it. At the end the cluster must have what it shows, and its accounts be right."""
    mount = WritableMount(cluster, tmp_path)
    yield mount
    mount.turns.finish()
    shown = mount.walk()
    mount.commit()
    assert cluster.content == shown
    mount.clock.now += REFRESH_S + 1
    assert mount.walk() == shown
    mount.forget()
    invariants.check(mount)
    invariants.check_nothing_leaked(mount)
    assert mount.metrics.unhandled_errors == 0
    mount.close()


def open_by(mount: WritableMount, path: str, flags: int) -> int:
    """What the kernel does for open(2) with O_CREAT when it knows of no such file."""
    directory, _, name = path.rpartition("/")
    parent = mount.lookup(directory).st_ino

    def create() -> tuple[int, Any]:
        return mount.operations.create(parent, name.encode(), 0o644, os.O_CREAT | flags, CALLER)

    handle, attributes = mount._answered(create)
    mount.references[attributes.st_ino] += 1
    return int(handle)


def close(mount: WritableMount, handle: int) -> None:
    mount.operations.flush(handle)
    mount.operations.release(handle)


CHANGES: dict[str, Callable[[WritableMount], None]] = {
    "create": lambda mount: close(mount, open_by(mount, "new", os.O_RDWR)),
    "create in a directory": lambda mount: close(mount, open_by(mount, "d/e/new", os.O_RDWR)),
    "mkdir": lambda mount: mount.mkdir("d/new"),
    "unlink": lambda mount: mount.unlink("d/f"),
    "rmdir": lambda mount: mount.rmdir("empty"),
    "rename": lambda mount: mount.rename("a", "d/new"),
    "rename over a file": lambda mount: mount.rename("a", "b"),
    "rename a directory": lambda mount: mount.rename("d", "new"),
    "rename over a directory": lambda mount: mount.rename("d", "empty"),
    "truncate": lambda mount: mount.truncate("a", 1),
    "lengthen": lambda mount: mount.truncate("d/f", 9),
    "open with O_TRUNC": lambda mount: close(mount, open_by(mount, "b", os.O_RDWR | os.O_TRUNC)),
}


def write(mount: WritableMount) -> None:
    handle = mount.open("a")
    try:
        mount.write(handle, 1, b"X")
    finally:
        mount.release(handle)


CHANGES["write"] = write


def facts(mount: WritableMount) -> dict[str, tuple[int, int, int]]:
    """Number, size and time of everything."""
    entries = {path: mount.lookup(path) for path in mount.walk()}
    return {path: (e.st_ino, e.st_size, e.st_mtime_ns) for path, e in entries.items()}


class TestFullDisk:
    """The journal's disk is full: the program is told so, and nothing was changed."""

    @pytest.mark.parametrize("kind", CHANGES)
    @pytest.mark.parametrize("has_session", [False, True])
    def test_what_is_refused_is_not_done(self, mount, kind, has_session, monkeypatch, log_guard):
        if has_session:
            mount.release(mount.create("x"))
        content, before = mount.walk(), facts(mount)
        refuse_records(monkeypatch)
        assert errno_of(CHANGES[kind], mount) == "ENOSPC"
        assert mount.walk() == content
        assert facts(mount) == before
        monkeypatch.undo()
        assert log_guard.take("the journal cannot grow")
        mount.commit()
        assert mount.walk() == content
        CHANGES[kind](mount)
        assert mount.walk() != content

    def test_what_is_written_after_a_refusal_is_in_the_journal(self, mount, monkeypatch, log_guard):
        """A file is named in the journal before it is written to; that may be what is refused."""
        handle = mount.open("a")
        refuse_records(monkeypatch, lambda operation: isinstance(operation, Attach))
        assert errno_of(mount.write, handle, 0, b"X") == "ENOSPC"
        monkeypatch.undo()
        assert log_guard.take("the journal cannot grow")
        recorded: list[Operation] = []
        monkeypatch.setattr(CollectionJournal, "record", noting(recorded))
        mount.write(handle, 0, b"X")
        assert [type(operation).__name__ for operation in recorded] == ["Attach", "Write"]
        mount.release(handle)

    def test_a_journal_that_cannot_begin_anew_does_not_change_its_base(
        self, cluster, mount, monkeypatch
    ):
        """Others change the collection, and the journal has to begin on top of their version."""
        mount.lookup("a")
        mount.root.begin()
        cluster.edit_elsewhere({"theirs": b"theirs"})
        mount.clock.now += REFRESH_S + 1
        mount.walk()

        def refuse_to_rotate(self: CollectionJournal) -> None:
            raise NoSpace("the journal cannot grow")

        session = mount.root.session
        assert session is not None
        assert not session.is_based
        with monkeypatch.context() as patch:
            patch.setattr(CollectionJournal, "rotate", refuse_to_rotate)
            with pytest.raises(NoSpace):
                mount.root.begin()
        assert not session.is_based
        mount.root.begin()
        assert session.is_based


def noting(recorded: list[Operation]) -> Callable[[CollectionJournal, Operation], None]:
    record = CollectionJournal.record

    def note(self: CollectionJournal, operation: Operation) -> None:
        record(self, operation)
        recorded.append(operation)

    return note


class TestMadeElsewhere:
    """The kernel believes that there is no such file, and others have made one."""

    @pytest.fixture(autouse=True)
    def made(self, cluster, mount):
        assert errno_of(mount.lookup, "theirs") == "ENOENT"
        cluster.edit_elsewhere({"theirs": b"theirs", "directory/f": b"f"})
        mount.clock.now += REFRESH_S + 1

    @pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
    def test_file_is_opened(self, mount, flags):
        handle = open_by(mount, "theirs", flags)
        assert mount.read(handle, 0, 20) == b"theirs"
        close(mount, handle)
        assert mount.walk()["theirs"] == b"theirs"

    def test_file_is_written_to(self, mount):
        handle = open_by(mount, "theirs", os.O_RDWR)
        mount.write(handle, 0, b"OURS")
        close(mount, handle)
        assert mount.walk()["theirs"] == b"OURSrs"

    def test_file_opened_to_be_read_cannot_be_written_to(self, mount):
        handle = open_by(mount, "theirs", os.O_RDONLY)
        assert errno_of(mount.write, handle, 0, b"x") == "EBADF"
        close(mount, handle)

    def test_file_is_cut_off(self, mount):
        handle = open_by(mount, "theirs", os.O_WRONLY | os.O_TRUNC)
        mount.write(handle, 0, b"x")
        close(mount, handle)
        assert mount.walk()["theirs"] == b"x"

    def test_exclusive_is_refused(self, mount):
        assert errno_of(open_by, mount, "theirs", os.O_RDWR | os.O_EXCL) == "EEXIST"
        assert mount.walk()["theirs"] == b"theirs"

    @pytest.mark.parametrize("flags", [os.O_RDWR, os.O_RDONLY, os.O_RDWR | os.O_TRUNC])
    def test_directory_is_no_file(self, mount, flags):
        assert errno_of(open_by, mount, "directory", flags) == "EISDIR"
        assert errno_of(open_by, mount, "directory", flags | os.O_EXCL) == "EEXIST"

    def test_mknod_and_mkdir_are_refused(self, mount):
        assert errno_of(mount.mkdir, "theirs") == "EEXIST"
        with pytest.raises(llfuse.FUSEError) as refused:
            mount.operations.mknod(1, b"theirs", 0o100644, 0, CALLER)
        assert refused.value.errno == errno.EEXIST

    def test_number_is_that_of_the_file(self, mount):
        number = mount.lookup("theirs").st_ino
        handle = open_by(mount, "theirs", os.O_RDWR)
        assert mount.lookup("theirs").st_ino == number
        close(mount, handle)


class TestMeanwhile:
    """What others do wherever the lock is given up in the midst of a change."""

    @pytest.fixture(params=range(1, 4))
    def at(self, request: pytest.FixtureRequest) -> int:
        return int(request.param)

    @pytest.fixture(autouse=True)
    def known(self, mount):
        """It is known that the collection may be changed: nobody has to wait for that."""
        mount.rmdir("empty")
        mount.mkdir("empty")
        mount.commit()

    @pytest.fixture(params=[3, 100])
    def others(self, request: pytest.FixtureRequest) -> int:
        """Where the other one gives the lock back: in its midst, or at its end."""
        return int(request.param)

    @pytest.fixture(params=[False, True])
    def is_cold(self, mount, request):
        """Whether the parsed files of all directories are forgotten first."""
        return request.param

    def forget(self, mount: WritableMount, is_cold: bool) -> None:
        if is_cold:
            for thing in list(mount.inodes):
                shrink = getattr(thing, "shrink", None)
                if shrink is not None:
                    shrink()
                    thing.resized()

    @pytest.mark.parametrize("is_drafted", [False, True])
    def test_a_file_that_is_written_to_is_renamed(self, mount, at, others, is_cold, is_drafted):
        handle = mount.open("d/f")
        if is_drafted:
            mount.write(handle, 0, b"F")
        self.forget(mount, is_cold)
        mount.turns.plan(lambda: mount.rename("d/f", "new"), at, others)
        mount.write(handle, 1, b"XY")
        mount.turns.finish()
        assert mount.walk()["new"] == (b"FXY" if is_drafted else b"fXY")
        mount.release(handle)

    def test_a_file_that_is_cut_off_is_renamed(self, mount, at, others, is_cold):
        number = mount.lookup("d/f").st_ino
        self.forget(mount, is_cold)
        mount.turns.plan(lambda: mount.rename("d/f", "new"), at, others)
        mount.set_attributes(number, size=1)
        mount.turns.finish()
        assert mount.walk()["new"] == b"f"

    def test_a_file_whose_time_is_set_is_renamed(self, mount, at, others, is_cold):
        number = mount.lookup("d/f").st_ino
        self.forget(mount, is_cold)
        mount.turns.plan(lambda: mount.rename("d/f", "new"), at, others)
        mount.set_attributes(number, mtime_ns=7 * 10**9)
        mount.turns.finish()
        assert mount.lookup("new").st_mtime_ns == 7 * 10**9

    def test_a_file_that_is_opened_is_removed(self, mount, at, others, is_cold):
        number = mount.lookup("d/f").st_ino
        self.forget(mount, is_cold)
        mount.turns.plan(lambda: mount.unlink("d/f"), at, others)
        handle = mount.operations.open(number, os.O_RDWR, CALLER)
        mount.turns.finish()
        mount.operations.write(handle, 1, b"X")
        assert bytes(mount.operations.read(handle, 0, 9)) == b"fXf"
        close(mount, handle)
        assert "d/f" not in mount.walk()

    def test_a_name_that_is_looked_up_is_renamed(self, mount, at, others, is_cold):
        mount.lookup("d")
        self.forget(mount, is_cold)
        mount.turns.plan(lambda: mount.rename("d/f", "d/new"), at, others)
        error = errno_of(mount.lookup, "d/f")
        mount.turns.finish()
        assert error in ("ok", "ENOENT")
        assert mount.walk()["d/new"] == b"fff"

    def test_a_name_that_is_looked_up_is_written_to(self, mount, at, others, is_cold):
        handle = mount.open("d/f")
        self.forget(mount, is_cold)
        mount.turns.plan(lambda: mount.write(handle, 0, b"FFFF"), at, others)
        number = mount.lookup("d/f").st_ino
        mount.turns.finish()
        assert mount.lookup("d/f").st_ino == number
        assert mount.lookup("d/f").st_size == 4
        mount.release(handle)

    def test_a_directory_that_is_listed_is_changed(self, mount, at, others, is_cold):
        mount.lookup("d")
        self.forget(mount, is_cold)

        def change() -> None:
            mount.unlink("d/f")
            mount.mkdir("d/new")

        mount.turns.plan(change, at, others)
        number = mount.lookup("d").st_ino
        handle = mount.operations.opendir(number, CALLER)
        names = {name for name, _, _ in mount.operations.readdir(handle, 2)}
        mount.operations.releasedir(handle)
        mount.turns.finish()
        assert names in ({b"f", b"e"}, {b"e"}, {b"e", b"new"})

    @pytest.mark.parametrize("kind", [kind for kind in CHANGES if "TRUNC" not in kind])
    def test_the_directory_is_renamed(self, mount, at, others, kind, is_cold):
        """The change is made before or after: there is one result only, or ENOENT."""
        for path in ("d", "d/e"):
            mount.lookup(path)
        self.forget(mount, is_cold)
        answers: list[str] = []
        mount.turns.plan(lambda: answers.append(errno_of(mount.rename, "d", "z")), at, others)
        assert errno_of(CHANGES[kind], mount) in ("ok", "ENOENT")
        mount.turns.finish()
        assert answers[0] in ("ok", "ENOENT")
        assert sorted(d for d in mount.walk().values() if d) != []

    def test_the_directory_is_removed(self, mount, at, others):
        mount.lookup("empty")
        answers: list[str] = []
        mount.turns.plan(lambda: answers.append(errno_of(mount.rmdir, "empty")), at, others)
        first = errno_of(mount.mkdir, "empty/new")
        mount.turns.finish()
        assert (first, *answers) in (("ok", "ENOTEMPTY"), ("ENOENT", "ok"))
        assert ("empty/new" in mount.walk()) == (first == "ok")
