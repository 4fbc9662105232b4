"""The adapter over a file system on fakes: requests as llfuse sends them, without a mount."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import llfuse
import pytest

from arvados_fuse.fusedir.collection import CollectionDirectory
from arvados_fuse.metrics import Metrics
from arvados_fuse.operations import Operations
from tests.support import invariants
from tests.support.fakes import FakeMount, manifest_of

COLLECTION = "zzzzz-4zz18-000000000000001"
ROOT = llfuse.ROOT_INODE


class Requests:
    """Sends requests to the adapter as llfuse does."""

    def __init__(self, mount: FakeMount, *, writable: bool = False) -> None:
        self.mount = mount
        self.metrics = Metrics()
        self.context = llfuse.RequestContext()
        self.operations = Operations(
            inodes=mount.inodes,
            blocks=mount.blocks,
            kernel=mount.kernel,
            unlocked=mount.unlocked,
            clock=mount.trust.now,
            metrics=self.metrics,
            writable=writable,
        )

    def show(self, files: dict[str, bytes]) -> CollectionDirectory:
        """Make a collection of these files the root of the mount."""
        self.mount.cluster.add_collection(COLLECTION, "run 42", manifest_of(files))
        for content in files.values():
            self.mount.blocks.add(content)
        root = CollectionDirectory(self.mount.around, None, COLLECTION, "")
        root.plant()
        return root

    def change(self, files: dict[str, bytes]) -> None:
        """Let the cluster have another version, and time pass until it is asked for."""
        self.mount.cluster.set_manifest(COLLECTION, manifest_of(files))
        for content in files.values():
            self.mount.blocks.add(content)
        self.mount.clock.now += 16

    def lookup(self, name: bytes, parent: int = ROOT) -> llfuse.EntryAttributes:
        return self.operations.lookup(parent, name, self.context)

    def getattr(self, inode: int) -> llfuse.EntryAttributes:
        return self.operations.getattr(inode, self.context)

    def open(self, inode: int, flags: int = 0) -> int:
        return self.operations.open(inode, flags, self.context)

    def opendir(self, inode: int = ROOT) -> int:
        return self.operations.opendir(inode, self.context)

    def readdir(
        self, handle: int, offset: int = 0, at_most: int = 1 << 60
    ) -> list[tuple[bytes, int, int, int]]:
        """Up to so many entries as (name, inode, mode, offset of the next)."""
        entries = []
        for name, attributes, following in self.operations.readdir(handle, offset):
            if len(entries) == at_most:
                break
            # At once: the attributes are one object, used again for each entry.
            entries.append((name, attributes.st_ino, attributes.st_mode, following))
        return entries

    def list(self, inode: int = ROOT) -> dict[bytes, int]:
        """Open, read and close a directory: all names with their inode numbers."""
        handle = self.opendir(inode)
        entries = self.readdir(handle)
        self.operations.releasedir(handle)
        return {name: number for name, number, _, _ in entries}


def errno_of(request: Callable[[], object]) -> int:
    """Send a request that must fail, and return the errno that the program gets."""
    with pytest.raises(llfuse.FUSEError) as caught:
        request()
    errno: int = caught.value.errno
    return errno


@pytest.fixture
def make_requests() -> Iterator[Callable[..., Requests]]:
    """Make adapters over mounts of these settings; each table is checked at the end."""
    made: list[Requests] = []

    def make(**settings: float) -> Requests:
        made.append(Requests(FakeMount(**settings)))
        return made[-1]

    yield make
    for requests in made:
        invariants.check(requests.mount)
        invariants.check_nothing_leaked(requests.mount)


@pytest.fixture
def requests(make_requests: Callable[..., Requests]) -> Requests:
    return make_requests()
