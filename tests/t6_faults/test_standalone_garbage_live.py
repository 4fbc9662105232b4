"""Garbage collection beside a cluster that is written to: nothing that is wanted is lost."""

import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from arvados_fuse.standalone import garbage
from tests.support.cluster import RunningCluster
from tests.support.keep_client import KeepClient

THREE_WEEKS_S = 21 * 86400
BLOCKS = 240
WRITERS = 4


def content(number):
    return f"content {number}".encode() * 50


def block_hash(number):
    return hashlib.md5(content(number)).hexdigest()


@pytest.fixture
def cluster(tmp_path):
    with RunningCluster(tmp_path / "cluster", faults=False) as cluster:
        yield cluster


def commit(cluster, number, locator):
    """Make a collection of one file, which is one block."""
    manifest = f". {locator} 0:{len(content(number))}:file\n"
    body = {"collection": {"name": f"c{number}", "manifest_text": manifest}}
    status, record = cluster.request("POST", "/arvados/v1/collections", body)
    assert status == 200, record


def grow_old(cluster, numbers):
    then = time.time() - THREE_WEEKS_S
    for number in numbers:
        os.utime(cluster.block_path(block_hash(number)), (then, then))


def test_what_is_referred_to_or_written_again_stays(cluster):
    """Blocks are old; some have a collection, some get one while garbage is collected."""
    keep = KeepClient(cluster)
    numbers = range(BLOCKS)
    wanted = [n for n in numbers if n % 3 == 0]
    rewritten = [n for n in numbers if n % 3 == 1]
    unwanted = [n for n in numbers if n % 3 == 2]
    for number in numbers:
        locator = keep.put(content(number))
        if number in wanted:
            commit(cluster, number, locator)
    grow_old(cluster, numbers)
    finished = threading.Event()

    def collect():
        rounds = 0
        while not finished.is_set() or not rounds:
            list(garbage.collect(cluster.dir))
            rounds += 1
        return rounds

    def write(mine):
        client = KeepClient(cluster)
        for number in mine:
            commit(cluster, number, client.put(content(number)))
            commit(cluster, number + BLOCKS, client.put(content(number + BLOCKS)))

    with ThreadPoolExecutor(WRITERS + 1) as threads:
        collecting = threads.submit(collect)
        writing = [threads.submit(write, rewritten[n::WRITERS]) for n in range(WRITERS)]
        for one in writing:
            one.result()
        finished.set()
        assert collecting.result() > 0

    assert not any(cluster.block_path(block_hash(number)).exists() for number in unwanted)
    for number in (*wanted, *rewritten, *(number + BLOCKS for number in rewritten)):
        assert cluster.block_path(block_hash(number)).read_bytes() == content(number)


def test_reader_gets_a_block_back_that_was_taken_for_garbage(cluster):
    """A signature that was given out is good for two weeks, whatever became of the collection."""
    keep = KeepClient(cluster)
    locator = keep.put(content(1))
    grow_old(cluster, [1])
    list(garbage.collect(cluster.dir))
    assert not cluster.block_path(block_hash(1)).exists()
    status, _, body = keep.get(locator)
    assert (status, body) == (200, content(1))
    commit(cluster, 1, locator)
    assert list(garbage.collect(cluster.dir))[-1].startswith("0 blocks")


def test_block_in_the_trash_is_there_for_head_too(cluster):
    keep = KeepClient(cluster)
    locator = keep.put(content(2))
    grow_old(cluster, [2])
    list(garbage.collect(cluster.dir))
    assert keep.request("HEAD", f"/{locator}")[0] == 200
