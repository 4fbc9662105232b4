"""One standalone cluster for all tests of real mounts, and mounts of it."""

import os

import pytest

from tests.support.cluster import RunningCluster
from tests.support.mounts import RunningMount


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    with RunningCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def env(cluster, tmp_path):
    """The environment of a user of the cluster, with an empty home."""
    return {**os.environ, **cluster.env, "HOME": str(tmp_path / "home")}


@pytest.fixture
def mount(env, tmp_path):
    """Make mounts with `mount("--option", ...)`; all of them end with the test."""
    mounts = []

    def start(*arguments: str) -> RunningMount:
        running = RunningMount(tmp_path / f"mnt{len(mounts)}", *arguments, env=env)
        mounts.append(running)
        return running

    yield start
    for running in mounts:
        running.close()
