"""Many small commits leave many small blocks, which become one when it is quiet."""

import os
import re
import time

import pytest

from tests.support.mounts import RunningMount
from tests.support.workplace import new_collection, saved

COUNT = 70


pytestmark = pytest.mark.usefixtures("no_faults")


@pytest.fixture(scope="module")
def cluster(own_cluster):
    """One of its own, which can be made slow."""
    return own_cluster


class Small:
    """A mounted collection of many files, each in a block of its own."""

    def __init__(self, cluster, mount, uuid):
        self.mount = mount
        self.uuid = uuid
        self.content = {f"f{number}": f"content of {number}".encode() for number in range(COUNT)}
        self._cluster = cluster
        for name, content in self.content.items():
            (mount / name).write_bytes(content)
            self.commit()

    def commit(self):
        descriptor = os.open(self.mount.directory, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    def blocks(self):
        record = self._cluster.api().collections().get(uuid=self.uuid).execute()
        return len(set(re.findall(r" ([0-9a-f]{32}\+\d+)", record["manifest_text"])))

    def wait_for_repacking(self):
        deadline = time.monotonic() + 30
        while "parts of small blocks" not in self.mount.log:
            assert time.monotonic() < deadline, self.mount.log
            time.sleep(0.05)

    def check(self):
        assert saved(self._cluster.api(), self.uuid) == self.content
        for name, content in self.content.items():
            assert (self.mount / name).read_bytes() == content


@pytest.fixture
def small(cluster, tmp_path):
    uuid = new_collection(cluster.api())
    env = cluster.environment(tmp_path / "home")
    options = ("--read-write", "--collection", uuid)
    with RunningMount(tmp_path / "mnt", *options, env=env) as mount:
        small = Small(cluster, mount, uuid)
        assert small.blocks() == COUNT
        yield small


def test_small_blocks_become_one_and_files_stay_what_they_are(small):
    with (small.mount / "f1").open("rb") as file:
        inodes = {name: (small.mount / name).stat().st_ino for name in small.content}
        small.wait_for_repacking()
        assert small.blocks() == 1
        small.check()
        assert {name: (small.mount / name).stat().st_ino for name in small.content} == inodes
        assert file.read() == small.content["f1"]


def test_what_others_change_meanwhile_survives(small, cluster):
    """The block that they took out of the collection is not there: nothing is replaced."""
    cluster.set_faults([{"route": "keep", "method": "PUT", "latency_s": 2, "times": 1}])
    deadline = time.monotonic() + 30
    cluster.request_counts(reset=True)
    while cluster.request_counts().get("GET keep", 0) < COUNT:
        assert time.monotonic() < deadline, small.mount.log
        time.sleep(0.02)
    body = {"collection": {}, "replace_files": {"/f3": "", "/new": "current/f4"}}
    cluster.api().collections().update(uuid=small.uuid, body=body).execute()
    del small.content["f3"]
    small.content["new"] = small.content["f4"]
    time.sleep(3)
    assert "Traceback" not in small.mount.log
    small.check()


def test_what_is_changed_here_meanwhile_is_not_held_up_and_survives(small, cluster):
    cluster.set_faults([{"route": "keep", "method": "PUT", "latency_s": 1, "times": 1}])
    cluster.request_counts(reset=True)
    deadline = time.monotonic() + 30
    while cluster.request_counts().get("GET keep", 0) < COUNT:
        assert time.monotonic() < deadline, small.mount.log
        time.sleep(0.02)
    (small.mount / "f5").write_bytes(b"changed")
    (small.mount / "f6").unlink()
    small.commit()
    small.content["f5"] = b"changed"
    del small.content["f6"]
    small.check()
    small.wait_for_repacking()
    assert small.blocks() == 1
    small.check()
