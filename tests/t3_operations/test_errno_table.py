"""Every error has one errno, whichever request meets it; a defect is EIO and is never silent."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

import pytest

from arvados_fuse import errors
from arvados_fuse.collection.tree import Segment
from arvados_fuse.errors import AccessRefused, FileSystemError, NoSuchEntry
from arvados_fuse.fusedir.directory import Directory
from arvados_fuse.fusefile import File
from tests.conftest import LogGuard
from tests.support.fakes import FakeBlock
from tests.t3_operations.conftest import Requests, errno_of

TABLE = {
    "FileSystemError": errno.EIO,
    "NoSuchEntry": errno.ENOENT,
    "NotDirectory": errno.ENOTDIR,
    "IsDirectory": errno.EISDIR,
    "Exists": errno.EEXIST,
    "NotEmpty": errno.ENOTEMPTY,
    "InvalidArgument": errno.EINVAL,
    "NameTooLong": errno.ENAMETOOLONG,
    "NameNotText": errno.EILSEQ,
    "BadHandle": errno.EBADF,
    "ReadOnly": errno.EROFS,
    "NotPermitted": errno.EPERM,
    "FileTooBig": errno.EFBIG,
    "NotSupported": errno.ENOTSUP,
    "OtherCollection": errno.EXDEV,
    "Busy": errno.EBUSY,
    "Stale": errno.ESTALE,
    "OpenAgain": errno.ESTALE,
    "AccessRefused": errno.EACCES,
    "Forbidden": errno.EACCES,
    "TimedOut": errno.ETIMEDOUT,
    "ClusterUnreachable": errno.EIO,
    "ClusterError": errno.EIO,
    "RecordError": errno.EIO,
    "ManifestError": errno.EIO,
    "BlockLost": errno.EIO,
    "BlockCorrupt": errno.EIO,
    "NoSpace": errno.ENOSPC,
    "JournalError": errno.EIO,
}
"""What a program gets for each error."""

EVERYDAY = {
    "NoSuchEntry",
    "NotDirectory",
    "IsDirectory",
    "Exists",
    "NotEmpty",
    "InvalidArgument",
    "NameTooLong",
    "NameNotText",
    "BadHandle",
    "ReadOnly",
    "NotPermitted",
    "FileTooBig",
    "NotSupported",
    "OpenAgain",
    "OtherCollection",
    "Busy",
}
"""The errors that are part of everyday use, and not worth a line in the log."""

CLASSES = {
    name: thing
    for name, thing in vars(errors).items()
    if isinstance(thing, type) and issubclass(thing, FileSystemError)
}


def test_every_error_is_in_the_table():
    missing = CLASSES.keys() - TABLE.keys()
    assert not missing, f"write {missing} with its errno into TABLE (and into docs/semantics.md)"
    assert not TABLE.keys() - CLASSES.keys(), "the table has errors that exist no more"
    assert set(errors.__all__) == CLASSES.keys()


@pytest.mark.parametrize("name", TABLE)
def test_error_says_its_errno_and_whether_it_is_expected(name):
    assert CLASSES[name].errno == TABLE[name]
    assert CLASSES[name].expected == (name in EVERYDAY)
    assert CLASSES[name].__doc__


class BrokenDirectory(Directory):
    """A directory that fails at whatever is asked of it."""

    __slots__ = ("error",)

    def listing(self):
        raise self.error

    def child(self, name):
        raise self.error

    def fetch(self):
        raise self.error


class BrokenFile(File):
    """A file that cannot be opened, or, if it has segments, not be read."""

    __slots__ = ("error", "segments")

    transient = True
    name = "broken"
    size = 10
    mtime_ns = 0

    def content(self) -> Sequence[Segment]:
        if not self.segments:
            raise self.error
        return self.segments


class Broken:
    """A mount on which everything fails with one error."""

    def __init__(self, requests: Requests, error: Exception) -> None:
        self.requests = requests
        mount = requests.mount
        self.directory = BrokenDirectory(mount.around, None, "", "")
        self.directory.error = error
        self.directory.plant()
        self.file = self.add_file(error, ())
        locator = mount.blocks.add(b"0123456789")
        mount.blocks.blocks[locator[:32]] = FakeBlock(error)
        self.readable = self.add_file(error, [Segment(locator, 0, 10)])
        self.handle = requests.open(self.readable.inode)

    def add_file(self, error: Exception, segments: Sequence[Segment]) -> BrokenFile:
        file = BrokenFile(self.directory)
        file.error, file.segments = error, segments
        file.kernel_refs = 1
        self.requests.mount.inodes.add(file)
        return file

    def request(self, operation: str) -> Callable[[], object]:
        requests, directory, file = self.requests, self.directory.inode, self.file.inode
        return {
            "lookup": lambda: requests.lookup(b"name", directory),
            "getattr": lambda: requests.getattr(directory),
            "opendir": lambda: requests.opendir(directory),
            "open": lambda: requests.open(file),
            "read": lambda: requests.operations.read(self.handle, 0, 5),
        }[operation]


PATHS = {
    "lookup": "/name",
    "getattr": "/",
    "opendir": "/",
    "open": "/broken",
    "read": "/broken",
}
"""The requests that can fail below the adapter, and the path that the log line names."""


@pytest.mark.parametrize("operation", PATHS)
@pytest.mark.parametrize("name", TABLE)
def test_errno_is_that_of_the_error_through_every_request(
    requests: Requests, log_guard: LogGuard, operation, name
):
    broken = Broken(requests, CLASSES[name]("a sentence that says why"))
    assert errno_of(broken.request(operation)) == TABLE[name]
    lines = log_guard.take("")
    if name in EVERYDAY:
        assert not lines
    else:
        (line,) = lines
        assert line.levelname == "ERROR"
        assert line.exc_info is None, "a traceback is for defects of ours"
        assert line.getMessage().endswith(f" {PATHS[operation]}: a sentence that says why")
    assert requests.metrics.unhandled_errors == 0


@pytest.mark.parametrize("operation", PATHS)
@pytest.mark.parametrize("error", [ZeroDivisionError("x"), KeyError("uuid"), OSError(28, "full")])
def test_a_defect_is_eio_and_one_line_with_a_traceback_and_a_count(
    requests: Requests, log_guard: LogGuard, operation, error
):
    broken = Broken(requests, error)
    for count in (1, 2):
        assert errno_of(broken.request(operation)) == errno.EIO
        (line,) = log_guard.take("")
        assert line.getMessage().startswith("Unhandled exception during FUSE operation")
        assert line.getMessage().endswith(f" {PATHS[operation]}")
        assert line.exc_info is not None
        assert line.exc_info[1] is error
        assert requests.metrics.unhandled_errors == count


def test_a_failed_open_pins_nothing(requests: Requests):
    broken = Broken(requests, NoSuchEntry("gone"))
    errno_of(broken.request("open"))
    assert broken.file.uses == 0


@pytest.mark.expects_log("expired")
def test_a_refused_read_lets_the_next_open_ask_for_new_signatures(requests: Requests):
    requests.show({"a": b"alpha"})
    inode = requests.lookup(b"a").st_ino
    handle = requests.open(inode)
    (block,) = requests.mount.blocks.blocks
    resident = requests.mount.blocks.blocks[block]
    requests.mount.blocks.blocks[block] = FakeBlock(AccessRefused("the signature has expired"))
    assert errno_of(lambda: requests.operations.read(handle, 0, 5)) == errno.EACCES
    requests.mount.blocks.blocks[block] = resident
    requests.mount.cluster.asked.clear()
    again = requests.open(inode)  # the kernel still trusts the name: there is no lookup
    assert requests.mount.cluster.asked == ["collection zzzzz-4zz18-000000000000001"]
    assert bytes(requests.operations.read(again, 0, 5)) == b"alpha"


class TestKindsOfObjects:
    def test_directory_is_no_file(self, requests):
        requests.show({"d/a": b"x"})
        inode = requests.lookup(b"d").st_ino
        assert errno_of(lambda: requests.open(inode)) == errno.EISDIR

    def test_file_is_no_directory(self, requests):
        requests.show({"a": b"x"})
        inode = requests.lookup(b"a").st_ino
        assert errno_of(lambda: requests.opendir(inode)) == errno.ENOTDIR
        assert errno_of(lambda: requests.lookup(b"x", inode)) == errno.ENOTDIR

    def test_what_is_not_open_is_a_bad_handle(self, requests):
        requests.show({"a": b"x"})
        assert errno_of(lambda: requests.operations.read(77, 0, 1)) == errno.EBADF
        assert errno_of(lambda: requests.readdir(77)) == errno.EBADF

    def test_file_handles_are_no_directory_handles(self, requests):
        requests.show({"a": b"x"})
        file = requests.open(requests.lookup(b"a").st_ino)
        directory = requests.opendir()
        assert errno_of(lambda: requests.readdir(file)) == errno.EBADF
        assert errno_of(lambda: requests.operations.read(directory, 0, 1)) == errno.EBADF

    @pytest.mark.expects_log("Inode 77 is no longer known; open the path again")
    @pytest.mark.parametrize("operation", ["lookup", "getattr", "open", "opendir"])
    def test_unknown_inode_is_stale(self, requests, operation):
        requests.show({})
        request = {
            "lookup": lambda: requests.lookup(b"x", 77),
            "getattr": lambda: requests.getattr(77),
            "open": lambda: requests.open(77),
            "opendir": lambda: requests.opendir(77),
        }[operation]
        assert errno_of(request) == errno.ESTALE
