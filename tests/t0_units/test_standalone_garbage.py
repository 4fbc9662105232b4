"""Which blocks are garbage, and what becomes of them: arv-standalone DIR gc."""

import hashlib
import os
import time

import pytest

from arvados_fuse.standalone import garbage
from arvados_fuse.standalone.cli import main
from arvados_fuse.standalone.keep.blocks import BlockStore, remove_block
from tests.support.local_cluster import LocalCluster

TWO_WEEKS_S = 14 * 86400


@pytest.fixture
def cluster(tmp_path):
    with LocalCluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def store(tmp_path):
    return BlockStore(tmp_path / "blocks")


def add(store, content, age_s=TWO_WEEKS_S + 60):
    """Store a block that was written some time ago; return its locator."""
    block_hash = store.add(content)
    then = time.time() - age_s
    os.utime(store.path(block_hash), (then, then))
    return f"{block_hash}+{len(content)}"


def listed(capsys, place, *arguments):
    """The locators that the command prints, and its last line."""
    assert main([str(place), "gc", *arguments]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    return [line.split()[0] for line in lines], last


def is_there(store, locator):
    return store.path(locator[:32]).exists()


def test_only_old_blocks_that_nothing_refers_to_are_garbage(cluster, store, tmp_path, capsys):
    used, old, new = add(store, b"used"), add(store, b"old"), add(store, b"new", age_s=0)
    almost = add(store, b"almost", age_s=TWO_WEEKS_S - 60)
    add(store, b"")
    cluster.create(manifest_text=f". {used} 0:4:file\n")
    assert listed(capsys, tmp_path) == (
        [old], "1 block of 3 bytes could be deleted, with gc --delete"
    )  # fmt: skip
    assert is_there(store, old)
    assert listed(capsys, tmp_path, "--delete") == ([old], "1 block of 3 bytes deleted")
    assert not is_there(store, old)
    assert all(is_there(store, locator) for locator in (used, new, almost))
    assert listed(capsys, tmp_path, "--delete") == ([], "0 blocks of 0 bytes deleted")


def test_trashed_collections_and_old_versions_keep_their_blocks(cluster, store, tmp_path, capsys):
    trashed, versioned = add(store, b"trashed"), add(store, b"versioned")
    uuid = cluster.create(manifest_text=f". {trashed} 0:7:file\n")["uuid"]
    cluster.call("POST", f"collections/{uuid}/trash")
    uuid = cluster.create(manifest_text=f". {versioned} 0:9:file\n")["uuid"]
    cluster.call("PUT", f"collections/{uuid}", {"manifest_text": "", "preserve_version": True})
    assert listed(capsys, tmp_path)[0] == []


def test_every_store_is_cleaned(cluster, store, tmp_path, capsys):
    second = BlockStore(tmp_path / "blocks-2")
    locators = [add(store, b"x"), add(second, b"x")]
    assert listed(capsys, tmp_path, "--delete") == (locators, "2 blocks of 2 bytes deleted")
    assert not is_there(second, locators[1])


def test_block_that_was_written_again_is_no_garbage(store):
    path = store.path(add(store, b"again")[:32])
    store.add(b"again")
    assert remove_block(path, time.time() - TWO_WEEKS_S) is False
    assert path.exists()


def test_block_that_has_gone_meanwhile_is_not_counted(cluster, store, tmp_path):
    locator = add(store, b"gone")
    found = garbage.collect(tmp_path, delete=True)
    store.path(locator[:32]).unlink()
    assert list(found)[-1] == "0 blocks of 0 bytes deleted"


def test_block_that_was_removed_is_written_anew(store):
    locator = add(store, b"anew")
    assert remove_block(store.path(locator[:32]), time.time())
    assert store.add(b"anew") == hashlib.md5(b"anew").hexdigest()
    assert is_there(store, locator)


def test_other_directories_are_left_alone(tmp_path, capsys):
    assert main([str(tmp_path), "gc", "--delete"]) == 1
    assert "not the directory of a cluster" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
