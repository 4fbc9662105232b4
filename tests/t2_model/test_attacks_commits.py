"""Commits that others overtake, at moments that are hard to meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arvados_fuse.api import Item
from arvados_fuse.errors import ClusterError
from tests.support.turns import Locked
from tests.support.writable import WritableCluster, WritableMount


class Overtaken(WritableCluster):
    """A cluster on which somebody changes something just before the first request of a commit.

    hear: called when the cluster is asked for its version after that
    """

    def __init__(self) -> None:
        super().__init__()
        self.hear: Any = None
        self._is_overtaken = False

    def edit(self, *request: Any, **more: Any) -> Any:
        if not self._is_overtaken:
            self._is_overtaken = True
            self.edit_elsewhere({"theirs": b"theirs"})
            raise ClusterError("nothing is at that path any more")
        return super().edit(*request, **more)

    def collection_state(self, ident: str) -> Item:
        if self._is_overtaken and self.hear is not None:
            hear, self.hear = self.hear, None
            hear()
        return super().collection_state(ident)


@pytest.mark.parametrize("is_told", [False, True])
def test_a_commit_that_was_overtaken_is_tried_again(tmp_path: Path, is_told: bool) -> None:
    """Also when an event has told of it before the commit has asked."""
    cluster = Overtaken()
    mount = WritableMount(cluster, tmp_path)
    handle = mount.create("ours")
    mount.write(handle, 0, b"ours")
    mount.release(handle)

    def hear() -> None:
        with Locked(mount.turns):
            mount.root.invalidate()
            mount.root.refresh()

    cluster.hear = hear if is_told else None
    mount.commit()
    assert cluster.content == {"ours": b"ours", "theirs": b"theirs"}
    mount.close()
