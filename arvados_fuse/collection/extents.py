"""The bytes of a file that is being changed: which byte comes from where.

An ExtentMap starts as the segments of a file of the manifest, or empty. Each write says where the
new bytes lie: in a chunk of the journal (Pending). When a chunk has become a block of Keep,
``place`` puts the block's locator (Stored) in its place. Nothing here ever sees a byte of content.

    extents = ExtentMap.from_segments(table.segments(index))
    extents.write(start, size, Pending(chunk, offset))
    for extent in extents.pieces(start, end): ...           # a read
    extents.place(chunk, [Spot(0, chunk_size, Stored(locator, 0))])

There are no locks: whoever changes a map sees to it that nobody else uses it meanwhile.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from arvados_fuse.collection.locator import block_name
from arvados_fuse.collection.table import Segment

__all__ = ["MAX_BLOCK", "ChunkLike", "Extent", "ExtentMap", "Pending", "Source", "Spot", "Stored"]

MAX_BLOCK = 64 << 20
"""The size of the largest block, in bytes (Arvados documentation, "Keep")."""

_PAGE = 512  # extents in a page, at most; half as many after a split


class ChunkLike(Protocol):
    """A chunk of the journal: here it only matters which one it is."""

    @property
    def number(self) -> int:
        """Its number in its journal."""

    def read(self, offset: int, size: int) -> bytes:
        """Exactly these bytes of it."""


class Stored(NamedTuple):
    """Bytes of a block of Keep.

    locator: as in a manifest, signature included
    offset: of the first byte in the block
    """

    locator: str
    offset: int


class Pending(NamedTuple):
    """Bytes of a chunk of the journal.

    chunk: the object itself, so that its file stays open as long as somebody needs it
    offset: of the first byte in the chunk
    """

    chunk: ChunkLike
    offset: int


Source = Stored | Pending | None
"""Where bytes are; None is a hole, which reads as zeros."""


class Extent(NamedTuple):
    """A run of bytes of a file that lie in one place.

    start: offset of the first byte in the file
    size: in bytes, never 0
    """

    start: int
    size: int
    source: Source


class Spot(NamedTuple):
    """Where a part of a chunk went when it was uploaded.

    offset, size: the part of the chunk, in bytes
    stored: where the part's first byte is now
    """

    offset: int
    size: int
    stored: Stored


class _Page:
    """A run of extents: where each begins, and its source. Each ends where the next begins."""

    __slots__ = ("sources", "starts")

    def __init__(self, starts: list[int], sources: list[Source]) -> None:
        self.starts = starts
        self.sources = sources


_Place = tuple[int, int]  # number of a page, and of an extent in it


class ExtentMap:
    """The extents of one file: sorted, without gaps, as few as possible.

    They are kept in pages of some hundred, as in the leaves of a B-tree with one inner node. So a
    write in the midst of a hundred thousand extents moves a few of them, and one at the end none.
    A copy shares the pages until one of the two changes.

    size: of the file, in bytes
    """

    __slots__ = ("_firsts", "_is_shared", "_pages", "size")

    def __init__(self) -> None:
        self.size = 0
        self._is_shared = False  # whether pages may be another map's, too: they stay as they are
        self._pages: list[_Page] = []  # none of them empty
        self._firsts: list[int] = []  # where each page begins

    @classmethod
    def from_segments(cls, segments: Iterable[Segment]) -> ExtentMap:
        """The map of a file of a manifest."""
        extents = cls()
        for locator, offset, size in segments:
            extents._append(size, Stored(locator, offset))
        return extents

    def copy(self) -> ExtentMap:
        """A map of its own with the same extents. Takes the same time for any number of them."""
        copied = ExtentMap()
        copied.size = self.size
        copied._pages, copied._firsts = self._pages, self._firsts
        self._is_shared = copied._is_shared = True
        return copied

    # -- changes ----------------------------------------------------------------------------

    def write(self, start: int, size: int, source: Source) -> None:
        """Let bytes ``start`` to ``start + size`` come from ``source``.

        What was there is gone. A gap between the end of the file and ``start`` becomes a hole.
        """
        if size <= 0:
            return
        self._own_pages()
        if start > self.size:
            self._append(start - self.size, None)
        if start == self.size:
            self._append(size, source)
        elif start == 0 and size >= self.size:
            self._pages, self._firsts, self.size = [], [], 0
            self._append(size, source)
        else:
            self._overwrite(start, start + size, source)

    def truncate(self, size: int) -> None:
        """Cut the file off at ``size`` bytes, or lengthen it by a hole."""
        if size > self.size:
            self._own_pages()
            self._append(size - self.size, None)
        elif size < self.size:
            self._own_pages()
            number = bisect_left(self._firsts, size)
            del self._pages[number:], self._firsts[number:]
            if number:
                page = self._pages[-1]
                place = bisect_left(page.starts, size)
                del page.starts[place:], page.sources[place:]
            self.size = size

    def place(self, chunk: ChunkLike, spots: Sequence[Spot]) -> bool:
        """Replace what is pending in ``chunk`` by what is stored; false if there is none of it.

        ``spots`` are sorted by offset. What they do not cover stays pending.
        """
        if not self.is_pending(chunk):
            return False
        placed = ExtentMap()
        for _start, size, source in self._walk():
            if isinstance(source, Pending) and source.chunk is chunk:
                for part_size, part in _parts(source, size, spots):
                    placed._append(part_size, part)
            else:
                placed._append(size, source)
        self._take_pages(placed)
        return True

    def fill_holes(self, zeros: Callable[[int], str]) -> None:
        """Replace holes by blocks of zeros, since a manifest has no holes.

        ``zeros(size)`` gives the locator of a block of at least that many zero bytes; the size is
        that of a hole, ``MAX_BLOCK`` at most.
        """
        if not self.has_holes():
            return
        filled = ExtentMap()
        for _start, size, source in self._walk():
            if source is not None:
                filled._append(size, source)
                continue
            locator = zeros(min(size, MAX_BLOCK))
            for done in range(0, size, MAX_BLOCK):
                filled._append(min(MAX_BLOCK, size - done), Stored(locator, 0))
        self._take_pages(filled)

    def sign(self, locators: Mapping[str, str]) -> None:
        """Let blocks have other locators, with newer signatures.

        ``locators``: by hash and size of the blocks; others stay as they are.
        """
        self._own_pages()
        for page in self._pages:
            sources = page.sources
            for place, source in enumerate(sources):
                if isinstance(source, Stored):
                    locator = locators.get(block_name(source.locator))
                    if locator is not None and locator != source.locator:
                        sources[place] = Stored(locator, source.offset)

    # -- questions --------------------------------------------------------------------------

    def __len__(self) -> int:
        """Number of extents."""
        return sum(len(page.starts) for page in self._pages)

    def extents(self) -> tuple[Extent, ...]:
        """All extents, in order."""
        return tuple(self._walk())

    def pieces(self, start: int, end: int) -> list[Extent]:
        """The extents of bytes ``start`` to ``end``, in order and without gaps.

        The first and the last are cut to the range, and the range is cut at the end of the file.
        """
        start, end = max(0, start), min(end, self.size)
        pieces: list[Extent] = []
        if start >= end:
            return pieces
        number = bisect_right(self._firsts, start) - 1
        place = bisect_right(self._pages[number].starts, start) - 1
        while start < end:
            page = self._pages[number]
            source = _shifted(page.sources[place], start - page.starts[place])
            place += 1
            if place < len(page.starts):
                stop = page.starts[place]
            else:
                number, place = number + 1, 0
                stop = self._firsts[number] if number < len(self._firsts) else self.size
            stop = min(stop, end)
            pieces.append(Extent(start, stop - start, source))
            start = stop
        return pieces

    def pending_chunks(self) -> set[ChunkLike]:
        """The chunks of the journal that hold bytes of the file."""
        return {
            source.chunk
            for page in self._pages
            for source in page.sources
            if isinstance(source, Pending)
        }

    def is_pending(self, chunk: ChunkLike) -> bool:
        """Whether a chunk of the journal holds bytes of the file."""
        for page in self._pages:  # in one go: a commit asks that of each of its files
            for source in page.sources:
                if isinstance(source, Pending) and source.chunk is chunk:
                    return True
        return False

    def pending(self) -> Iterator[tuple[ChunkLike, int, int]]:
        """Yield the chunk, the offset in it and the size of each run of bytes that is in one."""
        for _start, size, source in self._walk():
            if isinstance(source, Pending):
                yield source.chunk, source.offset, size

    def blocks(self) -> set[str]:
        """Hash and size of the blocks of Keep that hold bytes of the file."""
        return set(self.locators())

    def locators(self) -> dict[str, str]:
        """One locator of each of these blocks, by hash and size."""
        return {
            block_name(source.locator): source.locator
            for page in self._pages
            for source in page.sources
            if isinstance(source, Stored)
        }

    def has_holes(self) -> bool:
        """Whether any byte comes from nowhere."""
        return any(None in page.sources for page in self._pages)

    def segments(self) -> tuple[Segment, ...]:
        """The content as a manifest says it; raises ValueError if not all of it is stored."""
        match self._pages:
            case [_Page(sources=[Stored(locator, offset)])]:  # most files, in one go
                return (Segment(locator, offset, self.size),)
        segments = []
        for start, size, source in self._walk():
            if not isinstance(source, Stored):
                raise ValueError(f"bytes {start} to {start + size} are in no block")
            segments.append(Segment(source.locator, source.offset, size))
        return tuple(segments)

    # -- pages ------------------------------------------------------------------------------

    def _own_pages(self) -> None:
        """Have pages that no other map has, before they are changed."""
        if self._is_shared:
            self._pages = [_Page(page.starts[:], page.sources[:]) for page in self._pages]
            self._firsts = self._firsts[:]
            self._is_shared = False

    def _take_pages(self, other: ExtentMap) -> None:
        """Have the pages of a map that is not used any more."""
        self._pages, self._firsts, self._is_shared = other._pages, other._firsts, False

    def _walk(self) -> Iterator[Extent]:
        last = len(self._pages) - 1
        for number, page in enumerate(self._pages):
            page_end = self._firsts[number + 1] if number < last else self.size
            ends = [*page.starts[1:], page_end]
            for start, end, source in zip(page.starts, ends, page.sources, strict=True):
                yield Extent(start, end - start, source)

    def _append(self, size: int, source: Source) -> None:
        """Lengthen the file; what goes on with the last extent becomes part of it."""
        start = self.size
        self.size = start + size
        if not self._pages:
            self._pages, self._firsts = [_Page([start], [source])], [start]
            return
        page = self._pages[-1]
        if _goes_on(page.sources[-1], start - page.starts[-1], source):
            return
        if len(page.starts) < _PAGE:
            page.starts.append(start)
            page.sources.append(source)
        else:
            self._pages.append(_Page([start], [source]))
            self._firsts.append(start)

    def _overwrite(self, start: int, end: int, source: Source) -> None:
        """As ``write``, for a range that begins inside of the file."""
        starts, sources = [start], [source]
        # From the extent before the range to the one behind it, all is put anew.
        first = self._find(start - 1) if start else (0, 0)
        if start:
            before = self._pages[first[0]]
            before_start, before_source = before.starts[first[1]], before.sources[first[1]]
            if _goes_on(before_source, start - before_start, source):
                starts, sources = [before_start], [before_source]
            else:
                starts, sources = [before_start, start], [before_source, source]
        if end < self.size:
            last = self._find(end)
            after = self._pages[last[0]]
            rest = _shifted(after.sources[last[1]], end - after.starts[last[1]])
            if not _goes_on(sources[-1], end - starts[-1], rest):
                starts.append(end)
                sources.append(rest)
        else:
            last = len(self._pages) - 1, len(self._pages[-1].starts) - 1
            self.size = end
        self._splice(first, last, starts, sources)

    def _splice(
        self, first: _Place, last: _Place, starts: list[int], sources: list[Source]
    ) -> None:
        """Put extents instead of those from one place to another, the last included."""
        number, place = first
        last_number, after = last[0], last[1] + 1
        page = self._pages[number]
        if last_number == number:
            page.starts[place:after] = starts
            page.sources[place:after] = sources
        else:
            page.starts[place:] = starts + self._pages[last_number].starts[after:]
            page.sources[place:] = sources + self._pages[last_number].sources[after:]
            del self._pages[number + 1 : last_number + 1]
            del self._firsts[number + 1 : last_number + 1]
        self._firsts[number] = page.starts[0]
        if len(page.starts) > _PAGE:
            half = len(page.starts) // 2
            self._pages.insert(number + 1, _Page(page.starts[half:], page.sources[half:]))
            self._firsts.insert(number + 1, page.starts[half])
            del page.starts[half:], page.sources[half:]

    def _find(self, offset: int) -> _Place:
        """Where the extent is that holds the byte at ``offset``."""
        number = bisect_right(self._firsts, offset) - 1
        return number, bisect_right(self._pages[number].starts, offset) - 1


def _goes_on(source: Source, size: int, following: Source) -> bool:
    """Whether ``following`` is where the bytes after ``size`` bytes of ``source`` are."""
    if source is None or following is None:
        return source is following
    if source.offset + size != following.offset:
        return False
    if isinstance(source, Pending):
        return isinstance(following, Pending) and source.chunk is following.chunk
    return isinstance(following, Stored) and source.locator == following.locator


def _shifted(source: Source, offset: int) -> Source:
    if not offset or source is None:
        return source
    if isinstance(source, Stored):
        return Stored(source.locator, source.offset + offset)
    return Pending(source.chunk, source.offset + offset)


def _parts(source: Pending, size: int, spots: Sequence[Spot]) -> Iterator[tuple[int, Source]]:
    """Size and place of the parts of a piece of a chunk, in order."""
    offset, end = source.offset, source.offset + size
    number = max(0, bisect_right(spots, offset, key=_spot_offset) - 1)
    for spot_offset, spot_size, stored in islice(spots, number, None):
        if spot_offset >= end:
            break
        if offset < spot_offset:
            yield spot_offset - offset, Pending(source.chunk, offset)
            offset = spot_offset
        stop = min(end, spot_offset + spot_size)
        if offset < stop:
            yield stop - offset, Stored(stored.locator, stored.offset + offset - spot_offset)
            offset = stop
    if offset < end:
        yield end - offset, Pending(source.chunk, offset)


def _spot_offset(spot: Spot) -> int:
    return spot[0]
