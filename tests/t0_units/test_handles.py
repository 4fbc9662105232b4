"""Open files: which bytes of which block a read is answered with, and what happens to bad ones."""

import hashlib
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arvados_fuse import handles
from arvados_fuse.collection.tree import Segment
from arvados_fuse.errors import AccessRefused, BlockCorrupt, BlockLost, ManifestError
from arvados_fuse.fresh import FreshBase
from arvados_fuse.fusedir.listing import Listing
from arvados_fuse.fusefile import File, StringFile
from arvados_fuse.handles import BytesHandle, DirectoryHandle, SegmentsHandle, open_file
from tests.support.fakes import FakeBlock, FakeBlocks, FakeKernel
from tests.support.locks import FileSystemLock

INODE = 42


class KeepFile(File):
    """A file with these segments."""

    def __init__(self, segments):
        super().__init__(None)
        self.segments = segments
        self.signed = segments
        self.versions = []
        self.inode = INODE

    def content(self):
        return self.segments

    @property
    def version(self):
        return "the version that was opened"

    def signed_anew(self, segments, version):
        self.versions.append(version)
        return self.signed


class Keep:
    """Blocks, files over them, and the parts that their handles need."""

    def __init__(self):
        self.blocks = FakeBlocks()
        self.kernel = FakeKernel()
        self.lock = FileSystemLock()

    def segment(self, block: bytes, offset: int = 0, size: int | None = None) -> Segment:
        size = len(block) - offset if size is None else size
        return Segment(self.blocks.add(block), offset, size)

    def block(self, content: bytes) -> FakeBlock:
        return self.blocks.blocks[hashlib.md5(content).hexdigest()]

    def open(self, *segments: Segment, unlocked=None) -> SegmentsHandle:
        handle = open_file(KeepFile(segments), self.blocks, unlocked or nullcontext(), self.kernel)
        assert isinstance(handle, SegmentsHandle)
        return handle


@pytest.fixture
def keep():
    return Keep()


class TestSignatures:
    """A block is refused as long as its locator has the old signature."""

    @pytest.fixture
    def handle(self, keep, monkeypatch):
        segment = keep.segment(b"content")
        good = keep.blocks.get
        old, new = segment._replace(locator=segment.locator + "+Aold@1"), segment

        def get(locator):
            refused = FakeBlock(AccessRefused("the signature has expired"))
            return refused if "+Aold" in locator else good(locator)

        monkeypatch.setattr(keep.blocks, "get", get)
        handle = keep.open(old)
        handle.thing.signed = [new]
        return handle

    def test_that_have_run_out_are_replaced(self, handle):
        assert bytes(handle.read(0, 7)) == b"content"
        assert handle.thing.versions == ["the version that was opened"]

    def test_that_are_replaced_by_other_segments_of_the_same_bytes(self, keep, monkeypatch):
        """As when small blocks were put together meanwhile."""
        good = keep.blocks.get
        old = [keep.segment(part)._replace(locator=f"{part!r}+Aold@1") for part in (b"ab", b"cde")]
        monkeypatch.setattr(
            keep.blocks,
            "get",
            lambda locator: (
                FakeBlock(AccessRefused("expired")) if "+Aold" in locator else good(locator)
            ),
        )
        handle = keep.open(*old)
        handle.thing.signed = [keep.segment(b"abcde")]
        assert [bytes(handle.read(start, 2)) for start in (1, 3, 0, 4)] == [
            *(b"bc", b"de", b"ab", b"e"),
        ]

    def test_that_cannot_be_replaced_fail_the_read(self, handle):
        handle.thing.signed = None
        with pytest.raises(AccessRefused, match="expired"):
            handle.read(0, 7)


class TestReadAhead:
    """A file of eight segments of four bytes, each in a block of its own."""

    @pytest.fixture
    def segments(self, keep):
        return [keep.segment(bytes([65 + number] * 4)) for number in range(8)]

    @pytest.fixture
    def handle(self, keep, segments):
        return keep.open(*segments)

    def asked(self, keep, segments):
        """The numbers of the segments whose blocks were asked for, in order, each once."""
        numbers = [[s.locator for s in segments].index(locator) for locator in keep.blocks.asked]
        return list(dict.fromkeys(numbers))

    def test_the_first_segment_alone_says_nothing(self, keep, segments, handle):
        handle.read(0, 2)
        handle.read(2, 2)
        assert self.asked(keep, segments) == [0]

    def test_a_long_stretch_of_the_first_segment_does(self, keep, segments, handle, monkeypatch):
        monkeypatch.setattr(handles, "SURE_BYTES", 3)
        keep.block(b"AAAA").view = None  # still arriving: resident blocks need no foresight
        handle.read(0, 1)
        handle.read(1, 1)
        assert self.asked(keep, segments) == [0]
        handle.read(2, 1)
        assert self.asked(keep, segments) == [0, 1]

    def test_a_stretch_from_the_middle_does_not(self, keep, segments, handle, monkeypatch):
        monkeypatch.setattr(handles, "SURE_BYTES", 2)
        keep.block(b"AAAA").view = None
        handle.read(2, 1)
        handle.read(3, 1)
        assert self.asked(keep, segments) == [0]

    def test_widens_with_each_segment_that_is_reached_in_order(self, keep, segments, handle):
        handle.read(0, 4)
        handle.read(4, 4)
        assert self.asked(keep, segments) == [0, 1, 2]
        handle.read(8, 4)
        assert self.asked(keep, segments) == [0, 1, 2, 3, 4]
        handle.read(12, 4)
        assert self.asked(keep, segments) == [0, 1, 2, 3, 4, 5, 6]

    def test_a_read_over_the_border_is_in_order_too(self, keep, segments, handle):
        handle.read(0, 3)
        handle.read(3, 3)
        assert self.asked(keep, segments) == [0, 1, 2]

    def test_random_reads_ask_for_nothing_ahead(self, keep, segments, handle):
        for number in (3, 7, 1, 5, 0):
            handle.read(number * 4 + 1, 2)
        assert self.asked(keep, segments) == [3, 7, 1, 5, 0]

    def test_a_jump_ends_it(self, keep, segments, handle):
        handle.read(0, 8)
        handle.read(20, 2)
        keep.blocks.asked.clear()
        handle.read(0, 4)
        handle.read(4, 4)
        assert self.asked(keep, segments) == [0, 1, 2]

    def test_the_kernels_reads_side_by_side_do_not_end_it(self, keep, segments, handle):
        handle.read(0, 4)
        handle.read(4, 2)
        handle.read(2, 2)
        handle.read(6, 2)
        handle.read(8, 4)
        assert self.asked(keep, segments) == [0, 1, 2, 3, 4]

    def test_a_cache_of_few_blocks_gets_little_ahead(self, keep, segments):
        keep.blocks.capacity = 4
        handle = keep.open(*segments)
        for number in range(4):
            handle.read(number * 4, 4)
        assert self.asked(keep, segments) == [0, 1, 2, 3, 4]

    def test_what_cannot_be_asked_for_fails_when_it_is_read_and_not_before(self, keep, segments):
        bad = segments[2]._replace(locator="no locator")
        handle = keep.open(*segments[:2], bad)
        asked = keep.blocks.get

        def get(locator):
            if locator == "no locator":
                raise ManifestError("no locator")
            return asked(locator)

        keep.blocks.get = get
        assert bytes(handle.read(0, 8)) == b"AAAABBBB"
        with pytest.raises(ManifestError):
            handle.read(8, 1)


class TestReading:
    def test_reads_lie_in_blocks_at_the_offset_of_their_segment(self, keep):
        handle = keep.open(keep.segment(b"abcdefgh", 2, 4))
        assert bytes(handle.read(0, 4)) == b"cdef"
        assert bytes(handle.read(1, 2)) == b"de"

    def test_reads_go_over_the_borders_of_segments(self, keep):
        handle = keep.open(
            keep.segment(b"abcdefgh", 2, 3), keep.segment(b"12345"), keep.segment(b"xyz", 1, 1)
        )
        assert bytes(handle.read(0, 100)) == b"cde12345y"
        assert bytes(handle.read(2, 2)) == b"e1"
        assert bytes(handle.read(7, 2)) == b"5y"

    def test_one_block_may_be_there_several_times(self, keep):
        segment = keep.segment(b"ab")
        assert bytes(keep.open(segment, segment, segment).read(1, 4)) == b"baba"

    @pytest.mark.parametrize("offset", [5, 6, 1000])
    def test_at_and_after_the_end_there_is_nothing(self, keep, offset):
        assert bytes(keep.open(keep.segment(b"12345")).read(offset, 10)) == b""

    def test_an_empty_file_asks_for_no_block(self, keep):
        assert bytes(keep.open().read(0, 10)) == b""
        assert keep.blocks.asked == []

    def test_a_read_of_one_resident_block_copies_nothing_and_keeps_the_lock(self, keep):
        content = b"12345"
        handle = keep.open(keep.segment(content), unlocked=keep.lock.unlocked)
        view = handle.read(1, 3)
        assert isinstance(view, memoryview)
        assert view.obj is keep.block(content).view.obj
        assert keep.lock.released == 0

    def test_the_next_read_of_the_block_does_not_ask_the_cache_and_marks_the_block(self, keep):
        content = b"1234567890"
        handle = keep.open(keep.segment(content))
        handle.read(0, 3)
        block = keep.block(content)
        asked = len(keep.blocks.asked)
        block.used = False
        assert bytes(handle.read(3, 3)) == b"456"
        assert block.used
        assert len(keep.blocks.asked) == asked

    def test_a_block_on_its_way_is_waited_for_without_the_lock(self, keep):
        handle = keep.open(keep.segment(b"12345", 1), unlocked=keep.lock.unlocked)
        keep.block(b"12345").view = None
        with keep.lock:
            assert bytes(handle.read(1, 2)) == b"34"
            assert keep.lock.held()
        assert keep.lock.released == 1

    def test_an_evicted_block_is_asked_for_again(self, keep):
        content = b"12345"
        handle = keep.open(keep.segment(content))
        handle.read(0, 2)
        keep.block(content).view = None
        asked = len(keep.blocks.asked)
        assert bytes(handle.read(2, 2)) == b"34"
        assert len(keep.blocks.asked) == asked + 1
        assert keep.block(content).witnesses == [handle]

    def test_a_block_that_cannot_be_had_fails_its_reads_and_no_others(self, keep):
        good, lost = keep.segment(b"good"), keep.segment(b"lost")
        keep.blocks.blocks[lost.locator[:32]] = FakeBlock(BlockLost("nobody has it"))
        handle = keep.open(good, lost)
        assert bytes(handle.read(0, 4)) == b"good"
        for offset in (0, 4):
            with pytest.raises(BlockLost, match="nobody has it"):
                handle.read(offset, 8)
        assert bytes(handle.read(1, 2)) == b"oo"


CONTENTS = st.binary(min_size=1, max_size=30)


@st.composite
def segment_list(draw):
    """Blocks with the part of each that belongs to the file: (block, offset, size)."""
    parts = []
    for block in draw(st.lists(CONTENTS, max_size=8)):
        offset = draw(st.integers(0, len(block) - 1))
        parts.append((block, offset, draw(st.integers(1, len(block) - offset))))
    return parts


@given(
    parts=segment_list(),
    reads=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 150), st.booleans()), max_size=20),
)
def test_any_read_is_the_slice_of_the_joined_segments(parts, reads):
    """Whatever was read before, and whether or not the block is still resident."""
    keep = Keep()
    handle = keep.open(*(keep.segment(*part) for part in parts))
    whole = b"".join(block[offset : offset + size] for block, offset, size in parts)
    for offset, size, resident in reads:
        for block, _, _ in parts:
            keep.block(block).view = memoryview(block) if resident else None
        assert bytes(handle.read(offset, size)) == whole[offset : offset + size]


class TestPoison:
    """Bytes were handed out before the block's checksum was known, and it turned out wrong."""

    WRONG = BlockCorrupt("no good copy of block x")

    @pytest.mark.parametrize("offset", [0, 1, 4, 100])
    def test_every_later_read_fails(self, keep, offset):
        handle = keep.open(keep.segment(b"12345"))
        handle.read(0, 2)
        handle.poison(self.WRONG)
        for _ in range(2):
            with pytest.raises(BlockCorrupt, match="no good copy"):
                handle.read(offset, 2)

    def test_each_read_raises_an_exception_of_its_own(self, keep):
        handle = keep.open(keep.segment(b"12345"))
        handle.poison(self.WRONG)
        errors = set()
        for _ in range(2):
            with pytest.raises(BlockCorrupt) as caught:
                handle.read(0, 2)
            errors.add(id(caught.value))
            assert caught.value is not self.WRONG

    def test_the_kernel_drops_its_pages(self, keep):
        keep.open(keep.segment(b"12345")).poison(self.WRONG)
        assert keep.kernel.inodes == [INODE]

    def test_a_read_that_is_under_way_fails(self, keep):
        handle = keep.open(keep.segment(b"12345"), keep.segment(b"67890"))
        block = keep.block(b"67890")
        block.view = None
        read = block.read

        def read_and_poison(start, end, witness):
            witness.poison(self.WRONG)
            return read(start, end, witness)

        block.read = read_and_poison
        with pytest.raises(BlockCorrupt):
            handle.read(0, 10)

    def test_other_handles_of_the_file_go_on(self, keep):
        segment = keep.segment(b"12345")
        poisoned, other = keep.open(segment), keep.open(segment)
        poisoned.poison(self.WRONG)
        assert bytes(other.read(0, 5)) == b"12345"


class TestTextsAndDirectories:
    def test_a_text_is_read_from_memory(self, keep):
        file = StringFile(None, "README", "größe", 0)
        handle = open_file(file, keep.blocks, nullcontext(), keep.kernel)
        assert isinstance(handle, BytesHandle)
        assert handle.thing is file
        assert bytes(handle.read(0, 100)) == "größe".encode()
        assert bytes(handle.read(2, 2)) == "ö".encode()
        assert bytes(handle.read(100, 2)) == b""

    def test_a_directory_handle_keeps_the_listing_of_its_opening_until_it_is_rewound(self):
        directory = Changing()
        handle = DirectoryHandle(directory)
        for position, number in [(0, 1), (2, 1), (7, 1), (0, 2), (1, 2), (0, 3)]:
            handle.read_from(position)
            assert handle.listing.directory_inodes == [number]


class Changing(FreshBase):
    """A directory that holds something else each time that it is listed."""

    def __init__(self):
        super().__init__(None)
        self.count = 0

    def open_listing(self):
        self.count += 1
        return Listing(["a"], [self.count], [], [])
