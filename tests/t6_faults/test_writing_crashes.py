"""Mounts that are killed, or whose cluster is, while somebody writes: nothing is lost."""

import json
import os
import time
from contextlib import ExitStack
from itertools import count

import pytest

from tests.support.cluster import RunningCluster
from tests.support.mounts import RunningMount
from tests.support.workplace import new_collection, saved, shown
from tests.support.write_load import WriteLoad


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with RunningCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def env(cluster, tmp_path):
    return cluster.environment(tmp_path / "home")


@pytest.fixture
def mount(env, tmp_path):
    """Make mounts that can be written to."""
    directories = (tmp_path / f"mnt{number}" for number in count())
    with ExitStack() as mounts:
        yield lambda uuid, *arguments: mounts.enter_context(
            RunningMount(
                next(directories), "--read-write", "--collection", uuid, *arguments, env=env
            )
        )


@pytest.mark.parametrize("delay_s", [0.05, 0.4, 1.3, 2.1])
def test_a_killed_mount_loses_nothing_whose_close_returned(cluster, mount, delay_s):
    uuid = new_collection(cluster.api())
    running = mount(uuid)
    with WriteLoad(running.directory, int(delay_s * 100)) as load:
        time.sleep(delay_s)
        running.kill()
        load.wait_for_end()
    after = mount(uuid)
    load.check(shown(after.directory))
    load.check(saved(cluster.api(), uuid))
    assert after.unmount() == 0


MOUNT = ".arvados#mount"


def test_a_killed_cluster_loses_nothing_and_the_mount_goes_on(cluster, mount):
    uuid = new_collection(cluster.api())
    running = mount(uuid)
    running.expected_log.append(f"Cannot commit {uuid}")
    with WriteLoad(running.directory, 7) as load:
        for pause_s in (0.6, 1.0):
            time.sleep(pause_s)
            cluster.kill()
            cluster.start()
        time.sleep(0.5)
    assert load.failure is None
    assert load.operations > 10
    assert running.unmount() == 0
    load.check(saved(cluster.api(), uuid))


def test_a_cluster_that_is_gone_for_good_ends_in_75_and_a_journal_for_the_next_mount(
    cluster, mount
):
    uuid = new_collection(cluster.api())
    running = mount(uuid, "--commit-delay", "600")
    (running / "first").write_bytes(b"committed at once")
    (running / "second").write_bytes(b"kept " * 1000)
    cluster.kill()
    try:
        assert running.unmount() == 75
    finally:
        cluster.start()
    lines = (f"Cannot commit {uuid}, and will", f"What was written to {uuid} is not committed")
    running.expected_log += lines
    assert [line in running.log for line in lines] == [True, True]
    after = mount(uuid)
    assert shown(after.directory) == saved(cluster.api(), uuid)
    assert (after / "second").read_bytes() == b"kept " * 1000


def test_commits_that_fail_are_told_once_and_in_the_record_of_the_mount(cluster, mount):
    uuid = new_collection(cluster.api())
    running = mount(uuid, "--commit-delay", "0", "--retries", "0")
    running.expected_log += [f"Cannot commit {uuid}", "Cannot save /second: .* answered 500"]
    (running / "first").write_bytes(b"z")
    cluster.set_faults([{"route": "api", "path": "/collections/", "status": 500}])
    with open(running / "second", "wb") as file:
        for _ in range(3):
            file.write(b"x")
            with pytest.raises(OSError, match="Input/output error"):
                os.fsync(file.fileno())
        with pytest.raises(OSError, match="Input/output error"):
            file.close()
    (pending,) = json.loads((running / MOUNT).read_text())["pending"]
    assert pending["uuid"] == uuid
    assert "500" in pending["last_error"]
    assert pending["failing_since"] is not None
    assert pending["failures"] >= 3
    cluster.set_faults([])
    with open(running / "last", "wb") as file:
        file.write(b"y")
        os.fsync(file.fileno())
    assert json.loads((running / MOUNT).read_text())["pending"] == []
    assert running.log.count("Cannot commit") == 1
    assert running.log.count(f"Committed {uuid} after") == 1
