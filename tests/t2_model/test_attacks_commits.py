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


def test_a_change_of_the_same_file_in_the_moment_between_is_a_gap(tmp_path: Path) -> None:
    """The one that docs/semantics.md tells of: a request cannot say what it expects."""

    class Between(WritableCluster):
        def edit(self, *request: Any, **more: Any) -> Any:
            self.edit_elsewhere({"a": b"theirs", "b": b"theirs"})
            return super().edit(*request, **more)

    cluster = Between()
    cluster.edit_elsewhere({"a": b"before", "b": b"before"})
    mount = WritableMount(cluster, tmp_path)
    handle = mount.open("a")
    mount.write(handle, 0, b"ours, longer")
    mount.release(handle)
    mount.commit()
    assert cluster.content == {"a": b"ours, longer", "b": b"theirs"}
    assert mount.walk() == cluster.content
    mount.close()
