"""Reading a project that is listed page by page, as the kernel does: in pieces, from offsets."""

import errno

import pytest

from arvados_fuse.errors import TimedOut
from arvados_fuse.fusedir import paging
from arvados_fuse.fusedir.project import HomeDirectory
from tests.support.fakes import HOME
from tests.t3_operations.conftest import errno_of


@pytest.fixture
def requests(requests, monkeypatch):
    """The root is a project of ten items, two on a page."""
    monkeypatch.setattr(paging, "PAGE_SIZE", 2)
    for number in range(10):
        requests.mount.cluster.add_collection(f"zzzzz-4zz18-{number:015d}", f"c{number}", "")
    HomeDirectory(requests.mount.around, None, HOME, "").plant()
    return requests


NAMES = [b".", b"..", *(b"c%d" % number for number in range(10))]


def read(requests, handle, size=100, offset=0):
    """All entries from an offset on, as (name, offset of the next), in pieces of some size."""
    entries = []
    while piece := requests.readdir(handle, offset, at_most=size):
        entries += [(name, following) for name, _, _, following in piece]
        offset = entries[-1][1]
    return entries


def names(entries):
    return [entry[0] for entry in entries]


@pytest.mark.parametrize("size", [1, 3, 5, 100])
def test_pieces_of_any_size_make_the_whole(requests, size):
    handle = requests.opendir()
    assert names(read(requests, handle, size)) == NAMES
    requests.operations.releasedir(handle)


def test_what_is_known_is_an_answer(requests):
    handle = requests.opendir()
    assert names(requests.readdir(handle)) == NAMES[:4]
    assert names(requests.readdir(handle, 3)) == NAMES[3:4]
    assert names(requests.readdir(handle, 4)) == NAMES[4:6]
    requests.operations.releasedir(handle)


def test_readers_side_by_side_see_the_same(requests):
    first, second = requests.opendir(), requests.opendir()
    requests.readdir(first, 4)
    assert names(read(requests, second)) == NAMES
    assert names(read(requests, first, offset=6)) == NAMES[6:]
    assert names(read(requests, first)) == NAMES
    for handle in (first, second):
        requests.operations.releasedir(handle)


def test_an_offset_beyond_the_end_is_the_end(requests):
    handle = requests.opendir()
    assert requests.readdir(handle, 1000) == []
    assert names(read(requests, handle)) == NAMES
    assert requests.readdir(handle, 1000) == []
    requests.operations.releasedir(handle)


def test_a_page_that_cannot_be_had_fails_the_reading_there(requests, caplog):
    answer = requests.mount.cluster.contents

    def broken(uuid):
        yield from answer(uuid)[:3]
        raise TimedOut("The cluster is slow.")

    requests.mount.cluster.contents = broken
    handle = requests.opendir()
    assert names(requests.readdir(handle)) == NAMES[:4]
    assert errno_of(lambda: requests.readdir(handle, 4)) == errno.ETIMEDOUT
    assert "Cannot list /: The cluster is slow." in caplog.text
    requests.operations.releasedir(handle)
    requests.mount.cluster.contents = answer
    handle = requests.opendir()
    assert names(read(requests, handle)) == NAMES
    requests.operations.releasedir(handle)
