"""A collection whose content is replaced as a whole, as clusters without `replace_files` need it.

No request compares and replaces in one: what another client does in the moment between is found in
the version that the cluster keeps of what was replaced.
"""

from __future__ import annotations

import logging

import pytest

from arvados_fuse.errors import TimedOut
from tests.support.writable import WritableCluster, WritableMount

MERGED = "Merged what others did"


@pytest.fixture
def cluster() -> WritableCluster:
    cluster = WritableCluster()
    cluster.has_replace_files = False
    cluster.edit_elsewhere({"a": b"a", "b": b"b", "d/c": b"c"})
    return cluster


def replacements(cluster: WritableCluster) -> int:
    return sum(asked.startswith("replace") for asked in cluster.asked)


def test_nothing_is_replaced_twice_when_nobody_comes_between(
    cluster: WritableCluster, mount: WritableMount
) -> None:
    mount.make("new", b"ours")
    mount.commit()
    assert replacements(cluster) == 1
    assert cluster.content == {"a": b"a", "b": b"b", "d": None, "d/c": b"c", "new": b"ours"}


def test_what_others_do_in_the_moment_between_is_not_undone(
    cluster: WritableCluster, mount: WritableMount
) -> None:
    theirs = {"a": b"theirs", "b": None, "e/f": b"theirs too"}
    cluster.between = [lambda: cluster.edit_elsewhere(theirs)]
    mount.make("new", b"ours")
    mount.commit()
    assert cluster.content == {
        "a": b"theirs", "d": None, "d/c": b"c", "e": None, "e/f": b"theirs too", "new": b"ours",
    }  # fmt: skip
    assert mount.walk() == cluster.content
    assert replacements(cluster) == 2


@pytest.mark.expects_log("a was changed here and elsewhere")
def test_what_both_change_is_kept_twice(cluster: WritableCluster, mount: WritableMount) -> None:
    cluster.between = [lambda: cluster.edit_elsewhere({"a": b"theirs"})]
    handle = mount.open("a")
    mount.write(handle, 0, b"ours")
    mount.release(handle)
    mount.commit()
    content = cluster.content
    assert content["a"] == b"theirs"
    assert content["a~ours"] == b"ours"
    assert mount.walk() == content


def test_who_comes_between_twice_is_told_where_the_first_change_is(
    cluster: WritableCluster, mount: WritableMount, caplog: pytest.LogCaptureFixture
) -> None:
    """The second change was made where the first was not any more: that is not merged."""
    cluster.between = [
        lambda: cluster.edit_elsewhere({"one": b"1"}),
        lambda: cluster.edit_elsewhere({"two": b"2"}),
    ]
    mount.make("new", b"ours")
    mount.commit()
    assert cluster.content["new"] == b"ours"
    assert cluster.content["two"] == b"2"
    assert "twice while it was being replaced" in caplog.text
    assert mount.walk() == cluster.content


def test_what_was_merged_is_sent_after_a_failure(
    cluster: WritableCluster, mount: WritableMount
) -> None:
    def come_between() -> None:
        cluster.edit_elsewhere({"a": b"theirs"})
        cluster.failures = [TimedOut("late")]

    cluster.between = [come_between]
    mount.make("new", b"ours")
    with pytest.raises(TimedOut):
        mount.commit()
    assert mount.walk()["a"] == b"theirs", "a refresh does not take the replaced state for theirs"
    mount.commit()
    assert cluster.content == {"a": b"theirs", "b": b"b", "d": None, "d/c": b"c", "new": b"ours"}


def test_what_is_changed_while_it_is_sent_once_more_is_saved_too(
    cluster: WritableCluster, mount: WritableMount
) -> None:
    cluster.between = [
        lambda: cluster.edit_elsewhere({"a": b"theirs"}),
    ]
    mount.make("new", b"ours")
    mount.commit()
    mount.make("newer", b"ours as well")
    mount.unlink("b")
    mount.commit()
    expected = {"a": b"theirs", "d": None, "d/c": b"c", "new": b"ours", "newer": b"ours as well"}
    assert cluster.content == expected
    assert mount.walk() == expected


def test_a_change_just_before_is_taken_over_first(
    cluster: WritableCluster, mount: WritableMount, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked for immediately before the replacement: that needs no versions."""
    caplog.set_level(logging.INFO)
    cluster.keeps_versions = False
    mount.make("new", b"ours")
    place = cluster.blocks.put

    def put(data: bytes) -> str:
        cluster.blocks.put = place  # type: ignore[method-assign]
        cluster.edit_elsewhere({"a": b"theirs"})  # while the blocks are sent
        return place(data)

    cluster.blocks.put = put  # type: ignore[method-assign]
    mount.commit()
    assert cluster.content["a"] == b"theirs"
    assert cluster.content["new"] == b"ours"
    assert MERGED not in caplog.text


def test_without_versions_the_moment_between_is_a_gap(
    cluster: WritableCluster, mount: WritableMount
) -> None:
    """The one that docs/semantics.md tells of."""
    cluster.keeps_versions = False
    cluster.between = [lambda: cluster.edit_elsewhere({"a": b"theirs"})]
    mount.make("new", b"ours")
    mount.commit()
    assert cluster.content["a"] == b"a"
    assert mount.walk() == cluster.content
