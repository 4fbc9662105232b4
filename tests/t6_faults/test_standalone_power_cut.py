"""What was acknowledged is on the disk: told by the system calls of a cluster under load.

A power cut cannot be had in a test; what it would leave follows from which files and directories
were synced when an answer was sent.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.cluster import RunningCluster
from tests.support.contents import pseudo_random
from tests.support.disk_model import Disk, calls, strace
from tests.support.keep_client import KeepClient

CLIENTS = 4
ANSWERS = ("sendto", "sendmsg", "writev")


@pytest.fixture
def traced(tmp_path):
    """A cluster whose system calls are written down, and the file in which they are."""
    trace = tmp_path / "trace"
    with RunningCluster(tmp_path / "cluster", faults=False, under=strace(trace)) as cluster:
        yield cluster, trace


def is_answer_from(call, address):
    return call.begun and call.name in ANSWERS and f"[{address}->" in call.target


def block_path(cluster, content):
    return cluster.block_path(hashlib.md5(content).hexdigest())


def test_blocks_are_on_the_disk_when_they_are_acknowledged(traced):
    """Also those that are written by several clients at a time, and for a second time."""
    cluster, trace = traced
    address = KeepClient(cluster).address
    own = [[f"{client} {n}".encode() * 9 for n in range(15)] for client in range(CLIENTS)]
    common = [b"common %d" % n for n in range(10)] + [pseudo_random(9_000_000)]

    def write(mine):
        client = KeepClient(cluster)
        for content in (*mine, *common, *mine[:3]):
            client.put(content)

    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(write, own))
    cluster.stop()

    disk = Disk(cluster.dir)
    paths = {path.name: path for path in (block_path(cluster, c) for c in sum(own, common))}
    acknowledged = 0
    for call in calls(trace):
        if is_answer_from(call, address):
            for block_hash, path in paths.items():
                if f"\\n{block_hash}+" in call.arguments:
                    assert disk.missing(path) == []
                    acknowledged += 1
        disk.follow(call)
    assert acknowledged == CLIENTS * (15 + 11 + 3)


def test_records_are_on_the_disk_when_they_are_acknowledged(traced):
    """With one client, nothing is being written to the log of the database when it is answered."""
    cluster, trace = traced
    for number in range(20):
        body = {"collection": {"name": f"c{number}"}}
        status, record = cluster.request("POST", "/arvados/v1/collections", body)
        assert status == 200
        path = f"/arvados/v1/collections/{record['uuid']}"
        assert cluster.request("PUT", path, {"collection": {"description": "d"}})[0] == 200
    cluster.stop()

    disk = Disk(cluster.dir)
    log = cluster.dir / "cluster.sqlite-wal"
    answers = writes = 0
    for call in calls(trace):
        if is_answer_from(call, cluster.env["ARVADOS_API_HOST"]) and writes:
            assert disk.missing(log) == []
            answers += 1
        writes += call.begun and call.name == "pwrite64" and call.target == str(log)
        disk.follow(call)
    assert answers >= 40
    assert writes >= 40
