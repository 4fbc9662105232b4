"""System calls that FUSE, as llfuse speaks it, does not know: programs do without, or are told."""

import ctypes
import errno
import os
import shutil

import pytest

from tests.support.workplace import errno_of, new_collection

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, NOREPLACE, EXCHANGE = -100, 1, 2


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
