"""The cluster of the tests of faults: each module has one for itself."""

import pytest


@pytest.fixture(scope="module")
def cluster(own_cluster):
    return own_cluster
