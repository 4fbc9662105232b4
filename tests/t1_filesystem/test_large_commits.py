"""Commits of many files: others get the file system's lock in the midst of them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from arvados_fuse.commit import steps
from tests.support import invariants
from tests.support.writable import WritableCluster, WritableMount

NAMES = [f"d/{number}" for number in range(7)]


@pytest.fixture(autouse=True)
def short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few files be many."""
    monkeypatch.setattr(steps, "SLICE", 2)
    monkeypatch.setattr(steps, "REST_S", 0.0)


def write(mount: WritableMount) -> None:
    handle = mount.open("d/3")
    mount.write(handle, 1, b"changed meanwhile")
    mount.release(handle)


def make(mount: WritableMount) -> None:
    mount.make("d/new", b"new")


CHANGES: dict[str, Callable[[WritableMount], None]] = {
    "written": write,
    "made": make,
    "removed": lambda mount: mount.unlink("d/3"),
    "renamed": lambda mount: mount.rename("d/3", "d/other"),
    "replaced": lambda mount: mount.rename("d/3", "d/5"),
    "moved with its directory": lambda mount: mount.rename("d", "elsewhere"),
}


def points_of(mount: WritableMount) -> int:
    """Commit, and count how often the lock is given up."""
    points = []
    mount.turns.point = lambda **_: points.append(1)  # type: ignore[method-assign]
    mount.commit()
    return len(points)


def mount_with(files: list[str], journals: Path) -> WritableMount:
    """A mount of a new collection in which these were made."""
    journals.mkdir()
    mount = WritableMount(WritableCluster(), journals)
    mount.mkdir("d")
    for name in files:
        mount.make(name, name.encode())
    return mount


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_in_the_midst_of_one_is_saved_with_the_next(
    tmp_path: Path, change: str
) -> None:
    """At whatever moment others get the lock, each change of theirs counts, and no other."""
    mount = mount_with(NAMES, tmp_path / "count")
    points = points_of(mount)
    mount.close()
    for point in range(1, points + 1):
        mount = mount_with(NAMES, tmp_path / str(point))
        mount.turns.plan(lambda mount=mount: CHANGES[change](mount), point, 1000)
        mount.commit()
        mount.turns.finish()
        shown = mount.walk()
        mount.commit()
        assert mount.walk() == shown == mount.cluster.content
        gone = change in ("removed", "replaced")
        assert len(shown) == 1 + len(NAMES) + (change == "made") - gone
        mount.forget()
        invariants.check(mount)
        invariants.check_nothing_leaked(mount)
        mount.close()


def test_the_lock_is_given_up_once_for_some_files_each_time(tmp_path: Path) -> None:
    """The number of files at one go is limited, not that of the goes."""
    points = []
    for count in (4, 40):
        mount = mount_with([f"d/{number}" for number in range(count)], tmp_path / str(count))
        points.append(points_of(mount))
        mount.close()
    # Bytes are placed and contents settled, both in slices of two.
    assert points[1] - points[0] == 2 * (40 - 4) // 2


def test_the_manifest_of_a_large_collection_is_asked_for_ever_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So what has been committed costs the time of the number of files, not of its square."""
    monkeypatch.setattr(steps, "SMALL_MANIFEST", 0)
    monkeypatch.setattr(steps, "MOST_SETTLED", 2)
    monkeypatch.setattr(steps, "MANIFEST_PER_SETTLED", 200)
    mount = mount_with([], tmp_path / "journals")
    edit, asked_at = mount.cluster.edit, []

    def noted(*arguments: Any, whole: bool) -> Any:
        if whole:
            asked_at.append(number)
        return edit(*arguments, whole=whole)

    monkeypatch.setattr(mount.cluster, "edit", noted)
    for number in range(100):
        mount.make(f"d/{number}", b"content")
        mount.steps.commit(mount.committer.sessions[0])
    pauses = [after - before for before, after in pairwise(asked_at)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 3
    assert pauses[-1] > 10
    mount.commit()
    assert mount.walk() == mount.cluster.content
    mount.close()


def test_a_file_that_was_made_and_is_not_saved_takes_less_than_2000_bytes(tmp_path: Path) -> None:
    """Object, draft, attributes, number and names, as long as the kernel knows it as well."""
    mount = mount_with(["d/first"], tmp_path / "journals")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(1000):
            mount.make(f"d/file {number}", b"content")
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / 1000 < 2000
    mount.close()
