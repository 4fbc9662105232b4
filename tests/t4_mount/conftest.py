"""One standalone cluster for all tests of real mounts, and mounts of it."""

import os
from contextlib import ExitStack
from itertools import count

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
    directories = (tmp_path / f"mnt{number}" for number in count())
    with ExitStack() as mounts:
        yield lambda *arguments: mounts.enter_context(
            RunningMount(next(directories), *arguments, env=env)
        )
