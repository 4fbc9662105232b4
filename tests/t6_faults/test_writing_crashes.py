"""Mounts that are killed, or whose cluster is, while somebody writes: nothing is lost."""

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
