"""Which blocks are garbage, what becomes of them, and how they come back: arv-standalone DIR gc."""

import hashlib
import os
import time

import pytest

from arvados_fuse.standalone import garbage
from arvados_fuse.standalone.cli import main
from arvados_fuse.standalone.keep.blocks import BlockStore
from arvados_fuse.standalone.keep.trash import trash_block, trashed_blocks
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


NONE = "0 blocks of 0 bytes"


def moved(some, deleted=NONE):
    return f"{some} moved to the trash, {deleted} deleted for good"


def is_there(store, locator):
    return store.path(locator[:32]).exists()


def test_only_old_blocks_that_nothing_refers_to_are_garbage(cluster, store, tmp_path, capsys):
    used, old, new = add(store, b"used"), add(store, b"old"), add(store, b"new", age_s=0)
    almost = add(store, b"almost", age_s=TWO_WEEKS_S - 60)
    add(store, b"")
    cluster.create(manifest_text=f". {used} 0:4:file\n")
    assert listed(capsys, tmp_path) == (
        [old], "1 block of 3 bytes could go to the trash, with gc --delete"
    )  # fmt: skip
    assert is_there(store, old)
    assert listed(capsys, tmp_path, "--delete") == ([old], moved("1 block of 3 bytes"))
    assert not is_there(store, old)
    assert all(is_there(store, locator) for locator in (used, new, almost))
    assert listed(capsys, tmp_path, "--delete") == ([], moved(NONE))


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
    assert listed(capsys, tmp_path, "--delete") == (locators, moved("2 blocks of 2 bytes"))
    assert not is_there(second, locators[1])


def test_block_that_was_written_again_is_no_garbage(store):
    path = store.path(add(store, b"again")[:32])
    store.add(b"again")
    assert trash_block(path, time.time() - TWO_WEEKS_S, 0) is False
    assert path.exists()


def test_block_that_has_gone_meanwhile_is_not_counted(cluster, store, tmp_path):
    locator = add(store, b"gone")
    other = add(store, b"other")
    found = garbage.collect(tmp_path)
    first, second = sorted((locator, other))
    assert next(found).startswith(first)
    store.path(second[:32]).unlink()
    assert list(found) == [moved(f"1 block of {first[33:]} bytes")]


def test_block_in_the_trash_is_written_anew(store):
    locator = add(store, b"anew")
    assert trash_block(store.path(locator[:32]), time.time(), 0)
    assert store.add(b"anew") == hashlib.md5(b"anew").hexdigest()
    assert is_there(store, locator)


def test_other_directories_are_left_alone(tmp_path, capsys):
    assert main([str(tmp_path), "gc", "--delete"]) == 1
    assert "not the directory of a cluster" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


class TestTrash:
    """Garbage stays in the trash for two weeks, and comes back if it is wanted"""

    @pytest.fixture
    def later(self, monkeypatch):
        """Let so many seconds pass for the command."""

        def later(seconds):
            now = time.time()
            monkeypatch.setattr(garbage.time, "time", lambda: now + seconds)

        return later

    @pytest.fixture
    def trashed(self, cluster, store, tmp_path, capsys):
        """The locator of a block in the trash."""
        locator = add(store, b"trashed")
        listed(capsys, tmp_path, "--delete")
        assert not is_there(store, locator)
        return locator

    def test_name_is_the_one_that_keepstore_gives(self, store, trashed):
        (block,) = trashed_blocks(store.path(trashed[:32]).parents[1])
        assert block.path.name == f"{trashed[:32]}.trash.{block.deadline_s}"
        assert block.home == store.path(trashed[:32])
        assert 0 <= time.time() + TWO_WEEKS_S - block.deadline_s < 60

    def test_after_two_weeks_it_is_deleted(self, store, trashed, tmp_path, capsys, later):
        later(TWO_WEEKS_S - 60)
        assert listed(capsys, tmp_path, "--delete")[1] == moved(NONE)
        later(TWO_WEEKS_S + 60)
        assert listed(capsys, tmp_path, "--delete")[1] == moved(NONE, "1 block of 7 bytes")
        assert not list(store.path(trashed[:32]).parent.iterdir())

    def test_readers_get_it_back(self, store, trashed):
        with store.open(trashed[:32]) as file:
            assert file.read() == b"trashed"
        assert is_there(store, trashed)
        assert not list(trashed_blocks(store.path(trashed[:32]).parents[1]))

    def test_what_came_back_is_as_good_as_new(self, store, trashed, tmp_path, capsys):
        store.open(trashed[:32]).close()
        assert listed(capsys, tmp_path)[0] == []

    def test_block_that_a_collection_came_to_refer_to_comes_back(
        self, cluster, store, trashed, tmp_path, capsys, later
    ):
        cluster.create(manifest_text=f". {trashed} 0:7:file\n")
        later(TWO_WEEKS_S + 60)
        assert listed(capsys, tmp_path, "--delete")[1] == moved(NONE)
        assert is_there(store, trashed)

    def test_all_of_it_comes_back_on_request(self, store, trashed, tmp_path, capsys):
        printed, last = listed(capsys, tmp_path, "--untrash")
        assert (printed, last) == ([trashed], "1 block of 7 bytes taken out of the trash")
        assert is_there(store, trashed)

    def test_block_that_was_written_again_stays_as_it_is(self, store, trashed, tmp_path, capsys):
        path = store.path(store.add(b"trashed"))
        number = path.stat().st_ino
        listed(capsys, tmp_path, "--untrash")
        assert path.stat().st_ino == number
        assert path.parent.exists()
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    def test_blocks_that_are_nowhere_are_not_found(self, store, trashed):
        with pytest.raises(FileNotFoundError):
            store.open("0" * 32)
