"""What an open file descriptor pins.

A handle is made by open or opendir and lives until the last close. It holds the version that was
opened, whatever happens to the collection meanwhile. Handles are called with the file system's
lock held; where a read has to wait for a block, it gives the lock up.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from arvados_fuse.collection.extents import Pending
from arvados_fuse.errors import AccessRefused, FileSystemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arvados_fuse.collection.draft import DraftFile
    from arvados_fuse.collection.extents import Extent
    from arvados_fuse.collection.tree import Segment
    from arvados_fuse.fresh import KernelNotifier, Unlocked
    from arvados_fuse.fusedir.directory import Directory
    from arvados_fuse.fusefile import File
    from arvados_fuse.keep.cache import Block, BlockCache

__all__ = ["BytesHandle", "DirectoryHandle", "FileHandle", "SegmentsHandle", "open_file"]

WIDEST_READ_AHEAD = 3
"""Segments asked for ahead of a sequential reader: what two cores can check while one is read
(measured: benchmarks/block_path.py). A cache that holds few blocks gets fewer."""

SURE_BYTES = 4 << 20
"""Who has read so much from the beginning of a segment is going to read on."""


class FileHandle(Protocol):
    """An open file."""

    @property
    def thing(self) -> File:
        """The file that it was opened on."""

    @property
    def writing(self) -> bool:
        """Whether it was opened to be written to."""

    def read(self, offset: int, size: int) -> bytes | memoryview:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""


def open_file(
    file: File,
    blocks: BlockCache,
    unlocked: Unlocked,
    kernel: KernelNotifier,
    *,
    writing: bool = False,
) -> FileHandle:
    """Open `file`. Raises ManifestError if its content cannot be found out.

    writing: whether the handle may be written to
    """
    content = file.content()
    if isinstance(content, bytes):
        return BytesHandle(file, content, writing=writing)
    return SegmentsHandle(file, content, blocks, unlocked, kernel, writing=writing)


class BytesHandle:
    """An open file whose content is in memory."""

    __slots__ = ("_content", "thing", "writing")

    def __init__(self, file: File, content: bytes, *, writing: bool = False) -> None:
        self.thing = file
        self.writing = writing
        self._content = memoryview(content)

    def read(self, offset: int, size: int) -> memoryview:
        """Up to `size` bytes from `offset`."""
        return self._content[offset : offset + size]


class ReadAhead:
    """Which segments a reader is going to want, judged by the order in which it reads.

    Who enters a segment at its first byte, just after the one before it, reads in order: the next
    segment is asked for, and with each further one another, up to `widest`. In the first segment a
    stretch of `SURE_BYTES` read from its beginning tells as much. Any jump ends it all. So random
    readers cause no request but their own.
    """

    __slots__ = ("_at_start", "_last", "_seen", "_widest", "_width")

    def __init__(self, widest: int) -> None:
        self._widest = widest
        self._width = 0
        self._last = -1  # the segment that is being read
        self._at_start = False  # whether it was entered at its first byte
        self._seen = 0  # bytes read from it

    def reading(self, number: int, offset: int, size: int) -> range:
        """Note that `size` bytes are read at byte `offset` of segment `number`.

        Returns the numbers of the segments to ask for now.
        """
        if number == self._last:
            self._seen += size
            # What is read side by side may come out of order, but not from far ahead.
            in_order = self._at_start and offset <= 2 * self._seen
            if self._width or not in_order or self._seen < SURE_BYTES:
                return range(0)
            self._width = min(1, self._widest)
        elif number == self._last - 1:
            return range(0)  # a piece of the segment before, asked for side by side
        else:
            follows = self._last >= 0 and number == self._last + 1 and offset == 0
            self._width = min(self._width + 1, self._widest) if follows else 0
            self._last, self._at_start, self._seen = number, offset == 0, size
        return range(number + 1, number + 1 + self._width)


class SegmentsHandle:
    """An open file whose content is in Keep blocks.

    The handle remembers the segment that it read last, as (first, end, shift, block): file offsets
    `first` up to `end` are bytes of `block`, `shift` less. One read after the other then
    costs two comparisons and a slice. The tuple is replaced as a whole, because several threads
    may read one handle at a time.

    As a witness of the block cache it is told when bytes that it passed on turn out to be wrong;
    from then on every read fails, and the kernel is told to drop the pages it may hold.
    """

    __slots__ = (
        "__weakref__",
        "_blocks",
        "_current",
        "_error",
        "_inode",
        "_kernel",
        "_read_ahead",
        "_segments",
        "_size",
        "_starts",
        "_unlocked",
        "_version",
        "thing",
        "writing",
    )

    def __init__(
        self,
        file: File,
        segments: Sequence[Segment],
        blocks: BlockCache,
        unlocked: Unlocked,
        kernel: KernelNotifier,
        *,
        writing: bool = False,
    ) -> None:
        self.thing = file
        self._inode = file.inode
        self._version = file.version
        self._segments = segments
        self._starts = _starts(segments)
        self._size = sum(segment.size for segment in segments)
        self._blocks = blocks
        self._unlocked = unlocked
        self._kernel = kernel
        self._current: tuple[int, int, int, Block | None] = (0, 0, 0, None)
        self._error: FileSystemError | None = None
        self.writing = writing
        self._read_ahead = ReadAhead(min(WIDEST_READ_AHEAD, blocks.capacity // 4))

    def read(self, offset: int, size: int) -> bytes | memoryview:
        """Up to `size` bytes from `offset`.

        Raises the errors of `keep.cache.Block.read` when a block cannot be had.
        """
        draft = self.thing.draft
        if draft is not None:
            return self._read_draft(draft, offset, size)
        end = offset + size
        if end > self._size:
            end = self._size
        first, last, shift, block = self._current
        if first <= offset < end <= last and block is not None:
            view = block.view
            if view is not None:
                block.used = True
                return view[offset - shift : end - shift]
        return self._read_pieces(offset, end)

    def poison(self, error: FileSystemError) -> None:
        """Fail every read from now on: bytes that were handed out were wrong. Any thread."""
        self._error = error
        self._size = 0  # sends every read to the slow path, where the error is raised
        self.thing.doubt()
        self._kernel.invalidate_inode(self._inode)

    def _read_pieces(self, offset: int, end: int) -> bytes | memoryview:
        try:
            pieces = self._pieces(offset, end)
        except AccessRefused:
            # The block signatures may have run out, in a file that is open for days.
            segments = self.thing.signed_anew(self._segments, self._version)
            if segments is None:
                raise
            self._segments, self._starts = segments, _starts(segments)
            pieces = self._pieces(offset, end)
        if self._error is not None:
            raise type(self._error)(*self._error.args)
        if not pieces:
            return b""
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _pieces(self, offset: int, end: int) -> list[memoryview]:
        pieces: list[memoryview] = []
        while offset < end:
            piece = self._read_piece(offset, end)
            pieces.append(piece)
            offset += len(piece)
        return pieces

    def _read_draft(self, draft: DraftFile, offset: int, size: int) -> bytes | memoryview:
        """Read what was changed here, as it is now."""
        try:
            pieces = self._draft_pieces(draft, offset, size)
        except AccessRefused:
            self.thing.sign_changes_anew()
            pieces = self._draft_pieces(self.thing.draft or draft, offset, size)
        if self._error is not None:
            raise type(self._error)(*self._error.args)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _draft_pieces(self, draft: DraftFile, offset: int, size: int) -> list[bytes | memoryview]:
        return [self._read_extent(e) for e in draft.extents.pieces(offset, offset + size)]

    def _read_extent(self, extent: Extent) -> bytes | memoryview:
        source = extent.source
        if source is None:
            return bytes(extent.size)
        if isinstance(source, Pending):
            with self._unlocked:
                return source.chunk.read(source.offset, extent.size)
        block = self._blocks.get(source.locator)
        start, stop = source.offset, source.offset + extent.size
        view = block.view
        if view is not None:
            return view[start:stop]
        with self._unlocked:
            return block.read(start, stop, self)

    def _read_piece(self, offset: int, end: int) -> memoryview:
        # Asking for the block again is right also when the segment is the one of last time: the
        # block may have been evicted since.
        _, last, shift, block = self._current = self._locate(offset, end - offset)
        start, stop = offset - shift, min(end, last) - shift
        view = block.view
        if view is not None:
            return view[start:stop]
        with self._unlocked:
            return block.read(start, stop, self)

    def _locate(self, offset: int, size: int) -> tuple[int, int, int, Block]:
        """Find the segment that holds file offset `offset`, and ask for its block."""
        number = bisect_right(self._starts, offset) - 1
        first = self._starts[number]
        segment = self._segments[number]
        block = self._blocks.get(segment.locator)
        self._ask_ahead(self._read_ahead.reading(number, offset - first, size))
        return first, first + segment.size, first - segment.offset, block

    def _ask_ahead(self, numbers: range) -> None:
        """Have the blocks of segments fetched that will be read soon."""
        for segment in self._segments[numbers.start : numbers.stop]:
            with suppress(FileSystemError):  # shows when the segment is read, if it ever is
                self._blocks.get(segment.locator)


def _starts(segments: Sequence[Segment]) -> list[int]:
    """Where in the file each segment begins, in bytes."""
    return list(accumulate((segment.size for segment in segments), initial=0))[:-1]


class DirectoryHandle:
    """An open directory: the listing as it was when the directory was opened, or rewound last.

    is_new: whether nobody has read from the listing
    """

    __slots__ = ("is_new", "listing", "thing")

    def __init__(self, directory: Directory) -> None:
        self.thing = directory
        self.listing = directory.open_listing()
        self.is_new = True

    def read_from(self, position: int) -> None:
        """Note that the entries from `position` on are wanted. May give the lock up.

        Who goes back to the beginning wants what is there by then (POSIX, `rewinddir`). Raises what
        listing a directory does.
        """
        if position == 0 and not self.is_new:
            self.listing = self.thing.open_listing()
        self.is_new = False
