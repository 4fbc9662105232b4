"""System calls that FUSE, as llfuse speaks it, does not know: programs do without, or are told."""

import ctypes
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import sys

import arvados.collection
import pytest

from tests.support.patience import wait_until
from tests.support.workplace import errno_of, new_collection, saved

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, NOREPLACE, EXCHANGE = -100, 1, 2
IN_MODIFY, IN_CREATE = 2, 0x100
GETFLAGS = 0x80086601
"""What lsattr asks, by linux/fs.h."""


@pytest.fixture
def root(cluster, mount):
    directory = mount("--read-write", "--collection", new_collection(cluster.api())).directory
    for name in "ab":
        (directory / name).write_text(name)
    return directory


def renameat2(old, new, flags):
    ctypes.set_errno(0)
    LIBC.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)
    return errno.errorcode.get(ctypes.get_errno(), "ok")


def test_renameat2_without_replacement_and_exchange(root):
    assert renameat2(root / "a", root / "b", NOREPLACE) == "EEXIST"
    assert renameat2(root / "a", root / "new", NOREPLACE) == "EINVAL"
    assert renameat2(root / "a", root / "b", EXCHANGE) == "EINVAL"
    assert ((root / "a").read_text(), (root / "b").read_text()) == ("a", "b")


def test_space_is_reserved_by_writing_zeros(root):
    with (root / "a").open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 5000)
        assert file.read() == b"a" + bytes(4999)
        ctypes.set_errno(0)
        assert LIBC.fallocate(file.fileno(), 0, ctypes.c_long(0), ctypes.c_long(9000)) == -1
        assert ctypes.get_errno() == errno.ENOTSUP


def test_files_without_a_name(root):
    assert errno_of(os.open, root, os.O_TMPFILE | os.O_RDWR) == "ENOTSUP"


def test_who_looks_for_free_space_before_writing_finds_some(root):
    status = os.statvfs(root)
    assert shutil.disk_usage(root).free == status.f_bavail * status.f_frsize > 1 << 40
    assert status.f_favail > 1_000_000


def test_all_of_a_file_with_holes_is_data(root):
    with (root / "a").open("r+b") as file:
        file.truncate(1 << 20)
        assert os.lseek(file.fileno(), 5000, os.SEEK_DATA) == 5000
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == 1 << 20


def test_flags_of_a_file_system(root):
    with (root / "a").open() as file:
        assert errno_of(fcntl.ioctl, file, GETFLAGS, bytes(8)) == "ENOTTY"


TRY_LOCK = """
import fcntl, sys
with open(sys.argv[2], "a") as file:
    getattr(fcntl, sys.argv[1])(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
"""


def can_lock(path, kind):
    """Whether another process gets a lock: those of fcntl keep nobody out of their own."""
    command = [sys.executable, "-c", TRY_LOCK, kind, path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 or "BlockingIOError" in done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("kind", ["flock", "lockf"])
def test_locks_hold_on_one_mount(cluster, mount, kind):
    uuid = new_collection(cluster.api())
    here, there = (mount("--read-write", "--collection", uuid).directory for _ in range(2))
    (here / "file").write_text("content")
    wait_until((there / "file").exists)
    with (here / "file").open("a") as file:
        getattr(fcntl, kind)(file, fcntl.LOCK_EX)
        assert not can_lock(here / "file", kind)
        assert can_lock(there / "file", kind)


def test_inotify_tells_what_is_done_on_the_mount(cluster, mount):
    api = cluster.api()
    uuid = new_collection(api)
    root = mount("--read-write", "--collection", uuid).directory
    assert not os.listdir(root)
    watch = LIBC.inotify_init1(os.O_NONBLOCK)
    assert LIBC.inotify_add_watch(watch, os.fsencode(root), IN_CREATE | IN_MODIFY) > 0
    with arvados.collection.Collection(uuid, api_client=api) as elsewhere:
        with elsewhere.open("theirs", "w") as file:
            file.write("theirs")
        elsewhere.save()
    wait_until((root / "theirs").exists)
    (root / "ours").write_text("ours")
    assert events(watch) == [(IN_CREATE, "ours"), (IN_MODIFY, "ours")]
    os.close(watch)


def events(watch):
    """Kind and name of what was told to an inotify descriptor."""
    told, found = os.read(watch, 1 << 16), []
    while told:
        _, mask, _, length = struct.unpack_from("iIII", told)
        found.append((mask, told[16 : 16 + length].rstrip(b"\0").decode()))
        told = told[16 + length :]
    return found


def test_syncing_a_file_system_saves_nothing_and_syncing_a_file_does(cluster, mount):
    api = cluster.api()
    uuid = new_collection(api)
    root = mount("--read-write", "--commit-delay", "300", "--collection", uuid).directory
    for name in ("first", "second"):  # the close of the first saves it: it comes alone
        (root / name).write_text(name)
    with (root / "second").open() as file:
        assert LIBC.syncfs(file.fileno()) == 0
        assert saved(api, uuid).keys() == {"first"}
        os.fsync(file.fileno())
    assert saved(api, uuid).keys() == {"first", "second"}


def test_links_are_copied_as_what_they_lead_to(root, tmp_path):
    """What docs/semantics.md says to those whose programs make links."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("content")
    (source / "link").symlink_to("file")
    for command in (["cp", "-rL", source, root / "a copy"], ["rsync", "-aL", source, root]):
        subprocess.run(command, check=True, timeout=20)
    for copy in ("a copy", "source"):
        assert (root / copy / "link").read_text() == "content"
