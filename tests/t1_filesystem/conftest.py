"""Mounts on fakes for the tests of directories."""

import pytest

from tests.support import invariants
from tests.support.fakes import FakeMount


@pytest.fixture
def make_mount():
    """Make mounts, whose inode tables are checked at the end of the test."""
    mounts = []

    def make(**settings) -> FakeMount:
        mounts.append(FakeMount(**settings))
        return mounts[-1]

    yield make
    for mount in mounts:
        invariants.check(mount)


@pytest.fixture
def mount(make_mount):
    return make_mount()
