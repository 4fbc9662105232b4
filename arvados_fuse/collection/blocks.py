"""The blocks of a stream, or of several, as one space of offsets."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate, islice
from sys import getsizeof

from arvados_fuse.collection.locator import HASH_DIGITS
from arvados_fuse.collection.manifest import locators
from arvados_fuse.errors import ManifestError

__all__ = ["BlockRuns", "BlockTable", "Piece"]

Piece = tuple[int, int, int]
"""A run of bytes in one block: number of the block in its table, offset into it, size in bytes."""


class BlockTable:
    """Blocks laid end to end: which block holds the byte at an offset.

    Sixteen bytes a block. Locators stay in the manifest's text until one is asked for. Tables grow
    while a directory is parsed and are never changed after that.
    """

    __slots__ = ("_locators", "_starts", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        # Where each block begins in the space of offsets; the last entry is the end of the space.
        self._starts = array("q", [0])
        # Where each block's locator begins in the text; a space follows each.
        self._locators = array("q")

    @property
    def size(self) -> int:
        """Length of all blocks together, in bytes."""
        return self._starts[-1]

    @property
    def footprint(self) -> int:
        """Bytes of memory that the table holds, the manifest's text not included."""
        return getsizeof(self) + getsizeof(self._starts) + getsizeof(self._locators)

    def append_line(self, start: int, end: int, line_number: int) -> None:
        """Add the locators in ``text[start:end]``; raises ManifestError if one of them is bad."""
        for places, sizes in locators(self._text, start, end, line_number):
            self._locators.extend(places)
            self._append_starts(islice(accumulate(sizes, initial=self.size), 1, None), line_number)

    def append_range(self, other: "BlockTable", low: int, high: int, line_number: int) -> int:
        """Add the blocks that hold bytes ``low`` to ``high`` of another table of the same text.

        Returns what to add to an offset in the other table to get the offset in this one. Raises
        ManifestError if the table gets too long.
        """
        first = bisect_right(other._starts, low) - 1
        last = bisect_left(other._starts, high)
        shift = self.size - other._starts[first]
        starts = other._starts[first + 1 : last + 1]
        self._append_starts(map(shift.__add__, starts), line_number)
        self._locators.extend(other._locators[first:last])
        return shift

    def _append_starts(self, starts: Iterator[int], line_number: int) -> None:
        try:
            self._starts.extend(starts)
        except OverflowError:
            raise ManifestError(
                f"Line {line_number} of the manifest is damaged:"
                " the directory's blocks are longer than 2**63 - 1 bytes together."
            ) from None

    def pieces(self, start: int, size: int) -> Iterator[Piece]:
        """The range, cut where blocks end."""
        end = start + size
        block = bisect_right(self._starts, start) - 1
        while start < end:
            block_end = self._starts[block + 1]
            stop = min(end, block_end)
            yield block, start - self._starts[block], stop - start
            start = stop
            block += 1

    def locator(self, block: int) -> str:
        """The locator of a block, as the manifest has it."""
        start = self._locators[block]
        return self._text[start : self._text.index(" ", start)]

    def same_block(self, block: int, other: "BlockTable", other_block: int) -> bool:
        """Whether two blocks have the same content: hash and size, whatever the hints."""
        start = self._locators[block]
        other_start = other._locators[other_block]
        return (
            self._text[start : start + HASH_DIGITS]
            == other._text[other_start : other_start + HASH_DIGITS]
            and self._starts[block + 1] - self._starts[block]
            == other._starts[other_block + 1] - other._starts[other_block]
        )


class BlockRuns:
    """Compares ranges of two block tables, and remembers the last run of blocks that were equal.

    Most files of a new version of a collection lie in long runs of the same blocks, at most
    shifted. Each file in such a run is settled by three comparisons, without a look at blocks.
    """

    __slots__ = ("_block", "_high", "_low", "_mine", "_other_block", "_shift", "_theirs")

    def __init__(self, mine: BlockTable, theirs: BlockTable) -> None:
        self._mine = mine
        self._theirs = theirs
        # Bytes low to high of mine are equal to theirs at the same offset minus shift; block and
        # other_block are the first ones behind the run.
        self._low = self._high = self._shift = self._block = self._other_block = 0

    def same(self, start: int, other_start: int, size: int) -> bool:
        """Whether the same bytes of the same blocks lie at both places, block by block."""
        end = start + size
        in_run = self._low <= start <= self._high and start - other_start == self._shift
        if in_run and end <= self._high:
            return True
        if not size:
            return True
        return (in_run or self._begin(start, other_start)) and self._reaches(end)

    def _begin(self, start: int, other_start: int) -> bool:
        mine, theirs = self._mine._starts, self._theirs._starts
        block = bisect_right(mine, start) - 1
        other_block = bisect_right(theirs, other_start) - 1
        if start - mine[block] != other_start - theirs[other_block]:
            return False
        self._block, self._other_block = block, other_block
        self._low = self._high = mine[block]
        self._shift = start - other_start
        return True

    def _reaches(self, end: int) -> bool:
        """Extend the run as far as ``end``; false where blocks differ before that."""
        mine, theirs = self._mine, self._theirs
        other_blocks = len(theirs._locators)
        while self._high < end:
            if self._other_block >= other_blocks:
                return False
            if not mine.same_block(self._block, theirs, self._other_block):
                return False
            self._block += 1
            self._other_block += 1
            self._high = mine._starts[self._block]
        return True
