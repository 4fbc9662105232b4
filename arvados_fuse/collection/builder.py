"""From the lines of a manifest to the table of a directory's files."""

from array import array
from collections import Counter
from itertools import accumulate
from operator import add, sub
from typing import NamedTuple

from arvados_fuse.collection.blocks import BlockTable
from arvados_fuse.collection.manifest import FileTokens, Line, file_tokens, split_line
from arvados_fuse.collection.table import FileTable, strictly_increasing
from arvados_fuse.errors import ManifestError

__all__ = ["Excerpt", "FileTableBuilder"]


class Excerpt(NamedTuple):
    """The file tokens of a line that belong to one directory, where the line has several.

    line_number: counts from 1, for error messages
    blocks: all blocks of the line, shared with the other excerpts of the line
    tokens: the tokens, with the directory cut from their paths
    """

    line_number: int
    blocks: BlockTable
    tokens: str


class FileTableBuilder:
    """Collects the lines of one directory, in order, and makes its FileTable."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._blocks = BlockTable(text)
        self._names: list[str] = []
        self._starts = array("q")
        self._sizes = array("q")
        self._beyond: dict[int, int] = {}  # token that lies beyond its stream -> line number

    def add_line(self, line: Line) -> None:
        """Add all locators and files of a line; raises ManifestError."""
        parts = split_line(self._text, line)
        base = self._blocks.size
        self._blocks.append_line(parts.locators_start, parts.locators_end, line.number)
        stream_size = self._blocks.size - base
        for tokens in file_tokens(self._text, parts.tokens_start, parts.tokens_end, line.number):
            self._add(tokens, stream_size, base, line.number)

    def add_excerpt(self, excerpt: Excerpt) -> None:
        """Add a part of a line's files, and as many of its blocks as they use.

        Raises ManifestError.
        """
        text, stream_size = excerpt.tokens, excerpt.blocks.size
        for tokens in file_tokens(text, 0, len(text), excerpt.line_number):
            low, high = _extent(tokens)
            shift = self._blocks.append_range(excerpt.blocks, low, high, excerpt.line_number)
            self._add(tokens, stream_size, shift, excerpt.line_number)

    def finish(self) -> FileTable:
        """The table of all that was added; raises ManifestError if a file is too large."""
        if strictly_increasing(self._names) or len(set(self._names)) == len(self._names):
            return FileTable(
                names=tuple(self._names),
                sizes=self._sizes,
                token_starts=self._starts,
                token_sizes=self._sizes,
                first_token=None,
                blocks=self._blocks,
                beyond=self._beyond,
            )
        return self._finish_grouped()

    def _finish_grouped(self) -> FileTable:
        """As ``finish``, for files of several tokens: sorts the tokens by file, in stable order."""
        counts = Counter(self._names)
        names = tuple(counts)
        place = {name: place for place, name in enumerate(names)}
        file_of = list(map(place.__getitem__, self._names))
        order = sorted(range(len(file_of)), key=file_of.__getitem__)
        first_token = array("q", accumulate(counts.values(), initial=0))
        token_sizes = array("q", map(self._sizes.__getitem__, order))
        sums = list(accumulate(token_sizes, initial=0))
        bounds = [sums[token] for token in first_token]
        try:
            sizes = array("q", map(sub, bounds[1:], bounds))
        except OverflowError:
            raise ManifestError(
                "The manifest is damaged: a file has more than 2**63 - 1 bytes."
            ) from None
        return FileTable(
            names=names,
            sizes=sizes,
            token_starts=array("q", map(self._starts.__getitem__, order)),
            token_sizes=token_sizes,
            first_token=first_token,
            blocks=self._blocks,
            beyond={file_of[token]: line for token, line in self._beyond.items()},
        )

    def _add(self, tokens: FileTokens, stream_size: int, shift: int, line_number: int) -> None:
        positions, sizes, names = tokens
        if max(map(add, positions, sizes), default=0) > stream_size:
            positions = self._sort_out(positions, sizes, stream_size, line_number)
        if shift:
            # The blocks around an empty token may not be in the table; its place means nothing.
            positions = [
                position + shift if size else 0
                for position, size in zip(positions, sizes, strict=True)
            ]
        self._starts.extend(positions)
        self._sizes.extend(sizes)
        self._names.extend(names)

    def _sort_out(
        self, positions: list[int], sizes: list[int], stream_size: int, line_number: int
    ) -> list[int]:
        """Note the tokens that go beyond the stream; their positions, never used, become 0."""
        sound = list(positions)
        for token, (position, size) in enumerate(zip(positions, sizes, strict=True)):
            if position + size > stream_size:
                self._beyond[len(self._names) + token] = line_number
                sound[token] = 0
        return sound


def _extent(tokens: FileTokens) -> tuple[int, int]:
    """From where to where the tokens use bytes of their stream; (0, 0) if they use none."""
    used = [
        (position, position + size)
        for position, size in zip(tokens.positions, tokens.sizes, strict=True)
        if size
    ]
    if not used:
        return 0, 0
    return min(used)[0], max(end for _, end in used)
