"""Power cuts for mounts in memory: their journals are on a disk that forgets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from arvados_fuse.journal import journal
from tests.support.journals import LosingDisk
from tests.support.writable import WritableCluster, WritableMount

__all__ = ["cut_power", "losing_disk", "sync"]

NEVER_S = 1e9


@contextmanager
def losing_disk() -> Iterator[LosingDisk]:
    """A disk that knows what was forced to it. Journals are synced by `sync` alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "_SYNC_INTERVAL_S", NEVER_S)
        yield LosingDisk(patch)


def sync(mount: WritableMount) -> None:
    """Do what the journal does once a second."""
    for session in list(mount.committer.sessions):
        session.journal.sync()


def cut_power(
    mount: WritableMount, disk: LosingDisk, directory: Path, seed: int
) -> WritableCluster:
    """Write to `directory` what a power cut leaves of the journals, as another run finds it.

    seed: of what is left of that which was not forced to the disk

    Returns the cluster then.
    """
    disk.cut_power(mount.journal.directory.parent, directory, seed)
    for about in directory.glob("*/about"):
        fields = {**json.loads(about.read_text()), "boot_id": "another run of the machine"}
        about.write_text(json.dumps(fields))
    disk.force(directory)
    return mount.cluster.copy()
