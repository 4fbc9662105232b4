"""A mount in memory of the collection that the test's `cluster` has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import invariants
from tests.support.writable import WritableCluster, WritableMount


@pytest.fixture
def mount(cluster: WritableCluster, tmp_path: Path) -> Iterator[WritableMount]:
    """All of its accounts must be right at the end."""
    mount = WritableMount(cluster, tmp_path)
    yield mount
    mount.forget()
    invariants.check(mount)
    invariants.check_nothing_leaked(mount)
    mount.close()
