"""Requests that somebody else's request comes between."""

from __future__ import annotations

from pathlib import Path

import pytest

from arvados_fuse.errors import Stale
from arvados_fuse.fusefile import CollectionFile
from tests.support.writable import WritableCluster, WritableMount


def test_a_file_that_was_removed_before_it_is_open_is_not_opened_for_writing(
    tmp_path: Path,
) -> None:
    """The kernel looks the name up again when the answer is ESTALE, and nobody notices."""
    cluster = WritableCluster()
    cluster.edit_elsewhere({"file": b"content"})
    mount = WritableMount(cluster, tmp_path)
    file = mount.inodes.get(mount.lookup("file").st_ino)
    assert isinstance(file, CollectionFile)
    file.check_writable()
    mount.unlink("file")
    with pytest.raises(Stale):
        file.check_writable()
    mount.close()
