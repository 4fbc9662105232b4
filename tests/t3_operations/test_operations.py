"""Requests and answers: references, lifetimes, listings, attributes, and no changes."""

from __future__ import annotations

import errno
import os
import stat

import llfuse
import pytest

from arvados_fuse.attributes import MAX_LIFETIME_S
from arvados_fuse.errors import TimedOut
from arvados_fuse.fusedir.collection import CollectionDirectory
from arvados_fuse.fusedir.magic import FixedDirectory, MagicDirectory
from arvados_fuse.fusedir.project import HomeDirectory
from arvados_fuse.operations import Operations
from tests.support.fakes import HOME, MODIFIED_NS
from tests.support.invariants import objects
from tests.t3_operations.conftest import COLLECTION, ROOT, Requests, errno_of

FILES = {"a.txt": b"alpha", "b.txt": b"bravo!", "sub/c.txt": b"charlie"}


class TestReferences:
    def test_each_lookup_counts_and_forget_takes_back(self, requests):
        requests.show(FILES)
        inode = requests.lookup(b"a.txt").st_ino
        assert requests.lookup(b"a.txt").st_ino == inode
        file = requests.mount.inodes.find(inode)
        assert file.kernel_refs == 2
        requests.operations.forget([(inode, 1)])
        assert requests.mount.inodes.find(inode) is file
        requests.operations.forget([(inode, 1)])
        assert requests.mount.inodes.find(inode) is None

    def test_forgets_come_in_batches_and_may_name_what_is_gone(self, requests):
        requests.show(FILES)
        first, second = (requests.lookup(name).st_ino for name in (b"a.txt", b"b.txt"))
        requests.operations.forget([(first, 1), (999, 3), (second, 1)])
        assert [t.inode for t in objects(requests.mount)] == [ROOT]

    def test_open_file_outlives_its_last_reference(self, requests):
        requests.show(FILES)
        inode = requests.lookup(b"a.txt").st_ino
        handle = requests.open(inode)
        requests.operations.forget([(inode, 1)])
        assert bytes(requests.operations.read(handle, 1, 3)) == b"lph"
        requests.operations.release(handle)
        assert requests.mount.inodes.find(inode) is None

    def test_each_open_is_a_handle_of_its_own(self, requests):
        requests.show(FILES)
        inode = requests.lookup(b"a.txt").st_ino
        first, second = requests.open(inode), requests.open(inode)
        assert first != second
        requests.operations.release(first)
        assert bytes(requests.operations.read(second, 0, 10)) == b"alpha"
        assert errno_of(lambda: requests.operations.read(first, 0, 10)) == errno.EBADF

    def test_closing_twice_does_no_harm(self, requests):
        requests.show(FILES)
        handle = requests.open(requests.lookup(b"a.txt").st_ino)
        for _ in range(2):
            requests.operations.release(handle)
        directory = requests.opendir()
        for _ in range(2):
            requests.operations.releasedir(directory)
        assert all(thing.uses == 0 for thing in objects(requests.mount))

    def test_open_directory_is_in_use(self, requests):
        root = requests.show(FILES)
        handle = requests.opendir()
        assert root.uses == 1
        requests.operations.releasedir(handle)
        assert root.uses == 0

    def test_dot_and_dot_dot_are_references_too(self, requests):
        requests.show(FILES)
        inode = requests.lookup(b"sub").st_ino
        assert requests.lookup(b".", inode).st_ino == inode
        assert requests.lookup(b"..", inode).st_ino == ROOT
        assert requests.lookup(b"..", ROOT).st_ino == ROOT
        assert requests.mount.inodes.find(inode).kernel_refs == 2
        assert requests.mount.inodes.find(ROOT).kernel_refs == 2

    @pytest.mark.expects_log("Unhandled exception")
    def test_failed_lookup_is_no_reference(self, requests, monkeypatch):
        requests.show(FILES)
        directory = requests.mount.inodes.find(requests.lookup(b"sub").st_ino)
        failing = property(lambda self: 1 // 0)
        monkeypatch.setattr(CollectionDirectory, "content_ns", failing)
        assert errno_of(lambda: requests.lookup(b"sub")) == errno.EIO
        assert directory.kernel_refs == 1

    def test_what_is_used_stays_in_memory_longest(self, make_requests):
        """Looking into a directory is a use, not only loading it."""
        files = {f"d{n}/f{m}": b"x" for n in range(3) for m in range(100)}
        requests = make_requests()
        root = requests.show(files)
        first, second, third = (requests.lookup(f"d{n}".encode()).st_ino for n in range(3))
        requests.list(first)
        requests.list(second)
        requests.lookup(b"nothing", first)
        cache = requests.mount.inodes.cache
        cache.limit = cache.total + 1000  # too little for a third directory
        requests.list(third)
        loaded = {name for name, node in root.node.subdirectories.items() if node.loaded}
        assert loaded == {"d0", "d2"}


class TestMissingNames:
    def test_kernel_may_remember_them_as_long_as_the_collection_is_trusted(self, requests):
        requests.show(FILES)
        missing = requests.lookup(b"nothing")
        assert (missing.st_ino, missing.entry_timeout) == (0, 15)
        requests.mount.clock.now += 10
        assert requests.lookup(b"nothing").entry_timeout == 5

    def test_they_are_plainly_not_there_where_nothing_may_be_remembered(self, requests):
        MagicDirectory(requests.mount.around, None, "").plant()
        assert errno_of(lambda: requests.lookup(b"nothing")) == errno.ENOENT
        assert errno_of(lambda: requests.lookup(COLLECTION.encode())) == errno.ENOENT

    def test_where_nothing_ever_changes_they_are_remembered_for_the_longest_time(self, requests):
        FixedDirectory(requests.mount.around, None, "").plant()
        assert requests.lookup(b"nothing").entry_timeout == MAX_LIFETIME_S

    def test_they_make_no_objects(self, requests):
        requests.show(FILES)
        for n in range(10):
            requests.lookup(b"nothing %d" % n)
        assert len(requests.mount.inodes) == 1


class TestNames:
    @pytest.mark.parametrize("name", ["größe.txt", "日本語", "a b", "x" * 255, "new\nline", "\\"])
    def test_names_are_utf_8(self, requests, name):
        requests.show({"a": b"12345"})
        requests.change({"a": b"12345"})
        manifest = f". 827ccb0eea8a706c4c34a16891f84e7b+5 0:5:{escaped(name)}\n"
        requests.mount.cluster.set_manifest(COLLECTION, manifest)
        requests.mount.blocks.add(b"12345")
        assert name.encode() in requests.list()
        assert requests.lookup(name.encode()).st_size == 5

    @pytest.mark.parametrize("name", [b"\xff", b"a\xc3", b"\xed\xa0\x80"])
    def test_bytes_that_are_no_utf_8_are_not_there(self, requests, name):
        requests.show(FILES)
        assert requests.lookup(name).st_ino == 0

    def test_a_project_that_utf_8_cannot_say_is_listed_and_found_under_another_name(self, requests):
        """A record is JSON, and JSON can say half a character."""
        requests.mount.cluster.add_project("zzzzz-j7d0g-000000000000001", "half\ud800")
        HomeDirectory(requests.mount.around, None, HOME, "").plant()
        listed = requests.list()
        assert requests.lookup(b"half_").st_ino == listed[b"half_"]

    def test_file_names_that_are_no_utf_8_are_those_bytes(self, requests):
        requests.show(FILES)
        manifest = ". 827ccb0eea8a706c4c34a16891f84e7b+5 0:5:odd\\377 0:5:even\n"
        pdh = requests.mount.cluster.items[COLLECTION].portable_data_hash
        requests.mount.cluster.manifests[pdh] = manifest
        listed = requests.list()
        for name, number in listed.items():
            assert requests.lookup(name).st_ino == number
        assert {b"odd\xff", b"even"} <= listed.keys()

    @pytest.mark.expects_log(r"/\\xff\\xfe: too slow")
    def test_bytes_that_are_no_utf_8_are_escaped_in_the_log(self, requests):
        requests.show(FILES)
        requests.mount.cluster.failure = TimedOut("too slow")
        assert errno_of(lambda: requests.lookup(b"\xff\xfe")) == errno.ETIMEDOUT


def escaped(name: str) -> str:
    return "".join(f"\\{ord(c):03o}" if c in " \n\\" else c for c in name)


class TestListing:
    def entries(self, requests) -> list[tuple[bytes, int, int, int]]:
        return requests.readdir(requests.opendir())

    def test_dot_dot_dot_directories_files(self, requests):
        requests.show(FILES)
        assert [name for name, *_ in self.entries(requests)] == [
            b".",
            b"..",
            b"sub",
            b"a.txt",
            b"b.txt",
        ]

    def test_says_which_are_directories(self, requests):
        requests.show(FILES)
        kinds = [stat.S_ISDIR(mode) for _, _, mode, _ in self.entries(requests)]
        assert kinds == [True, True, True, False, False]

    def test_offsets_count_the_entries(self, requests):
        requests.show(FILES)
        assert [following for *_, following in self.entries(requests)] == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize("offset", range(8))
    def test_goes_on_at_any_offset_as_often_as_asked(self, requests, offset):
        requests.show(FILES)
        handle = requests.opendir()
        everything = requests.readdir(handle)
        for _ in range(2):
            assert requests.readdir(handle, offset) == everything[offset:]

    def test_can_be_read_in_pieces_and_from_the_start_again(self, requests):
        requests.show({f"d{n}/x": b"" for n in range(10)} | {f"f{n}": b"" for n in range(10)})
        handle = requests.opendir()
        everything = requests.readdir(handle)
        found, offset = [], 0
        while piece := requests.readdir(handle, offset, at_most=3):
            found += piece
            offset = piece[-1][3]
        assert found == everything
        assert requests.readdir(handle, 0, at_most=3) == everything[:3]

    def test_numbers_are_those_of_lookup(self, requests):
        requests.show(FILES)
        listed = requests.list()
        for name in (b"a.txt", b"b.txt", b"sub"):
            assert requests.lookup(name).st_ino == listed[name]
        inside = requests.list(listed[b"sub"])
        assert (inside[b"."], inside[b".."]) == (listed[b"sub"], ROOT)
        assert (listed[b"."], listed[b".."]) == (ROOT, ROOT)

    def test_stays_as_it_was_opened(self, requests):
        requests.show(FILES)
        handle = requests.opendir()
        before = requests.readdir(handle)
        requests.change({"z.txt": b"z"})
        assert set(requests.list()) == {b".", b"..", b"z.txt"}
        assert requests.readdir(handle, 3) == before[3:]

    def test_that_is_rewound_is_what_it_is_then(self, requests):
        requests.show(FILES)
        handle = requests.opendir()
        requests.readdir(handle)
        requests.change({"z.txt": b"z"})
        assert [name for name, *_ in requests.readdir(handle)] == [b".", b"..", b"z.txt"]

    def test_empty_directory_has_itself_and_its_parent(self, requests):
        requests.show({})
        assert [name for name, *_ in self.entries(requests)] == [b".", b".."]

    def test_makes_no_objects_and_no_references(self, requests):
        requests.show(FILES)
        requests.list()
        assert [thing.inode for thing in objects(requests.mount)] == [ROOT]


class TestAttributes:
    def test_of_a_file(self, requests):
        requests.show({"a.txt": b"x" * 513})
        found = requests.lookup(b"a.txt")
        assert stat.filemode(found.st_mode) == "-r-xr-xr-x"
        assert (found.st_size, found.st_blocks, found.st_nlink) == (513, 2, 1)
        assert (found.st_uid, found.st_gid) == (os.getuid(), os.getgid())

    def test_of_a_directory(self, requests):
        requests.show(FILES)
        assert stat.filemode(requests.lookup(b"sub").st_mode) == "dr-xr-xr-x"
        assert stat.filemode(requests.getattr(ROOT).st_mode) == "dr-xr-xr-x"

    def test_of_a_text(self, requests):
        root = FixedDirectory(requests.mount.around, None, "")
        root.plant()
        root.put_text("README", "größe")
        found = requests.lookup(b"README")
        assert stat.filemode(found.st_mode) == "-r--r--r--"
        assert found.st_size == len("größe".encode())

    def test_times_are_those_of_the_collection_to_the_nanosecond(self, requests):
        requests.show(FILES)
        for name in (b"a.txt", b"sub"):
            found = requests.lookup(name)
            assert found.st_mtime_ns == found.st_ctime_ns == found.st_atime_ns == MODIFIED_NS

    def test_getattr_says_the_same_as_lookup(self, requests):
        requests.show(FILES)
        for name in (b"a.txt", b"sub"):
            found = requests.lookup(name)
            again = requests.getattr(found.st_ino)
            for field in ("st_ino", "st_mode", "st_size", "st_blocks", "st_mtime_ns", "st_blksize"):
                assert getattr(again, field) == getattr(found, field)

    def test_each_answer_is_an_object_of_its_own(self, requests):
        """llfuse reads them after the lock is released."""
        requests.show(FILES)
        assert requests.lookup(b"a.txt") is not requests.lookup(b"a.txt")
        assert requests.getattr(ROOT) is not requests.getattr(ROOT)

    def test_file_that_was_opened_before_a_change_keeps_its_size(self, requests):
        requests.show(FILES)
        old = requests.lookup(b"a.txt").st_ino
        requests.change({"a.txt": b"something longer"})
        new = requests.lookup(b"a.txt").st_ino
        assert old != new
        assert [requests.getattr(n).st_size for n in (old, new)] == [5, 16]


class TestLifetimes:
    def test_are_what_is_left_of_the_trust(self, requests):
        requests.show(FILES)
        for name in (b"a.txt", b"sub"):
            found = requests.lookup(name)
            assert (found.entry_timeout, found.attr_timeout) == (15, 15)
        requests.mount.clock.now += 12
        assert requests.lookup(b"a.txt").attr_timeout == 3
        requests.mount.clock.now += 12
        assert requests.getattr(found.st_ino).attr_timeout == 0

    def test_of_the_root_begins_anew_when_it_is_looked_at(self, requests):
        """Nobody looks the root up, so it is asked for when its attributes are."""
        requests.show(FILES)
        requests.lookup(b"a.txt")
        requests.mount.clock.now += 16
        item = requests.mount.cluster.items[COLLECTION]
        requests.mount.cluster.items[COLLECTION] = item._replace(modified_ns=10**18)
        attributes = requests.getattr(ROOT)
        assert attributes.st_mtime_ns == 10**18
        assert attributes.attr_timeout == 15

    def test_of_what_never_changes_are_the_longest(self, requests):
        root = FixedDirectory(requests.mount.around, None, "")
        root.plant()
        root.put_text("README", "x")
        assert requests.lookup(b"README").entry_timeout == MAX_LIFETIME_S

    def test_without_any_trust_are_zero(self, make_requests):
        requests = make_requests(refresh_time_s=0)
        requests.show(FILES)
        found = requests.lookup(b"a.txt")
        assert (found.entry_timeout, found.attr_timeout) == (0, 0)
        assert errno_of(lambda: requests.lookup(b"nothing")) == errno.ENOENT


class TestReading:
    def test_bytes_are_counted(self, requests):
        requests.show(FILES)
        handle = requests.open(requests.lookup(b"b.txt").st_ino)
        assert bytes(requests.operations.read(handle, 0, 4)) == b"brav"
        assert bytes(requests.operations.read(handle, 4, 100)) == b"o!"
        assert bytes(requests.operations.read(handle, 6, 100)) == b""
        assert requests.metrics.read_bytes == 6

    def test_handle_reads_the_version_that_was_opened(self, requests):
        requests.show(FILES)
        handle = requests.open(requests.lookup(b"a.txt").st_ino)
        requests.change({"a.txt": b"something else"})
        again = requests.open(requests.lookup(b"a.txt").st_ino)
        assert bytes(requests.operations.read(handle, 0, 100)) == b"alpha"
        assert bytes(requests.operations.read(again, 0, 100)) == b"something else"

    def test_flush_and_fsync_succeed(self, requests):
        requests.show(FILES)
        handle = requests.open(requests.lookup(b"a.txt").st_ino)
        requests.operations.flush(handle)
        requests.operations.fsync(handle, True)
        requests.operations.fsyncdir(requests.opendir(), False)


CHANGES = {
    "create": (ROOT, b"x", 0o644, 0, None),
    "link": (ROOT, ROOT, b"x", None),
    "mkdir": (ROOT, b"x", 0o755, None),
    "mknod": (ROOT, b"x", 0o644, 0, None),
    "removexattr": (ROOT, b"user.x", None),
    "rename": (ROOT, b"a.txt", ROOT, b"x", None),
    "rmdir": (ROOT, b"sub", None),
    "setattr": (ROOT, llfuse.EntryAttributes(), None, None, None),
    "setxattr": (ROOT, b"user.x", b"y", None),
    "symlink": (ROOT, b"x", b"y", None),
    "unlink": (ROOT, b"a.txt", None),
    "write": (1, 0, b"x"),
}
NOT_THERE_AT_ALL = {"getxattr", "listxattr", "readlink"}
ABOUT_THE_MOUNT = {"init", "destroy", "stacktrace"}


class TestChanges:
    @pytest.mark.parametrize("operation", CHANGES)
    def test_every_change_is_refused(self, requests, operation):
        requests.show(FILES)
        request = getattr(requests.operations, operation)
        assert errno_of(lambda: request(*CHANGES[operation])) == errno.EROFS

    @pytest.mark.parametrize(
        ("operation", "expected"),
        [
            ("link", errno.EPERM),
            ("symlink", errno.EPERM),
            ("setxattr", errno.ENOTSUP),
            ("removexattr", errno.ENOTSUP),
        ],
    )
    def test_what_manifests_have_no_place_for_is_refused_also_where_all_else_can_be_changed(
        self, requests, operation, expected
    ):
        requests.show(FILES)
        request = getattr(Requests(requests.mount, writable=True).operations, operation)
        assert errno_of(lambda: request(*CHANGES[operation])) == expected

    @pytest.mark.parametrize(
        "flags", [os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND]
    )
    def test_opening_for_a_change_is_refused(self, requests, flags):
        requests.show(FILES)
        inode = requests.lookup(b"a.txt").st_ino
        assert errno_of(lambda: requests.open(inode, flags)) == errno.EROFS
        assert requests.mount.inodes.find(inode).uses == 0

    def test_every_request_of_llfuse_has_its_answer(self):
        """A request that a new llfuse adds must be thought about."""
        known = {name for name in dir(llfuse.Operations) if not name.startswith("_")}
        ours = {name for name in known if name in vars(Operations)}
        assert known - ours == NOT_THERE_AT_ALL | ABOUT_THE_MOUNT
        assert ours >= CHANGES.keys()

    @pytest.mark.parametrize(
        ("operation", "arguments"),
        [
            ("getxattr", (ROOT, b"user.x", None)),
            ("listxattr", (ROOT, None)),
            ("readlink", (ROOT, None)),
        ],
    )
    def test_what_is_not_there_at_all_is_not_asked_again(self, requests, operation, arguments):
        requests.show(FILES)
        assert errno_of(lambda: getattr(requests.operations, operation)(*arguments)) == errno.ENOSYS


class TestTheMount:
    def test_statfs_tells_no_sizes_where_nothing_can_be_written(self, requests):
        requests.show(FILES)
        found = requests.operations.statfs(requests.context)
        assert (found.f_bsize, found.f_blocks, found.f_bfree, found.f_bavail) == (131072, 0, 0, 0)
        assert (found.f_ffree, found.f_namemax) == (0, 255)

    def test_statfs_tells_of_free_space_where_something_can(self, requests):
        found = Requests(requests.mount, writable=True).operations.statfs(requests.context)
        assert found.f_blocks == found.f_bfree == found.f_bavail
        assert found.f_bavail * found.f_frsize == 128 << 40
        assert found.f_ffree == found.f_favail == found.f_files - len(requests.mount.inodes)

    def test_statfs_has_numbers_that_programs_of_32_bits_can_take(self, requests):
        found = Requests(requests.mount, writable=True).operations.statfs(requests.context)
        assert max(found.f_blocks, found.f_files) < 1 << 31

    def test_access_is_the_kernels_business(self, requests):
        requests.show(FILES)
        assert requests.operations.access(ROOT, os.R_OK, requests.context)
