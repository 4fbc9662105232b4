"""Bytes were passed on before their block had all arrived, and the block turned out to be wrong.

The kernel is told to drop what it holds of the file. Until it does, which may be any time later,
nobody who opens the file from now on may get that.
"""

from __future__ import annotations

import errno

import llfuse
import pytest

from arvados_fuse.errors import BlockCorrupt
from tests.t3_operations.conftest import Requests

FILES = {"a": b"before", "wrong": b"content", "z": b"behind"}


@pytest.fixture
def wrong(requests: Requests) -> llfuse.EntryAttributes:
    """A file of which somebody was given wrong bytes, as it was looked up before."""
    requests.show(FILES)
    found = requests.lookup(b"wrong")
    handle = requests.open(found.st_ino)
    for block in requests.mount.blocks.blocks.values():
        block.view = None
    requests.operations.read(handle, 0, 4)
    (witness,) = {w for b in requests.mount.blocks.blocks.values() for w in b.witnesses}
    witness.poison(BlockCorrupt("no good copy of a block"))
    requests.operations.release(handle)
    return found


def test_who_opens_the_file_is_sent_to_look_it_up_again(
    requests: Requests, wrong: llfuse.EntryAttributes
) -> None:
    """Linux does that at ESTALE, and no program sees it."""
    with pytest.raises(llfuse.FUSEError) as caught:
        requests.open(wrong.st_ino)
    assert caught.value.errno == errno.ESTALE


def test_the_file_has_another_number_then(
    requests: Requests, wrong: llfuse.EntryAttributes
) -> None:
    """Of which the kernel holds nothing. The files beside it keep theirs."""
    beside = {name: requests.lookup(name).st_ino for name in (b"a", b"z")}
    found = requests.lookup(b"wrong")
    assert found.st_ino != wrong.st_ino
    assert found.st_size == wrong.st_size
    handle = requests.open(found.st_ino)
    assert bytes(requests.operations.read(handle, 0, 100)) == FILES["wrong"]
    requests.operations.release(handle)
    assert requests.lookup(b"wrong").st_ino == found.st_ino
    assert {name: requests.lookup(name).st_ino for name in (b"a", b"z")} == beside


def test_a_listing_shows_that_number(requests: Requests, wrong: llfuse.EntryAttributes) -> None:
    """As `ls -i` compares both."""
    found = requests.lookup(b"wrong").st_ino
    handle = requests.operations.opendir(llfuse.ROOT_INODE, requests.context)
    listed = {name: entry.st_ino for name, entry, _ in requests.operations.readdir(handle, 2)}
    requests.operations.releasedir(handle)
    assert listed[b"wrong"] == found != wrong.st_ino
