"""The files of one directory as a table: columns of numbers, and nothing per file but its name."""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import add, lt
from sys import getsizeof
from typing import NamedTuple

from arvados_fuse.collection.blocks import BlockRuns, BlockTable, Piece
from arvados_fuse.errors import ManifestError

__all__ = ["FileTable", "Segment", "allocated", "strictly_increasing"]

_STRETCH = 256  # files that are compared at once
_SHARED_NUMBERS = 257  # Python has 0 to 256 once for all


class Segment(NamedTuple):
    """A run of bytes of a file that lies in one block.

    locator: as in the manifest, hints included
    offset: where the run begins in the block, in bytes
    size: length of the run in bytes, never 0
    """

    locator: str
    offset: int
    size: int


class FileTable:
    """The files of one directory of one version of a collection; immutable.

    A file is named by its index: its place in the order of first appearance in the manifest. Made
    by FileTableBuilder. The memory per file is its name and 16 bytes while names are sorted and
    have one token each, as the normal form of manifests wants it; unsorted names cost a dict, and
    files of several tokens 24 bytes and 16 for each token.
    """

    __slots__ = (
        "_beyond",
        "_blocks",
        "_first_token",
        "_footprint",
        "_index",
        "_names",
        "_sizes",
        "_token_sizes",
        "_token_starts",
    )

    def __init__(
        self,
        *,
        names: tuple[str, ...],
        sizes: "array[int]",
        token_starts: "array[int]",
        token_sizes: "array[int]",
        first_token: "array[int] | None",
        blocks: BlockTable,
        beyond: dict[int, int],
    ) -> None:
        self._names = names
        self._sizes = sizes
        self._token_starts = token_starts
        self._token_sizes = token_sizes
        # Tokens of file i are first_token[i] to first_token[i + 1]; token i alone if this is None.
        self._first_token = first_token
        self._blocks = blocks
        # Files with a token beyond the end of its stream, and the number of the token's line.
        self._beyond = beyond
        # Sorted names, by far the most frequent, need no index: bisection finds them.
        self._index = (
            None
            if strictly_increasing(names)
            else {name: place for place, name in enumerate(names)}
        )
        self._footprint = self._measure()

    def __len__(self) -> int:
        return len(self._names)

    @property
    def names(self) -> Sequence[str]:
        """The true names, by index."""
        return self._names

    @property
    def footprint(self) -> int:
        """Bytes of memory that the table holds, the manifest's text not included."""
        return self._footprint

    def index(self, name: str) -> int | None:
        """The index of the file of that name, or None."""
        if self._index is not None:
            return self._index.get(name)
        place = bisect_left(self._names, name)
        return place if place < len(self._names) and self._names[place] == name else None

    def size(self, index: int) -> int:
        """The file's size in bytes."""
        return self._sizes[index]

    def segments(self, index: int) -> tuple[Segment, ...]:
        """The file's content in order; () for an empty file.

        What adjoins in one block is one segment. Raises ManifestError if a token of the file lies
        beyond the end of its stream; such a file has the size that its tokens claim.
        """
        if index in self._beyond:
            raise ManifestError(
                f"Line {self._beyond[index]} of the manifest is damaged: the file"
                f" {self._names[index]!r} goes beyond the end of its blocks."
            )
        return tuple(
            Segment(self._blocks.locator(block), offset, size)
            for block, offset, size in self._pieces(index)
        )

    def same_content(self, index: int, other: "FileTable", other_index: int) -> bool:
        """Whether two files consist of the same segments of the same blocks, whatever the hints.

        A file that goes beyond its stream is the same as no other.
        """
        return self._same(index, other, other_index, BlockRuns(self._blocks, other._blocks))

    def unchanged(self, other: "FileTable") -> Iterator[tuple[int, int]]:
        """The files that have the same name and content in both tables: (index, index in other).

        As ``same_content`` for each name that is in both, but much faster for the versions of one
        directory: where a long stretch of files is the same in both, it is found so as a whole.
        """
        runs = BlockRuns(self._blocks, other._blocks)
        index = expected = 0  # the names at these two places are probably the same
        while index < len(self):
            count = min(_STRETCH, len(self) - index, len(other) - expected)
            if self._same_stretch(index, other, expected, count, runs):
                yield from zip(
                    range(index, index + count), range(expected, expected + count), strict=True
                )
                index, expected = index + count, expected + count
                continue
            for name in self._names[index : index + _STRETCH]:
                found = other._index_near(expected, name)
                if found is not None:
                    if self._same(index, other, found, runs):
                        yield index, found
                    expected = found + 1
                index += 1

    def _index_near(self, expected: int, name: str) -> int | None:
        """As ``index``, without a search if the name is where it is expected."""
        if expected < len(self._names) and self._names[expected] == name:
            return expected
        return self.index(name)

    def _same_stretch(
        self, index: int, other: "FileTable", other_index: int, count: int, runs: BlockRuns
    ) -> bool:
        """Whether ``count`` files are seen to be unchanged at a glance; false says nothing."""
        if not count or self._first_token or other._first_token or self._beyond or other._beyond:
            return False
        mine = slice(index, index + count)
        theirs = slice(other_index, other_index + count)
        sizes = self._sizes[mine]
        if self._names[mine] != other._names[theirs] or sizes != other._sizes[theirs]:
            return False
        starts, other_starts = self._token_starts[mine], other._token_starts[theirs]
        shift = starts[0] - other_starts[0]
        if shift and starts.tolist() != [start + shift for start in other_starts]:
            return False
        if not shift and starts != other_starts:
            return False
        low, high = min(starts), max(map(add, starts, sizes))
        # Files that are scattered over many blocks are not worth the comparison of all of these.
        return high - low <= 2 * sum(sizes) and runs.same(low, low - shift, high - low)

    def _same(self, index: int, other: "FileTable", other_index: int, runs: BlockRuns) -> bool:
        if self._sizes[index] != other._sizes[other_index]:
            return False
        if index in self._beyond or other_index in other._beyond:
            return False
        mine, theirs = self._tokens(index), other._tokens(other_index)
        if len(mine) == len(theirs):
            if self._same_tokens(mine, other, theirs, runs):
                return True
            if len(mine) == 1:
                return False
        # One content can be spelled by different tokens.
        return self._same_pieces(self._pieces(index), other, other._pieces(other_index))

    def _same_tokens(
        self, mine: Sequence[int], other: "FileTable", theirs: Sequence[int], runs: BlockRuns
    ) -> bool:
        for token, other_token in zip(mine, theirs, strict=True):
            size = self._token_sizes[token]
            if size != other._token_sizes[other_token] or not runs.same(
                self._token_starts[token], other._token_starts[other_token], size
            ):
                return False
        return True

    def _same_pieces(self, mine: list[Piece], other: "FileTable", theirs: list[Piece]) -> bool:
        return len(mine) == len(theirs) and all(
            piece[1:] == other_piece[1:]
            and self._blocks.same_block(piece[0], other._blocks, other_piece[0])
            for piece, other_piece in zip(mine, theirs, strict=True)
        )

    def _tokens(self, index: int) -> range:
        if self._first_token is None:
            return range(index, index + 1)
        return range(self._first_token[index], self._first_token[index + 1])

    def _pieces(self, index: int) -> list[Piece]:
        """The file's pieces in order, joined where they adjoin in one block."""
        joined: list[Piece] = []
        for token in self._tokens(index):
            for piece in self._blocks.pieces(self._token_starts[token], self._token_sizes[token]):
                block, offset, size = piece
                if joined:
                    last_block, last_offset, last_size = joined[-1]
                    # A manifest may list a block more than once, so equal blocks count as one.
                    if last_offset + last_size == offset and self._blocks.same_block(
                        last_block, self._blocks, block
                    ):
                        joined[-1] = (last_block, last_offset, last_size + size)
                        continue
                joined.append(piece)
        return joined

    def _measure(self) -> int:
        columns = [self._sizes, self._token_starts]
        if self._first_token is not None:
            columns += [self._first_token, self._token_sizes]
        total = getsizeof(self) + getsizeof(self._names) + getsizeof(self._beyond)
        total += sum(map(getsizeof, columns)) + self._blocks.footprint
        for size, count in Counter(map(getsizeof, self._names)).items():
            total += allocated(size) * count
        if self._index is not None:
            own_numbers = max(0, len(self._index) - _SHARED_NUMBERS)
            total += getsizeof(self._index) + allocated(getsizeof(1 << 15)) * own_numbers
        return total


def allocated(size: int) -> int:
    """The memory that an object of ``size`` bytes takes: Python allocates by 16 bytes."""
    return (size + 15) & ~15


def strictly_increasing(names: Sequence[str]) -> bool:
    """Whether each name is greater than the one before it (so none is there twice)."""
    return all(map(lt, names, islice(names, 1, None)))
