"""What is committed is in Keep, although Keep collects what no collection has.

It does so when a block was not stored for as long as a signature is valid. Nothing else tells of
it: administrators, and clusters that sign nothing, may save what is not there any more.
"""

from __future__ import annotations

import pytest

from arvados_fuse.errors import ClusterError
from tests.support.writable import KNOWN_S, WritableCluster, WritableMount

CONTENT = b"content " * 100


@pytest.fixture(params=[True, False], ids=["replace_files", "whole manifests"])
def cluster(request: pytest.FixtureRequest) -> WritableCluster:
    cluster = WritableCluster()
    cluster.has_replace_files = request.param
    return cluster


def test_what_was_sent_long_before_it_is_committed_is_sent_again(
    cluster: WritableCluster, mount: WritableMount
) -> None:
    mount.make("f", CONTENT)
    mount.commit_in_vain(ClusterError("not now"))
    mount.clock.now += KNOWN_S + 1
    cluster.collect_garbage()
    mount.commit()
    assert cluster.content == {"f": CONTENT}
    assert mount.walk() == {"f": CONTENT}


def test_what_was_sent_lately_is_not_sent_again(
    cluster: WritableCluster, mount: WritableMount
) -> None:
    mount.make("f", CONTENT)
    mount.commit_in_vain(ClusterError("not now"))
    sent = cluster.blocks.signatures
    mount.clock.now += KNOWN_S - 1
    mount.commit()
    assert cluster.blocks.signatures == sent
    assert cluster.content == {"f": CONTENT}


def test_a_block_that_was_not_sent_since_others_had_it_is_sent_when_they_remove_it(
    cluster: WritableCluster, mount: WritableMount
) -> None:
    cluster.edit_elsewhere({"theirs": CONTENT})
    mount.make("ours", CONTENT)
    mount.commit_in_vain(ClusterError("not now"))
    cluster.edit_elsewhere({"theirs": None})
    cluster.collect_garbage()
    mount.commit()
    assert cluster.content == {"ours": CONTENT}


def test_a_block_that_others_remove_while_it_is_found_to_be_there_is_sent(
    cluster: WritableCluster, mount: WritableMount
) -> None:
    """They do so before the cluster is asked for its version, and Keep is as fast."""
    cluster.edit_elsewhere({"theirs": CONTENT})
    mount.make("ours", CONTENT)
    cluster.edit_elsewhere({"theirs": None})
    cluster.collect_garbage()
    mount.commit()
    assert cluster.content == {"ours": CONTENT}


def test_a_block_that_the_collection_has_is_not_sent(
    cluster: WritableCluster, mount: WritableMount
) -> None:
    cluster.edit_elsewhere({"theirs": CONTENT})
    sent = cluster.blocks.signatures
    mount.make("ours", CONTENT)
    mount.commit()
    assert cluster.blocks.signatures == sent
    assert cluster.content == {"theirs": CONTENT, "ours": CONTENT}
