"""The block store of the standalone cluster."""

import hashlib
import os
import threading

import pytest

from arvados_fuse.standalone.keep import blocks
from arvados_fuse.standalone.keep.blocks import BlockCollision, BlockStore
from arvados_fuse.standalone.keep.locator import parse_locator

FOO = "acbd18db4cc2f85cedef654fccc4a4d8"


@pytest.fixture
def store(tmp_path):
    return BlockStore(tmp_path / "blocks")


def verified(store, block_hash):
    """Whether a read of the whole block finds it good."""
    with store.path(block_hash).open("rb") as file:
        return store.verify(block_hash, file.fileno())


def files(store):
    """All files of the store, by path."""
    root = store.path(FOO).parents[1]
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_block_is_laid_out_as_keepstore_does(store):
    assert store.add(b"foo") == FOO
    assert store.path(FOO).read_bytes() == b"foo"
    assert files(store) == [f"acb/{FOO}"]
    assert verified(store, FOO)


def test_block_comes_in_pieces(store):
    block = store.begin()
    for piece in (b"f", b"", memoryview(bytearray(b"oo"))):
        block.write(piece)
        block.digest(piece)
    assert (block.size, block.block_hash) == (3, FOO)
    store.keep(block)
    block.abandon()
    assert files(store) == [f"acb/{FOO}"]


def test_abandoned_block_leaves_nothing(store):
    block = store.begin()
    block.write(b"foo")
    block.abandon()
    assert files(store) == []


def test_leftovers_of_a_crash_are_removed_at_the_next_start(store):
    store.add(b"foo")
    store.begin().write(b"bar")
    assert len(files(store)) == 2
    again = BlockStore(store.path(FOO).parents[1])
    assert files(again) == [f"acb/{FOO}"]


def test_same_block_again_gets_a_new_time_and_stays_the_same_file(store):
    path = store.path(store.add(b"foo"))
    os.utime(path, ns=(0, 0))
    before = path.stat()
    store.add(b"foo")
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_mtime_ns > before.st_mtime_ns
    assert files(store) == [f"acb/{FOO}"]


@pytest.mark.parametrize("damage", [b"fox", b"fo", b""], ids=["flipped", "short", "empty"])
def test_damaged_block_is_found_and_replaced_by_a_good_one(store, damage):
    path = store.path(store.add(b"foo"))
    path.write_bytes(damage)
    assert not verified(store, FOO)
    store.add(b"foo")
    assert path.read_bytes() == b"foo"
    assert verified(store, FOO)


def test_other_content_with_the_same_checksum_is_refused(store, monkeypatch):
    path = store.path(store.add(b"foo"))
    path.write_bytes(b"bar")
    monkeypatch.setattr(store, "verify", lambda block_hash, descriptor: True)
    with pytest.raises(BlockCollision):
        store.add(b"foo")
    assert path.read_bytes() == b"bar"


def test_verification_is_remembered_until_the_file_changes(store):
    path = store.path(store.add(b"foo"))
    with path.open("rb") as file:
        assert store.is_verified(FOO, file.fileno())
    path.write_bytes(b"bar")
    with path.open("rb") as file:
        assert not store.is_verified(FOO, file.fileno())
        assert not store.verify(FOO, file.fileno())
        assert not store.is_verified(FOO, file.fileno())


def test_memory_of_verifications_is_bounded(store, monkeypatch):
    monkeypatch.setattr(blocks, "_VERIFIED_LIMIT", 2)
    hashes = [store.add(content) for content in (b"a", b"b", b"c")]
    known = []
    for block_hash in hashes:
        with store.path(block_hash).open("rb") as file:
            known.append(store.is_verified(block_hash, file.fileno()))
    assert known == [False, True, True]


def test_many_threads_write_the_same_and_other_blocks(store):
    contents = [str(number % 10).encode() * 100_000 for number in range(60)]
    threads = [threading.Thread(target=store.add, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {hashlib.md5(content).hexdigest() for content in contents}
    assert {path.rpartition("/")[2] for path in files(store)} == expected
    assert all(verified(store, block_hash) for block_hash in expected)


@pytest.mark.parametrize("hints", ["", "+3", "+3+Ahint@70000000+K@zzzzz", "+Z"])
def test_locators(hints):
    locator = parse_locator(FOO + hints)
    assert locator.block_hash == FOO
    assert locator.size == (3 if hints.startswith("+3") else None)


@pytest.mark.parametrize(
    "text", ["", "x", FOO[1:], FOO.upper(), FOO + "x", FOO + "+3+a", FOO + "++"]
)
def test_texts_that_are_no_locators(text):
    assert parse_locator(text) is None
