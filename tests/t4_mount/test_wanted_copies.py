"""What is written has as many copies, and is in those storage classes, as its collection wants."""

import errno
import hashlib
import os
import time
from contextlib import suppress

import pytest

from arvados_fuse.standalone import directory
from tests.support.cluster import RunningCluster
from tests.support.workplace import new_collection, saved

SERVICES = 3
USUAL = 2


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with RunningCluster(
        tmp_path_factory.mktemp("cluster"), "--keep-services", str(SERVICES)
    ) as running:
        yield running


@pytest.fixture
def env(cluster, tmp_path):
    return cluster.environment(tmp_path / "home")


@pytest.fixture
def content():
    """Bytes that no test has written before."""
    return os.urandom(5000)


def copies(cluster, content):
    """How many services hold a block."""
    name = hashlib.md5(content).hexdigest()
    stores = [directory.block_store(cluster.dir, number) for number in range(SERVICES)]
    return sum((store / name[:3] / name).exists() for store in stores)


def write(path, content):
    """Write and save a file. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        with suppress(OSError):  # fsync has told
            os.close(descriptor)


@pytest.fixture
def mounted(cluster, mount):
    """Mount a new collection that has these attributes; return its uuid, and the mount."""

    def start(*arguments, **attributes):
        uuid = new_collection(cluster.api(), **attributes)
        options = ("--read-write", "--retries", "0", "--collection", uuid)
        return uuid, mount(*options, *arguments)

    return start


def change(cluster, uuid, **attributes):
    cluster.api().collections().update(uuid=uuid, body={"collection": attributes}).execute()


@pytest.mark.parametrize(("desired", "expected"), [(None, USUAL), (1, 1), (3, 3)])
def test_a_collection_has_the_copies_that_it_wants(cluster, mounted, content, desired, expected):
    _, running = mounted(replication_desired=desired)
    write(running / "f", content)
    assert copies(cluster, content) == expected


def test_holes_have_as_many_copies_as_the_rest(cluster, mounted):
    _, running = mounted(replication_desired=3)
    with open(running / "f", "wb") as file:
        file.truncate(12345)
    assert copies(cluster, bytes(12345)) == 3


def test_a_wish_that_changes_holds_for_what_is_written_then(cluster, mounted, content):
    """It is asked for as often as everything else."""
    uuid, running = mounted("--disable-event-listening", "--refresh-time", "0")
    write(running / "before", b"before" + content)
    change(cluster, uuid, replication_desired=3)
    write(running / "after", content)
    assert copies(cluster, b"before" + content) == USUAL
    assert copies(cluster, content) == 3


def test_a_block_that_has_fewer_copies_elsewhere_is_sent_again(cluster, mount, content):
    wishes = {"few": 1, "many": 3}
    api = cluster.api()
    uuids = [new_collection(api, replication_desired=wish) for wish in wishes.values()]
    running = mount("--read-write", "--mount-by-id", "by_id")
    for uuid, wish in zip(uuids, wishes.values(), strict=True):
        write(running / "by_id" / uuid / "f", content)
        assert copies(cluster, content) == wish


def test_more_copies_than_there_are_services_are_an_error_that_says_so(cluster, mounted, content):
    uuid, running = mounted(replication_desired=SERVICES + 1)
    running.expected_log += ["Keep write error", "Cannot commit", "Cannot save"]
    with pytest.raises(OSError) as failure:
        write(running / "f", content)
    assert failure.value.errno == errno.EIO
    assert "3 of 4 copies are stored" in running.log
    assert "the collection wants fewer copies (replication_desired)" in running.log
    change(cluster, uuid, replication_desired=SERVICES)
    deadline = time.monotonic() + 20
    while saved(cluster.api(), uuid) != {"f": content}:  # it is tried again by itself
        assert time.monotonic() < deadline, running.log
        time.sleep(0.1)


class TestStorageClasses:
    """The cluster has one class, `default`: another shows that it is asked for."""

    def test_blocks_are_asked_for_in_the_classes_that_the_collection_wants(self, mounted, content):
        _, running = mounted(storage_classes_desired=["archive"])
        running.expected_log += ["Keep write error", "Cannot commit", "Cannot save"]
        with pytest.raises(OSError) as failure:
            write(running / "f", content)
        assert failure.value.errno == errno.ENOSPC
        assert "too few in storage class archive" in running.log
        os.unlink(running / "f")

    def test_those_of_the_command_line_come_first(self, cluster, mounted, content):
        uuid, running = mounted("--storage-classes", "default", storage_classes_desired=["archive"])
        write(running / "f", content)
        assert saved(cluster.api(), uuid) == {"f": content}
