"""Chunks and logs: the files of a journal."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from arvados_fuse.errors import JournalError, NoSpace
from arvados_fuse.journal import chunks
from arvados_fuse.journal.chunks import create_chunk, open_chunk
from arvados_fuse.journal.log import Log, create_log, read_log
from arvados_fuse.journal.records import (
    Attach,
    Based,
    Closed,
    Create,
    Mkdir,
    Receive,
    Record,
    Remove,
    Rename,
    Rmdir,
    Synced,
    Times,
    Truncate,
    Unlink,
    Write,
    decode,
)
from arvados_fuse.journal.room import Room
from tests.support.journals import full_disk

ODD = "dir/a \\ \n\0\x7f é \u3000 \udcff \N{GRINNING FACE}"
RECORDS: list[Record] = [
    Based("d41d8cd98f00b204e9800998ecf8427e+0", {1: "a", 12: ODD}),
    Create(1, ODD),
    Attach(2, "a"),
    Write(1, 1 << 40, 131072, 3, 67108000),
    Truncate(1, 0),
    Mkdir(ODD),
    Unlink(ODD),
    Rmdir(""),
    Rename(ODD, "b"),
    Receive(ODD, "u", ("", ODD), {"f": ((f"{'0' * 32}+3+A1@2", 1, 2),), ODD: ()}),
    Receive("a", "u", (), {"": ()}),
    Remove(ODD),
    Times("a", 1_700_000_000_123_456_789),
    Synced(1234),
    Closed(),
]


def records(path: Path) -> list[Record]:
    return [line.record for line in read_log(path)]


def whole_log(directory: Path) -> tuple[Path, list[int]]:
    """A log with all records, and where each line ends."""
    log = create_log(directory, 1, Room(0))
    ends = []
    for record in RECORDS:
        log.append(record)
        ends.append(log.size)
    return directory / "log-000001", ends


# -- logs


def test_every_record_comes_back(tmp_path: Path) -> None:
    path, ends = whole_log(tmp_path)
    assert list(read_log(path)) == list(zip(ends, RECORDS, strict=True))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_torn_log_ends_with_its_last_whole_line(tmp_path: Path) -> None:
    """At whatever byte it is torn."""
    path, ends = whole_log(tmp_path)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        assert records(path) == RECORDS[: sum(end <= size for end in ends)]


@pytest.mark.parametrize("bit", [0x01, 0x20, 0x80])
def test_a_log_ends_before_a_line_that_is_damaged(tmp_path: Path, bit: int) -> None:
    """At whatever byte: a bit that flipped there is seen."""
    path, ends = whole_log(tmp_path)
    content = bytearray(path.read_bytes())
    for position in range(len(content)):
        content[position] ^= bit
        path.write_bytes(content)
        content[position] ^= bit
        assert records(path) == RECORDS[: sum(end <= position for end in ends)]


def test_a_line_counts_only_after_the_lines_that_it_was_written_after(tmp_path: Path) -> None:
    path, ends = whole_log(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: ends[1]] + content[ends[2] :])
    assert records(path) == RECORDS[:2]


@pytest.mark.parametrize("free", [0, 1, 20])
def test_a_failed_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    room = Room(0)
    log = create_log(tmp_path, 1, room)
    log.append(RECORDS[0])
    size = log.size
    with full_disk(monkeypatch, free), pytest.raises(NoSpace):
        log.append(RECORDS[1])
    assert (tmp_path / "log-000001").stat().st_size == size == log.size == room.used_bytes
    log.append(RECORDS[2])
    assert records(tmp_path / "log-000001") == [RECORDS[0], RECORDS[2]]


@pytest.mark.parametrize(
    "line", [b'["later",1]', b"[]", b"1", b'["create",1]', b'["based","x",3]', b"{}"]
)
def test_a_line_of_another_version_is_an_error_and_no_end(tmp_path: Path, line: bytes) -> None:
    """To go on without what it says could lose it."""
    import zlib

    with pytest.raises(ValueError, match="not known"):
        decode(line)
    path = tmp_path / "log-000001"
    path.write_bytes(b"%08x %s\n" % (zlib.crc32(line), line))
    with pytest.raises(JournalError, match="version of arv-mount"):
        records(path)


def test_bytes_of_a_log_count_until_it_is_gone(tmp_path: Path) -> None:
    room = Room(0)
    log: Log | None = create_log(tmp_path, 1, room)
    assert log is not None
    log.append(RECORDS[0])
    log.remove()
    assert room.used_bytes == log.size
    log = None
    assert room.used_bytes == 0


# -- chunks


def test_bytes_stand_one_after_the_other(tmp_path: Path) -> None:
    chunk = create_chunk(tmp_path, 7, Room(0))
    assert [chunk.append(data) for data in (b"first", bytearray(b"second"), b"")] == [0, 5, 11]
    assert (chunk.number, chunk.size) == (7, 11)
    assert chunk.read(0, 5) == b"first"
    assert chunk.read(5, 6) == b"second"
    with chunk.view() as view:
        assert view == b"firstsecond"
        assert view.readonly
    assert (tmp_path / "chunk-000007").stat().st_mode & 0o777 == 0o600


def test_an_empty_chunk_has_an_empty_view(tmp_path: Path) -> None:
    with create_chunk(tmp_path, 1, Room(0)).view() as view:
        assert view == b""


def test_what_does_not_fit_seals_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_SIZE", 10)
    chunk = create_chunk(tmp_path, 1, Room(0))
    assert chunk.append(b"12345678") == 0
    assert chunk.append(b"123") is None
    assert chunk.append(b"1") is None, "it is sealed"
    assert chunk.size == 8
    assert not chunk.is_full


def test_a_removed_chunk_can_be_read_as_long_as_somebody_has_it(tmp_path: Path) -> None:
    room = Room(0)
    chunk = create_chunk(tmp_path, 1, room)
    chunk.append(b"bytes")
    chunk.remove()
    assert not list(tmp_path.iterdir())
    assert chunk.read(1, 3) == b"yte"
    with chunk.view() as view:
        assert view == b"bytes"
    assert room.used_bytes == 5, "the disk does not have them back yet"
    del chunk, view
    assert room.used_bytes == 0


def test_a_failed_append_leaves_the_chunk_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room(0)
    chunk = create_chunk(tmp_path, 1, room)
    chunk.append(b"bytes")
    with full_disk(monkeypatch, free=3), pytest.raises(NoSpace):
        chunk.append(b"more bytes")
    assert (chunk.size, chunk.unrecorded, room.used_bytes) == (5, 1, 5)
    assert chunk.append(b"other") == 5
    assert chunk.read(0, 10) == b"bytesother"


def test_a_chunk_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    chunk = create_chunk(tmp_path, 1, Room(0))
    chunk.append(b"bytes")
    (tmp_path / "chunk-000001").write_bytes(b"by")
    with pytest.raises(JournalError, match="shorter"):
        chunk.read(0, 5)


def test_a_chunk_of_another_mount_gets_no_more(tmp_path: Path) -> None:
    create_chunk(tmp_path, 1, Room(0)).append(b"bytes")
    chunk = open_chunk(tmp_path, 1)
    assert chunk.append(b"more") is None
    assert chunk.read(0, chunk.size) == b"bytes"


# -- room


def test_room_is_waited_for_until_bytes_are_given_back() -> None:
    import threading

    room = Room(10)
    room.wait(100, 0)  # nothing is held: anything may come
    room.take(8)
    room.wait(2, 0)
    with pytest.raises(NoSpace, match="10 bytes"):
        room.wait(3, 0.01)
    waiting = threading.Thread(target=room.wait, args=(3, 60))
    waiting.start()
    room.give_back(1)
    waiting.join(20)
    assert not waiting.is_alive()
    assert room.used_bytes == 7


def test_closing_ends_the_wait() -> None:
    room = Room(10)
    room.take(10)
    room.close()
    with pytest.raises(NoSpace, match="ending"):
        room.wait(1, 60)


def test_who_waits_for_room_waits_no_longer_than_said_whoever_looks_meanwhile():
    room = Room(1)
    room.take(2)
    is_over = threading.Event()

    def wait() -> None:
        while not is_over.is_set():
            with suppress(NoSpace):
                room.wait(1, 0.0001)

    waiting = [threading.Thread(target=wait, daemon=True) for _ in range(3)]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for each in waiting:
            each.start()
        for _ in range(2000):
            room.take(1)
            room.give_back(1)
            assert room.used_bytes >= 2
    finally:
        sys.setswitchinterval(interval_s)
        is_over.set()
    for each in waiting:
        each.join(20.0)
        assert not each.is_alive()
