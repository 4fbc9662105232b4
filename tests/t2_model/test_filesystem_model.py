"""The file system against a reference model: a dictionary of paths, and a rule for what is shown.

A state machine plays the kernel (lookups, listings, open handles, forgets), other clients (edits of
the collection) and the clock, in any order. The rule: an access that comes when the refresh time is
over shows the content of now; an earlier one may go on showing what was shown before; a handle
reads what was shown when its file was looked up, for ever.
"""

from __future__ import annotations

import stat

import llfuse
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from arvados_fuse.fusedir.collection import CollectionDirectory
from arvados_fuse.metrics import Metrics
from arvados_fuse.operations import Operations
from tests.support.fakes import FakeMount, manifest_of
from tests.support.invariants import check

UUID = "zzzzz-4zz18-000000000000001"
REFRESH_S = 15.0

# Few names, so that files and directories of one name come and go in each other's place.
paths = st.sampled_from(["a", "b", "d/a", "d/b", "d/e/a", "e", "e2/a", "x y/\u00e9"])
contents = st.binary(max_size=40)


def without_conflicts(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out files whose name is a directory of another."""
    directories = {path[:end] for path in files for end, c in enumerate(path) if c == "/"}
    return {path: content for path, content in files.items() if path not in directories}


class FileSystem(RuleBasedStateMachine):
    """The machine. `truth` is the cluster's content, `shown` what the mount must show."""

    directory_cache = 1 << 30

    handles = Bundle("handles")
    inodes = Bundle("inodes")

    def __init__(self) -> None:
        super().__init__()
        self.mount = FakeMount(directory_cache=self.directory_cache, refresh_time_s=REFRESH_S)
        self.mount.cluster.add_collection(UUID, "model", "")
        self.truth: dict[str, bytes] = {}
        self.shown: dict[str, bytes] = {}
        self.trusted_until = 0.0
        root = CollectionDirectory(self.mount.around, None, UUID, "")
        root.plant()
        self.operations = Operations(
            inodes=self.mount.inodes,
            blocks=self.mount.blocks,
            kernel=self.mount.kernel,
            unlocked=self.mount.unlocked,
            clock=self.mount.trust.now,
            metrics=Metrics(),
        )

    # -- other clients and time

    @rule(changes=st.dictionaries(paths, st.none() | contents, max_size=4))
    def edit(self, changes: dict[str, bytes | None]) -> None:
        files = {**self.truth, **changes}
        self.truth = without_conflicts({p: c for p, c in files.items() if c is not None})
        for content in self.truth.values():
            self.mount.blocks.add(content)
        self.mount.cluster.set_manifest(UUID, manifest_of(self.truth))

    @rule(seconds=st.sampled_from([1.0, 14.0, 16.0, 700_000.0]))
    def wait(self, seconds: float) -> None:
        self.mount.clock.now += seconds

    # -- the kernel

    def access(self, request):
        """Do a request that looks at a directory; find out which version it had to show."""
        self.mount.cluster.asked.clear()
        try:
            return request()
        finally:
            now = self.mount.clock.now
            if self.mount.cluster.asked:
                self.shown = dict(self.truth)
                self.trusted_until = now + REFRESH_S
            assert now < self.trusted_until

    def lookup(self, path: str) -> llfuse.EntryAttributes | None:
        """Walk to a path as the kernel does; None if a part is not there."""
        inode = 1
        attributes = None
        for name in path.split("/"):
            try:
                attributes = self.access(
                    lambda inode=inode, name=name: self.operations.lookup(
                        inode, name.encode(), None
                    )
                )
            except llfuse.FUSEError:
                return None
            if attributes.st_ino == 0:
                return None
            inode = attributes.st_ino
        return attributes

    @rule(target=inodes, path=paths)
    def look(self, path: str) -> int:
        attributes = self.lookup(path)
        assert (attributes is not None) == (path in self.shown or self.is_directory(path))
        if attributes is None:
            return 0
        if path in self.shown:
            assert attributes.st_size == len(self.shown[path])
        assert stat.S_ISDIR(attributes.st_mode) == self.is_directory(path)
        return attributes.st_ino

    def is_directory(self, path: str) -> bool:
        return any(p.startswith(path + "/") for p in self.shown)

    @rule()
    def walk(self) -> None:
        """List everything; names, kinds and numbers are those of the version shown."""
        found = self.list_below(1, "")
        assert sorted(found) == sorted(self.shown)

    def list_below(self, inode: int, prefix: str) -> list[str]:
        handle = self.access(lambda: self.operations.opendir(inode, None))
        entries = [(n, e.st_mode, e.st_ino) for n, e, _ in self.operations.readdir(handle, 2)]
        found = []
        for name, mode, number in entries:
            path = prefix + name.decode()
            attributes = self.operations.lookup(inode, name, None)
            assert attributes.st_ino == number
            if stat.S_ISDIR(mode):
                found += self.list_below(number, path + "/")
            else:
                found.append(path)
        self.operations.releasedir(handle)
        return found

    @rule(target=handles, path=paths)
    def open(self, path: str) -> tuple[int, bytes] | None:
        attributes = self.lookup(path)
        if attributes is None or stat.S_ISDIR(attributes.st_mode):
            return None
        return self.operations.open(attributes.st_ino, 0, None), self.shown[path]

    @rule(handle=handles, offset=st.integers(0, 50), size=st.integers(1, 50))
    def read(self, handle: tuple[int, bytes] | None, offset: int, size: int) -> None:
        if handle is not None:
            number, content = handle
            assert bytes(self.operations.read(number, offset, size)) == content[offset:][:size]

    @rule(handle=consumes(handles))
    def close(self, handle: tuple[int, bytes] | None) -> None:
        if handle is not None:
            self.operations.release(handle[0])

    @rule(inode=consumes(inodes))
    def forget(self, inode: int) -> None:
        if inode:
            self.operations.forget([(inode, 1)])

    @invariant()
    def books_balance(self) -> None:
        check(self.mount)


class FileSystemShortOfMemory(FileSystem):
    """The same with a cache that holds nothing that is not in use."""

    directory_cache = 1


@pytest.mark.parametrize("machine", [FileSystem, FileSystemShortOfMemory])
def test_file_system_agrees_with_the_model(machine: type[FileSystem]) -> None:
    """Run the machine; hypothesis prints the steps that lead to a difference."""
    from hypothesis import settings
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )
