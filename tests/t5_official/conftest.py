"""One standalone cluster for the tests with the official tools."""

import pytest

from tests.support.cluster import RunningCluster


@pytest.fixture(scope="module")
def running_cluster(tmp_path_factory):
    with RunningCluster(tmp_path_factory.mktemp("cluster"), "--sample") as running:
        yield running


@pytest.fixture
def user_env(running_cluster, tmp_path):
    """The environment of a user of the cluster who has an empty home."""
    return running_cluster.environment(tmp_path / "home")
