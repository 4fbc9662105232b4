"""Writing, step by step: what the search in `test_writing_model.py` has found, each as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

from arvados_fuse.errors import ClusterError, TimedOut
from arvados_fuse.fusedir.collection import CollectionDirectory
from tests.conftest import LogGuard
from tests.support import invariants
from tests.support.journals import LosingDisk, refuse_records
from tests.support.power import cut_power, losing_disk, sync
from tests.support.strict import Refusal, StrictCluster
from tests.support.writable import (
    CALLER,
    REFRESH_S,
    UUID,
    WritableCluster,
    WritableMount,
    conflict_name,
)


@pytest.fixture
def cluster() -> WritableCluster:
    """A cluster with one collection, which is empty."""
    return WritableCluster()


@pytest.fixture
def small_mount(cluster: WritableCluster, tmp_path: Path) -> Iterator[WritableMount]:
    """A mount that holds nothing in memory that is not in use."""
    mount = WritableMount(cluster, tmp_path, directory_cache=1)
    yield mount
    mount.close()


def test_a_commit_is_one_request(cluster: WritableCluster, mount: WritableMount) -> None:
    """Whatever has changed, so that others see all of it or nothing."""
    cluster.edit_elsewhere({"removed": b"1", "moved": b"2", "d/changed": b"3"})
    mount.unlink("removed")
    mount.rename("moved", "d/moved")
    mount.mkdir("new")
    for path in ("d/changed", "new/file"):
        handle = mount.create(path) if path == "new/file" else mount.open(path)
        mount.write(handle, 0, b"ours")
        mount.release(handle)
    del cluster.asked[:]
    mount.commit()
    assert [what.split()[0] for what in cluster.asked].count("edit") == 1
    assert not [what for what in cluster.asked if what.startswith("replace")]
    files = {"d/changed": b"ours", "d/moved": b"2", "new/file": b"ours"}
    assert cluster.content == {"d": None, "new": None, **files}


def test_what_is_removed_after_a_commit_without_answer_stays_removed(
    cluster: WritableCluster, mount: WritableMount
) -> None:
    """The mount cannot know whether the cluster has the file, so it has to ask."""
    mount.release(mount.create("kept"))
    mount.release(mount.create("removed"))
    mount.commit_in_vain(TimedOut("late"))
    mount.unlink("removed")
    mount.unlink("kept")
    mount.release(mount.create("kept"))
    mount.commit()
    assert cluster.content == {"kept": b""}

    mount.clock.now += REFRESH_S + 1
    assert mount.walk() == {"kept": b""}


def test_what_was_all_that_changed_and_is_removed_after_a_commit_without_answer_stays_removed(
    cluster: WritableCluster, mount: WritableMount
) -> None:
    """Also when nothing is left to be committed, as far as the mount knows."""
    mount.release(mount.create("file"))
    mount.commit_in_vain(TimedOut("late"))
    mount.unlink("file")
    mount.commit()
    assert cluster.content == {}


def test_renaming_a_file_to_its_own_name_leaves_nothing_behind(
    cluster: WritableCluster, mount: WritableMount
) -> None:
    """Also when the kernel, unlike Linux, holds no reference to the file."""
    cluster.edit_elsewhere({"file": b"content"})
    mount.operations.rename(1, b"file", 1, b"file", CALLER)
    invariants.check_nothing_leaked(mount)
    assert mount.walk() == {"file": b"content"}


@pytest.mark.parametrize("point", range(1, 10))
def test_what_was_frozen_is_not_sent_after_a_refresh_has_brought_what_others_have_written(
    cluster: WritableCluster, mount: WritableMount, log_guard: LogGuard, point: int
) -> None:
    """It would overwrite that, and the draft does not say any more what it was about.

    point: where the commit gives the lock up, counted from its beginning
    """
    cluster.edit_elsewhere({"file": b"before"})
    handle = mount.open("file")
    mount.write(handle, 0, b"ours__")
    mount.release(handle)
    root = mount.inodes.get(1)
    assert isinstance(root, CollectionDirectory)
    expected = {b"ours__"}

    def refresh() -> None:
        if root.session is not None and root.session.is_sending:
            return  # who writes now can only be seen afterwards
        expected.add(b"theirs")
        if cluster.content == {"file": b"ours__"}:
            expected.discard(b"ours__")
        cluster.edit_elsewhere({"file": b"theirs"})
        root.landed(root.fetch())

    mount.turns.plan(refresh, point, 1000)
    mount.commit()
    mount.turns.finish()
    mount.commit()
    assert set(cluster.content.values()) == expected
    assert len(log_guard.take("changed here and elsewhere")) == len(expected) - 1


def test_what_a_failed_commit_has_loaded_is_accounted_for(
    cluster: WritableCluster, small_mount: WritableMount
) -> None:
    """So that it can be given back."""
    small_mount.mkdir("directory")
    small_mount.commit()
    small_mount.release(small_mount.create("directory/file"))
    small_mount.mkdir("other")
    small_mount.commit_in_vain(TimedOut("late"))
    invariants.check(small_mount)


def test_what_the_cluster_has_of_a_removed_directory_is_no_part_of_it(
    cluster: WritableCluster, small_mount: WritableMount
) -> None:
    """It is looked at when others have made another version meanwhile."""
    cluster.edit_elsewhere({"theirs/file": b"content"})
    small_mount.mkdir("directory")
    small_mount.commit()
    cluster.edit_elsewhere({"theirs/file": None})
    small_mount.rmdir("directory")
    small_mount.walk()
    small_mount.commit()
    invariants.check(small_mount)
    assert cluster.content == {"theirs": None}


def test_a_conflict_is_settled_also_when_the_journal_has_no_room(
    cluster: WritableCluster,
    mount: WritableMount,
    monkeypatch: pytest.MonkeyPatch,
    log_guard: LogGuard,
) -> None:
    """Ours is named in memory by then; half a change would be worse than a shorter journal."""
    handle = mount.create("file")
    mount.write(handle, 0, b"ours")
    cluster.edit_elsewhere({"file": b"theirs"})

    with monkeypatch.context() as patch:
        refuse_records(patch)
        mount.commit()
    log_guard.take("was changed here and elsewhere")
    log_guard.take("the journal cannot grow")
    assert mount.walk() == cluster.content == {"file": b"theirs", conflict_name("file"): b"ours"}
    mount.release(handle)


def test_a_file_that_others_have_damaged_does_not_stop_what_was_changed_beside_it(
    cluster: WritableCluster, mount: WritableMount
) -> None:
    """It has the size that it had, and nothing to be compared with what it was."""
    cluster.edit_elsewhere({"damaged": b"12345678"})
    mount.rename("damaged", "other")
    mount.rename("other", "damaged")
    mount.mkdir("made")
    cluster.set_manifest(UUID, f". {cluster.blocks.put(b'1234')} 2:8:damaged\n")
    mount.clock.now += REFRESH_S + 1
    assert sorted(mount.list("")) == ["damaged", "made"]


@pytest.fixture
def disk() -> Iterator[LosingDisk]:
    """Where journals are: a disk that forgets what was not forced to it."""
    with losing_disk() as disk:
        yield disk


def after_power_cut(mount: WritableMount, disk: LosingDisk, tmp_path: Path, seed: int) -> Any:
    """What the next mount shows, which must be what the cluster has."""
    left = tmp_path / f"left-{seed}"
    cluster = cut_power(mount, disk, left, seed)
    after = WritableMount(cluster, left)
    after.recover()
    shown = after.walk()
    assert shown == cluster.content
    after.close()
    return shown


def test_what_is_saved_is_not_undone_by_an_older_moment_that_a_power_cut_has_left(
    disk: LosingDisk, mount: WritableMount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal was synced before the last changes, and not yet shortened after the commit."""
    mount.make("removed", b"1")
    sync(mount)
    mount.unlink("removed")
    mount.make("kept", b"2")
    monkeypatch.setattr(mount.steps, "shorten_journal", lambda session: None)
    mount.commit()
    for seed in range(8):
        assert after_power_cut(mount, disk, tmp_path, seed) == {"kept": b"2"}


@pytest.mark.expects_log(
    "is saved while its journal cannot be synced", "its journal is not shortened"
)
def test_what_is_written_is_saved_though_the_disk_of_the_journal_fails(
    cluster: WritableCluster, mount: WritableMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is the safest place that is left."""
    handle = mount.create("file")
    mount.write(handle, 0, b"synced")
    sync(mount)
    mount.write(handle, 6, b", not synced")

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        mount.fsync(handle)
    assert cluster.content == {"file": b"synced, not synced"}
    mount.release(handle)


def test_the_last_request_of_a_killed_mount_may_be_done_while_its_journal_is_recovered(
    mount: WritableMount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken for a change by others, it would bring back what was removed after it was sent."""
    mount.make("removed", b"1")
    mount.commit_in_vain(ClusterError("the connection is gone"))
    mount.unlink("removed")
    mount.make("kept", b"2")
    left = tmp_path / "left"
    cluster = mount.left(left)
    after = WritableMount(cluster, left)
    edits = iter([{}, {"removed": b"1"}])
    ask = cluster.collection_state

    def state(ident: str) -> Any:
        for changes in islice(edits, 1):
            cluster.edit_elsewhere(changes)
        return ask(ident)

    monkeypatch.setattr(cluster, "collection_state", state)
    after.recover()
    assert cluster.content == {"kept": b"2"}
    after.close()
    mount.commit()


def test_the_last_commit_of_a_killed_mount_is_known_though_the_version_before_it_is_gone(
    cluster: WritableCluster, mount: WritableMount, tmp_path: Path
) -> None:
    """Where that had what was moved, and what was replaced by it, is seen from where it is now."""
    before = {"moved": b"1", "d/f": b"2", "d/g": b"3", "kept": b"4", "left/h": b"5"}
    cluster.edit_elsewhere(dict(before))
    mount.make("replaced", b"6")
    mount.rename("moved", "replaced")
    mount.rename("d", "e")
    mount.make("e/made", b"7")
    mount.make("temporary", b"8")
    mount.rename("temporary", "kept")
    mount.rename("left/h", "h")
    mount.rmdir("left")
    mount.commit_in_vain(TimedOut("it is done, and the answer is lost"))
    mount.rename("replaced", "again")
    mount.unlink("e/f")
    left = tmp_path / "left"
    present = mount.left(left)
    present.keeps_content = False
    after = WritableMount(present, left)
    after.recover()
    files = {"again": b"1", "e/g": b"3", "e/made": b"7", "kept": b"8", "h": b"5"}
    assert present.content == {"e": None, **files}
    after.close()
    mount.commit()


def test_what_a_killed_mount_has_swapped_is_swapped_once(
    cluster: WritableCluster, mount: WritableMount, tmp_path: Path
) -> None:
    """Where others have changed something else, and the version before is gone."""
    cluster.edit_elsewhere({"a": b"1", "b": b"2"})
    for old, new in (("a", "t"), ("b", "a"), ("t", "b")):
        mount.rename(old, new)
    left = tmp_path / "left"
    present = mount.left(left)
    present.keeps_content = False
    present.edit_elsewhere({"theirs": b"3"})
    after = WritableMount(present, left)
    after.recover()
    assert present.content == {"a": b"2", "b": b"1", "theirs": b"3"}
    after.close()
    mount.commit()


def test_a_directory_in_the_place_of_a_file_that_was_made_before_it_was_not_there_before(
    mount: WritableMount, tmp_path: Path
) -> None:
    """Also where the version before is gone, so that nothing else says so."""
    mount.make("name", b"1")
    mount.unlink("name")
    mount.mkdir("name")
    mount.make("name/file", b"2")
    mount.commit_in_vain(TimedOut("it is done, and the answer is lost"))
    left = tmp_path / "left"
    present = mount.left(left)
    present.keeps_content = False
    present.edit_elsewhere({"name/theirs": b"3"})
    after = WritableMount(present, left)
    after.recover()
    assert present.content == {"name": None, "name/file": b"2", "name/theirs": b"3"}
    after.close()
    mount.commit()


@pytest.mark.expects_log("others change .* faster than it can be recovered")
def test_a_journal_is_not_recovered_for_ever(
    mount: WritableMount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays for the next mount if others change the collection all the time."""
    mount.make("kept", b"2")
    left = tmp_path / "left"
    cluster = mount.left(left)
    after = WritableMount(cluster, left)
    ask, numbers = cluster.collection_state, count()

    def state(ident: str) -> Any:
        cluster.edit_elsewhere({"theirs": str(next(numbers)).encode()})
        return ask(ident)

    with monkeypatch.context() as patch:
        patch.setattr(cluster, "collection_state", state)
        assert not after.try_to_recover()
    after.recover()
    assert cluster.content["kept"] == b"2"
    after.close()
    mount.commit()


def test_what_is_recovered_is_recovered_once(
    cluster: WritableCluster, disk: LosingDisk, mount: WritableMount, tmp_path: Path
) -> None:
    """A power cut after that does not bring the journal back: it knows of old things."""
    mount.make("removed", b"1")
    sync(mount)
    left = tmp_path / "left"
    recovering = WritableMount(cut_power(mount, disk, left, 0), left)
    recovering.recover()
    recovering.unlink("removed")
    recovering.commit()
    for seed in range(8):
        assert after_power_cut(recovering, disk, tmp_path, seed) == {}
    recovering.close()
    mount.commit()


@pytest.mark.parametrize("has_replace_files", [True, False])
@pytest.mark.parametrize("loss", ["a new token", "they ran out"])
def test_a_commit_gets_new_signatures_for_all_that_it_sends(
    tmp_path: Path, has_replace_files: bool, loss: str
) -> None:
    """Of what was not changed, too, which the whole manifest of a collection has in it."""
    cluster = StrictCluster()
    cluster.has_replace_files = has_replace_files
    cluster.edit_elsewhere({"a": b"theirs", "b": b"before"})
    mount = WritableMount(cluster, tmp_path)
    handle = mount.open("b")
    mount.write(handle, 0, b"ours")
    if loss == "a new token":
        cluster.use_token("2")
    else:
        mount.clock.now += cluster.signature_ttl_s + 1
    mount.fsync(handle)
    assert cluster.content == {"a": b"theirs", "b": b"oursre"}
    mount.release(handle)
    mount.close()


@pytest.mark.parametrize("refusal", [Refusal.FROZEN, Refusal.FULL])
def test_what_is_not_saved_is_read_though_its_signatures_are_lost_and_nothing_can_be_saved(
    tmp_path: Path, refusal: Refusal
) -> None:
    """What was sent is in the journal until it is saved; what was there before is signed anew."""
    cluster = StrictCluster()
    cluster.edit_elsewhere({"changed": b"before before"})
    mount = WritableMount(cluster, tmp_path)
    changed, new = mount.open("changed"), mount.create("new")
    mount.write(changed, 3, b"ours")
    mount.write(new, 0, b"new")
    mount.commit_in_vain(ClusterError("not now"))
    cluster.refusal = refusal
    cluster.use_token("2")
    mount.use_new_token()
    assert mount.read(changed, 0, 99) == b"befoursbefore"
    assert mount.read(new, 0, 99) == b"new"
    cluster.refusal = None
    mount.commit()
    assert mount.walk() == cluster.content == {"changed": b"befoursbefore", "new": b"new"}
    mount.release(changed)
    mount.release(new)
    mount.close()


@pytest.mark.parametrize("change", ["its name", "its project"])
def test_a_collection_that_others_rename_or_move_is_saved_where_it_is(
    tmp_path: Path, change: str
) -> None:
    """What is open is written to, though another path leads to it, or none."""
    cluster = WritableCluster()
    cluster.edit_elsewhere({"file": b"before"})
    mount = WritableMount(cluster, tmp_path, shows_home=True)
    handle = mount.open("model/file")
    mount.write(handle, 0, b"ours")
    if change == "its name":
        cluster.items[UUID] = cluster.items[UUID]._replace(name="renamed")
    else:
        cluster.owners[UUID] = "zzzzz-j7d0g-000000000000001"
    mount.clock.now += REFRESH_S + 1
    shown = {"renamed": None, "renamed/file": b"oursre"} if change == "its name" else {}
    assert mount.walk() == shown
    mount.write(handle, 6, b", more")
    mount.fsync(handle)
    assert cluster.content == {"file": b"oursre, more"}
    mount.release(handle)
    invariants.check(mount)
    mount.close()
