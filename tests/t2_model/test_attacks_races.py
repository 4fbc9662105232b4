"""Requests that somebody else's request comes between."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import llfuse
import pytest

from arvados_fuse.errors import Stale
from arvados_fuse.fusefile import CollectionFile
from tests.support.writable import CALLER, WritableCluster, WritableMount


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


@pytest.mark.parametrize("handle", [None, 7])
def test_attributes_of_a_file_that_was_removed_are_worth_a_line_only_of_an_open_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, handle: int | None
) -> None:
    """chmod and truncate of a path are tried again by the kernel with what has the name now."""
    cluster = WritableCluster()
    cluster.edit_elsewhere({"file": b"content"})
    mount = WritableMount(cluster, tmp_path)
    number = mount.lookup("file").st_ino
    mount.unlink("file")
    fields = SimpleNamespace(
        update_size=False, update_mtime=False, update_mode=True, update_uid=False, update_gid=False
    )
    with pytest.raises(llfuse.FUSEError) as failure:
        mount.operations.setattr(number, llfuse.EntryAttributes(), fields, handle, CALLER)
    assert failure.value.errno == errno.ESTALE
    assert ("Cannot change the attributes of" in caplog.text) == (handle is not None)
    mount.close()
