"""Extent maps: which byte of a file that is being changed comes from where."""

from __future__ import annotations

import random

import pytest

from arvados_fuse.collection import extents
from arvados_fuse.collection.extents import Extent, ExtentMap, Pending, Spot, Stored
from arvados_fuse.collection.table import Segment
from tests.support.drafts import Blocks, Chunk

A = "a" * 32 + "+100"
B = "b" * 32 + "+100"


@pytest.fixture
def chunk():
    return Chunk(1)


def test_new_file_is_empty():
    empty = ExtentMap()
    assert (empty.size, empty.extents(), empty.pieces(0, 10), len(empty)) == (0, (), [], 0)


def test_segments_of_a_manifest_come_back():
    segments = (Segment(A, 10, 20), Segment(B, 0, 5))
    extent_map = ExtentMap.from_segments(segments)
    assert extent_map.extents() == (Extent(0, 20, Stored(A, 10)), Extent(20, 5, Stored(B, 0)))
    assert extent_map.segments() == segments


def test_append_that_goes_on_where_the_last_one_ended_is_one_extent(chunk):
    extent_map = ExtentMap()
    for start in range(0, 50, 10):
        extent_map.write(start, 10, Pending(chunk, 100 + start))
    assert extent_map.extents() == (Extent(0, 50, Pending(chunk, 100)),)


def test_bytes_of_different_chunks_never_become_one_extent(chunk):
    """Chunks of two journals can have the same number."""
    extent_map = ExtentMap()
    extent_map.write(0, 10, Pending(chunk, 0))
    extent_map.write(10, 10, Pending(Chunk(1), 10))
    assert len(extent_map) == 2


def test_overwrite_leaves_what_is_before_and_after(chunk):
    extent_map = ExtentMap.from_segments([Segment(A, 0, 100)])
    extent_map.write(40, 20, Pending(chunk, 7))
    assert extent_map.extents() == (
        Extent(0, 40, Stored(A, 0)),
        Extent(40, 20, Pending(chunk, 7)),
        Extent(60, 40, Stored(A, 60)),
    )


def test_writing_the_same_place_of_the_block_back_heals_the_cut(chunk):
    extent_map = ExtentMap.from_segments([Segment(A, 0, 100)])
    extent_map.write(40, 20, Pending(chunk, 7))
    extent_map.write(40, 20, Stored(A, 40))
    assert extent_map.extents() == (Extent(0, 100, Stored(A, 0)),)


def test_gap_before_a_write_is_a_hole(chunk):
    extent_map = ExtentMap()
    extent_map.write(30, 10, Pending(chunk, 0))
    assert extent_map.extents() == (Extent(0, 30, None), Extent(30, 10, Pending(chunk, 0)))
    assert extent_map.has_holes()


def test_write_of_nothing_changes_nothing(chunk):
    extent_map = ExtentMap()
    extent_map.write(30, 0, Pending(chunk, 0))
    assert extent_map.size == 0


def test_truncate_cuts_off_and_lengthens_by_a_hole():
    extent_map = ExtentMap.from_segments([Segment(A, 0, 50), Segment(B, 0, 50)])
    extent_map.truncate(50)
    extent_map.truncate(20)
    extent_map.truncate(30)
    assert extent_map.extents() == (Extent(0, 20, Stored(A, 0)), Extent(20, 10, None))
    extent_map.truncate(0)
    assert (extent_map.extents(), extent_map.size) == ((), 0)


def test_pieces_are_cut_to_the_range_and_to_the_file():
    extent_map = ExtentMap.from_segments([Segment(A, 0, 50), Segment(B, 7, 50)])
    assert extent_map.pieces(40, 60) == [
        Extent(40, 10, Stored(A, 40)),
        Extent(50, 10, Stored(B, 7)),
    ]
    assert extent_map.pieces(95, 200) == [Extent(95, 5, Stored(B, 52))]
    assert extent_map.pieces(100, 200) == extent_map.pieces(60, 60) == []


class TestPlace:
    """A chunk has become blocks of Keep."""

    def test_what_was_pending_is_stored(self, chunk):
        extent_map = ExtentMap()
        extent_map.write(0, 10, Pending(chunk, 5))
        assert extent_map.place(chunk, [Spot(0, 100, Stored(A, 0))])
        assert extent_map.segments() == (Segment(A, 5, 10),)
        assert extent_map.pending_chunks() == set()

    def test_chunk_may_have_gone_to_several_blocks(self, chunk):
        extent_map = ExtentMap()
        extent_map.write(0, 30, Pending(chunk, 5))
        spots = [Spot(0, 10, Stored(A, 50)), Spot(10, 10, Stored(B, 0)), Spot(20, 20, Stored(A, 0))]
        extent_map.place(chunk, spots)
        assert extent_map.segments() == (Segment(A, 55, 5), Segment(B, 0, 10), Segment(A, 0, 15))

    def test_what_no_spot_covers_stays_pending(self, chunk):
        extent_map = ExtentMap()
        extent_map.write(0, 30, Pending(chunk, 0))
        extent_map.place(chunk, [Spot(10, 5, Stored(A, 0)), Spot(20, 5, Stored(B, 0))])
        assert [extent.source for extent in extent_map.extents()] == [
            Pending(chunk, 0),
            Stored(A, 0),
            Pending(chunk, 15),
            Stored(B, 0),
            Pending(chunk, 25),
        ]
        with pytest.raises(ValueError, match="in no block"):
            extent_map.segments()

    def test_other_chunks_are_left_alone(self, chunk):
        extent_map = ExtentMap()
        extent_map.write(0, 30, Pending(Chunk(1), 0))
        assert not extent_map.place(chunk, [Spot(0, 100, Stored(A, 0))])
        assert len(extent_map.pending_chunks()) == 1


def test_holes_become_blocks_of_zeros(monkeypatch):
    """A large hole is the same block several times."""
    monkeypatch.setattr(extents, "MAX_BLOCK", 16)
    extent_map = ExtentMap.from_segments([Segment(A, 0, 10)])
    extent_map.truncate(50)
    extent_map.write(50, 10, Stored(B, 0))
    asked = []

    def zeros(size):
        asked.append(size)
        return f"{'0' * 32}+{size}"

    extent_map.fill_holes(zeros)
    zero = "0" * 32 + "+16"
    assert extent_map.segments() == (
        Segment(A, 0, 10),
        Segment(zero, 0, 16),
        Segment(zero, 0, 16),
        Segment(zero, 0, 8),
        Segment(B, 0, 10),
    )
    assert asked == [16]


def test_copy_is_a_map_of_its_own(chunk):
    extent_map = ExtentMap.from_segments([Segment(A, 0, 100)])
    copied = extent_map.copy()
    copied.write(10, 10, Pending(chunk, 0))
    copied.truncate(50)
    assert extent_map.segments() == (Segment(A, 0, 100),)


CHANGES = {
    "written": lambda extent_map, chunk: extent_map.write(10, 10, Pending(chunk, 500)),
    "appended to": lambda extent_map, chunk: extent_map.write(300, 10, Pending(chunk, 500)),
    "cut off": lambda extent_map, chunk: extent_map.truncate(50),
    "lengthened": lambda extent_map, chunk: extent_map.truncate(500),
    "placed": lambda extent_map, chunk: extent_map.place(chunk, [Spot(0, 100, Stored(B, 0))]),
    "filled": lambda extent_map, chunk: extent_map.fill_holes(lambda size: B),
    "signed": lambda extent_map, chunk: extent_map.sign({A: A + "+Asignature@0"}),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("changes_copy", [True, False])
def test_copies_share_no_change(chunk, change, changes_copy):
    """Neither sees what is done to the other, whichever is changed, and changed once more."""
    extent_map = ExtentMap.from_segments([Segment(A, 0, 100)])
    extent_map.write(100, 100, Pending(chunk, 0))
    extent_map.truncate(300)
    before = extent_map.extents()
    copied = extent_map.copy()
    changed, other = (copied, extent_map) if changes_copy else (extent_map, copied)
    CHANGES[change](changed, chunk)
    assert changed.extents() != before
    assert other.extents() == before
    after = changed.extents()
    other.write(0, 5, Pending(chunk, 700))
    other.sign({A: A + "+Aother@0"})
    assert changed.extents() == after


@pytest.mark.parametrize("seed", range(5))
def test_many_changes_of_a_file_of_thousands_of_extents(seed):
    """The map is kept in pages: it must be right where they meet."""
    chance = random.Random(seed)
    blocks, chunk, model = Blocks(), Chunk(1), bytearray()
    extent_map = ExtentMap()
    most = 0
    for round_ in range(4000):
        start = chance.randrange(30000)
        if chance.random() < 0.0005:
            extent_map.truncate(start)
            model = model[:start].ljust(start, b"\0")
        else:
            size = chance.choice([1, 1, 2, 5, 9000 if chance.random() < 0.002 else 3])
            data = chance.randbytes(size)
            extent_map.write(start, size, chunk.append(data))
            model = model.ljust(start, b"\0")
            model[start : start + size] = data
        assert extent_map.size == len(model)
        if round_ % 10 == 0:
            pieces = extent_map.pieces(start, start + 500)
            got = b"".join(blocks.read(piece.source, piece.size) for piece in pieces)
            assert got == model[start : start + 500]
            most = max(most, len(extent_map))
    assert blocks.read_map(extent_map) == model
    assert most > 1000
