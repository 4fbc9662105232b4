"""What the cluster is known to have is not sent again."""

import os

import arvados.collection
import pytest

from tests.support.contents import block_hash, create, pseudo_random
from tests.support.mounts import RunningMount
from tests.support.workplace import new_collection, saved

CONTENT = pseudo_random(100_000)


@pytest.fixture(scope="module")
def cluster(own_cluster):
    """One of its own: requests to it are counted."""
    return own_cluster


@pytest.fixture
def mounted(cluster, tmp_path):
    """Mount a collection that can be written to."""
    mounts = []

    def start(uuid, *arguments):
        env = cluster.environment(tmp_path / "home")
        running = RunningMount(
            tmp_path / "mnt", "--read-write", "--collection", uuid, *arguments, env=env
        )
        mounts.append(running)
        return running

    yield start
    for running in mounts:
        running.close()


def puts(cluster):
    return cluster.request_counts().get("PUT keep", 0)


def commit(directory):
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def test_a_file_written_anew_with_the_same_bytes_is_not_sent(cluster, mounted):
    """The block is found in the collection's manifest."""
    uuid = create(cluster.api(), "rewritten", {"f": CONTENT})["uuid"]
    running = mounted(uuid)
    cluster.request_counts(reset=True)
    (running / "f").write_bytes(CONTENT)
    (running / "copy").write_bytes(CONTENT)
    assert running.unmount() == 0
    assert puts(cluster) == 0
    assert saved(cluster.api(), uuid) == {"f": CONTENT, "copy": CONTENT}


def test_bytes_that_this_mount_has_sent_before_are_not_sent(cluster, mounted):
    """Also when they are not part of the collection any more."""
    uuid = new_collection(cluster.api())
    running = mounted(uuid, "--commit-delay=60")
    (running / "f").write_bytes(CONTENT)
    (running / "f").unlink()
    commit(running.directory)
    assert saved(cluster.api(), uuid) == {}
    cluster.request_counts(reset=True)
    (running / "g").write_bytes(CONTENT)
    commit(running.directory)
    assert puts(cluster) == 0
    assert saved(cluster.api(), uuid) == {"g": CONTENT}


def test_a_block_that_others_take_out_of_the_collection_is_sent_after_all(cluster, mounted):
    """Else the save would name a block that Keep has collected as garbage: administrators may."""
    content = os.urandom(5000)
    uuid = create(cluster.api(), "shrinking", {"theirs": content, "stays": b"stays"})["uuid"]
    running = mounted(uuid, "--commit-delay=600")
    (running / "opener").write_bytes(b"the first change is committed at once")
    (running / "ours").write_bytes(content)
    theirs = arvados.collection.Collection(uuid, api_client=cluster.api())
    theirs.remove("theirs")
    theirs.save()
    cluster.block_path(block_hash(content)).unlink()
    commit(running.directory)
    assert saved(cluster.api(), uuid) == {
        "opener": b"the first change is committed at once",
        "ours": content,
        "stays": b"stays",
    }
