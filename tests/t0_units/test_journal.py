"""The journal of a mount and of one collection, and what the next mount finds of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from arvados_fuse.errors import JournalError, NoSpace
from arvados_fuse.journal import chunks, recovery
from arvados_fuse.journal.collection import CollectionJournal
from arvados_fuse.journal.journal import Journal
from arvados_fuse.journal.records import Attach, Create, Mkdir, Write
from arvados_fuse.journal.recovery import orphans
from tests.support.journals import ABOUT_US, UUID, collection_journal, orphan

USER = ABOUT_US.user_uuid


@pytest.fixture
def journal(tmp_path: Path) -> CollectionJournal:
    return collection_journal(tmp_path)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.create(tmp_path / "root", ABOUT_US, 1000)
    yield journal
    journal.close()


def write(journal: CollectionJournal, data: bytes, big: object = None) -> chunks.Chunk:
    chunk, offset = journal.append(data, big)
    journal.record(Write(1, 0, len(data), chunk.number, offset))
    return chunk


# -- which chunk


def test_small_files_share_a_chunk(journal: CollectionJournal) -> None:
    assert write(journal, b"a") is write(journal, b"b")


def test_large_files_side_by_side_have_their_own(journal: CollectionJournal) -> None:
    small, one, two = write(journal, b"a"), write(journal, b"b", "one"), write(journal, b"c", "two")
    assert len({small, one, two}) == 3
    assert write(journal, b"d", "one") is one
    assert write(journal, b"e", "two") is two
    assert write(journal, b"f") is small


def test_what_a_finished_file_leaves_of_its_chunk_is_used(journal: CollectionJournal) -> None:
    one = write(journal, b"b", "one")
    journal.finished("one")
    assert write(journal, b"c", "two") is one
    assert write(journal, b"d", "one") is not one


def test_many_large_files_share_few_chunks(journal: CollectionJournal) -> None:
    used = {write(journal, b"x", number) for _ in range(3) for number in range(40)}
    assert len(used) < 12


def test_a_full_chunk_is_complete_once(
    journal: CollectionJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_SIZE", 10)
    first = write(journal, b"12345678")
    assert journal.take_complete() == []
    second = write(journal, b"1234567890")
    assert second is not first
    assert journal.take_complete() == [first, second]
    assert journal.take_complete() == []


def test_a_piece_larger_than_a_chunk_is_a_mistake(journal: CollectionJournal) -> None:
    with pytest.raises(ValueError, match="no room"):
        journal.append(bytes(chunks.CHUNK_SIZE + 1))


# -- generations


def test_a_rotation_seals_and_a_commit_removes(journal: CollectionJournal, tmp_path: Path) -> None:
    old = write(journal, b"old")
    sealed = journal.rotate()
    assert sealed == (1, (old,))
    assert old.is_sealed
    new = write(journal, b"new")
    journal.note_committed(1, "v1", {1: "a"})
    journal.shorten()
    names = {path.name for path in (tmp_path / UUID).iterdir()}
    assert names == {"log-000002", f"chunk-{new.number:06d}"}
    assert old.read(0, 3) == b"old"
    recovered = orphan(tmp_path).read(UUID)
    assert recovered is not None
    assert (recovered.portable_data_hash, recovered.attached) == ("v1", {1: "a"})
    assert list(recovered.operations()) == [Write(1, 0, 3, new.number, 0)]


def test_a_failed_commit_is_part_of_the_next(journal: CollectionJournal) -> None:
    first = write(journal, b"first")
    journal.rotate()
    second = write(journal, b"second")
    assert journal.rotate() == (2, (first, second))
    journal.committed(2, "v2")
    assert journal.is_empty


def test_what_is_noted_as_committed_does_not_count_and_goes_later(
    journal: CollectionJournal, tmp_path: Path
) -> None:
    """Who waits for the commit need not wait until the disk has forgotten it."""
    write(journal, b"old")
    journal.note_committed(journal.rotate().generation, "v1", {})
    assert journal.is_empty
    assert (tmp_path / UUID / "log-000001").exists()
    assert orphan(tmp_path).read(UUID) is None
    new = write(journal, b"new")
    assert journal.rotate() == (2, (new,)), "the next commit has nothing to do with it"
    journal.shorten()
    names = {path.name for path in (tmp_path / UUID).iterdir()}
    assert names == {"log-000002", "log-000003", f"chunk-{new.number:06d}"}


def test_what_is_committed_is_not_brought_to_the_disk(
    journal: CollectionJournal, tmp_path: Path
) -> None:
    chunk = write(journal, b"old")
    journal.note_committed(journal.rotate().generation, "v1", {})
    new = write(journal, b"new")
    journal.sync()
    assert (chunk.is_synced, new.is_synced) == (False, True)
    recovered = orphan(tmp_path, after_power_cut=True).read(UUID)
    assert recovered is not None
    assert list(recovered.operations()) == [Write(1, 0, 3, new.number, 0)]


def test_a_generation_is_committed_only_when_sealed(journal: CollectionJournal) -> None:
    with pytest.raises(ValueError, match="not sealed"):
        journal.committed(1, "v1")


def test_a_generation_that_was_forgotten_with_a_later_one_is_no_more(
    journal: CollectionJournal, tmp_path: Path
) -> None:
    journal.rotate()
    journal.rotate()
    write(journal, b"later")
    journal.committed(2, "v2")
    journal.committed(1, "v1")
    recovered = orphan(tmp_path).read(UUID)
    assert recovered is not None
    assert recovered.portable_data_hash == "v2"


def test_bytes_stay_for_a_record_that_comes_after_the_rotation(
    journal: CollectionJournal, tmp_path: Path
) -> None:
    """The record is in the new generation, the bytes are in a chunk of the old one."""
    chunk, offset = journal.append(b"bytes")
    journal.rotate()
    journal.committed(1, "v1")
    journal.record(Write(1, 0, 5, chunk.number, offset))
    recovered = orphan(tmp_path).read(UUID)
    assert recovered is not None
    assert recovered.chunks[chunk.number].read(offset, 5) == b"bytes"
    journal.committed(journal.rotate().generation, "v2")
    assert not list((tmp_path / UUID).glob("chunk-*"))


def test_bytes_that_get_no_record_go_with_the_commit_or_after_it(
    journal: CollectionJournal, tmp_path: Path
) -> None:
    chunk, _ = journal.append(b"bytes")
    journal.committed(journal.rotate().generation, "v1")
    assert list((tmp_path / UUID).glob("chunk-*"))
    journal.abandon(chunk)
    assert not list((tmp_path / UUID).glob("chunk-*"))


def test_it_is_empty_when_all_is_committed(journal: CollectionJournal) -> None:
    assert journal.is_empty
    journal.record(Create(1, "a"))
    assert not journal.is_empty
    sealed = journal.rotate()
    assert not journal.is_empty
    journal.committed(sealed.generation, "v1")
    assert journal.is_empty


def test_nothing_can_be_done_after_a_drop(journal: CollectionJournal, tmp_path: Path) -> None:
    chunk, _ = journal.append(b"bytes")
    journal.drop()
    journal.drop()
    journal.abandon(chunk)
    assert orphan(tmp_path).collections() == []
    for use in (journal.rotate, lambda: journal.append(b"x"), lambda: journal.record(Mkdir("d"))):
        with pytest.raises(JournalError, match="closed"):
            use()
    journal.sync()


# -- of a mount


def test_it_is_private(mount: Journal) -> None:
    write(mount.collection(UUID, "v0"), b"bytes")
    assert mount.directory.parent.stat().st_mode & 0o777 == 0o700
    for path in mount.directory.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


def test_a_journal_with_nothing_left_goes(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, ABOUT_US, 1000)
    journal.collection(UUID, "v0")
    assert journal.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_is_found_once(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, ABOUT_US, 1000)
    write(journal.collection(UUID, "v0"), b"bytes")
    assert orphans(tmp_path, "zzzzz", USER) == [], "its mount lives"
    assert not journal.close()
    (left,) = orphans(tmp_path, "zzzzz", USER)
    assert left.about == ABOUT_US
    assert left.collections() == [UUID]
    assert orphans(tmp_path, "zzzzz", USER) == [], "somebody recovers it"
    assert orphans(tmp_path, "zzzzz", "zzzzz-tpzed-111111111111111") == []
    left.close()
    (again,) = orphans(tmp_path, "zzzzz", USER)
    again.discard(UUID)
    again.close()
    assert list(tmp_path.iterdir()) == []


def test_there_may_be_no_journals_at_all(tmp_path: Path) -> None:
    assert orphans(tmp_path / "missing", "zzzzz", USER) == []


def test_a_collection_has_one_journal_at_a_time(mount: Journal) -> None:
    journal = mount.collection(UUID, "v0")
    with pytest.raises(ValueError, match="already"):
        mount.collection(UUID, "v0")
    journal.drop()
    mount.collection(UUID, "v1")


def test_a_collection_that_could_not_begin_can_begin_later(
    mount: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.journals import full_disk

    with full_disk(monkeypatch, free=0), pytest.raises(NoSpace):
        mount.collection(UUID, "v0")
    mount.collection(UUID, "v0")


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b"])
def test_a_name_that_is_no_name_of_a_directory_is_a_mistake(mount: Journal, name: str) -> None:
    with pytest.raises(ValueError, match="directory"):
        mount.collection(name, "v0")


def test_room_is_that_of_all_collections(mount: Journal) -> None:
    journal = mount.collection(UUID, "v0")
    write(journal, bytes(990))
    with pytest.raises(NoSpace):
        mount.wait_for_room(10, 0)
    sealed = journal.rotate()
    journal.committed(sealed.generation, "v1")
    del sealed
    mount.wait_for_room(10, 0)
    assert mount.used_bytes < 200, "lines of the log"


# -- recovery


def test_nothing_recorded_is_nothing_to_recover(tmp_path: Path) -> None:
    collection_journal(tmp_path)
    assert orphan(tmp_path).read(UUID) is None


def test_after_a_power_cut_only_what_was_synced_counts(
    journal: CollectionJournal, tmp_path: Path
) -> None:
    journal.record(Create(1, "a"))
    journal.sync()
    journal.record(Create(2, "b"))
    left = orphan(tmp_path).read(UUID)
    assert left is not None
    assert list(left.operations()) == [Create(1, "a"), Create(2, "b")]
    cut = orphan(tmp_path, after_power_cut=True).read(UUID)
    assert cut is not None
    assert list(cut.operations()) == [Create(1, "a")]


@pytest.mark.expects_log("does not say whose")
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_a_damaged_description_does_not_stop_recovery(
    journal: CollectionJournal, tmp_path: Path, content: bytes
) -> None:
    """It is treated as after a power cut, which may be what damaged it."""
    journal.record(Create(1, "a"))
    journal.sync()
    journal.record(Create(2, "b"))
    (tmp_path / "about").write_bytes(content)
    from arvados_fuse.journal.files import OpenFile

    lock = OpenFile(tmp_path / "lock", os.open(tmp_path / "lock", os.O_RDWR))
    left = recovery.Orphan(tmp_path, lock).read(UUID)
    assert left is not None
    assert list(left.operations()) == [Create(1, "a")]


@pytest.mark.expects_log("is lost")
def test_a_log_that_is_missing_ends_it(journal: CollectionJournal, tmp_path: Path) -> None:
    """Never a mixture: what was done later does not count without what was done before."""
    for number in range(1, 4):
        journal.record(Create(number, str(number)))
        journal.rotate()
    (tmp_path / UUID / "log-000002").unlink()
    left = orphan(tmp_path).read(UUID)
    assert left is not None
    assert list(left.operations()) == [Create(1, "1")]


@pytest.mark.expects_log("bytes that are gone")
def test_a_record_without_its_bytes_ends_it(journal: CollectionJournal, tmp_path: Path) -> None:
    journal.record(Create(1, "a"))
    chunk = write(journal, b"bytes")
    journal.record(Attach(2, "b"))
    (tmp_path / UUID / f"chunk-{chunk.number:06d}").write_bytes(b"byte")
    left = orphan(tmp_path).read(UUID)
    assert left is not None
    assert list(left.operations()) == [Create(1, "a")]


def test_leftovers_of_mounts_that_died_at_work_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.create(tmp_path, ABOUT_US, 1000)
    write(journal.collection(UUID, "v0"), b"bytes")
    (journal.directory / ".dropped-1").mkdir()
    journal.close()
    (tmp_path / ".new-1").mkdir()
    (left,) = orphans(tmp_path, "zzzzz", USER)
    assert not (left.directory / ".dropped-1").exists()
    assert (tmp_path / ".new-1").exists(), "somebody may just be beginning"
    left.close()
    monkeypatch.setattr(recovery, "_UNFINISHED_AGE_S", -1.0)
    orphans(tmp_path, "zzzzz", USER)
    assert not (tmp_path / ".new-1").exists()


def test_the_description_is_for_people_too(mount: Journal) -> None:
    assert json.loads((mount.directory / "about").read_text())["mount_point"] == "/mnt/keep"
