"""Manifest text from files, in normal form.

Normal form (Arvados documentation, "Manifest format"): files are sorted, each block of a stream
is listed once, in the order of first use, and what lies side by side in the stream is one token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from arvados_fuse.collection.escape import escape
from arvados_fuse.collection.locator import HASH_DIGITS, block_name
from arvados_fuse.collection.table import Segment

__all__ = ["placeholder", "stream"]

_EMPTY_BLOCK = "d41d8cd98f00b204e9800998ecf8427e+0"


def stream(path: str, files: Iterable[tuple[str, Sequence[Segment]]]) -> str:
    """The line of a directory; ``path`` is "" for the root, else "a/b".

    ``files`` are true names and contents, in any order, at least one.
    """
    blocks = _Blocks()
    tokens = []
    for name, segments in sorted(files):
        escaped = escape(name)
        tokens += [f"{start}:{size}:{escaped}" for start, size in blocks.runs(segments)]
    return (
        f"{_stream_name(path)} {' '.join(blocks.locators or [_EMPTY_BLOCK])} {' '.join(tokens)}\n"
    )


def placeholder(path: str) -> str:
    """The line that keeps an empty directory."""
    return f"{_stream_name(path)} {_EMPTY_BLOCK} 0:0:\\056\n"


class _Blocks:
    """The blocks of a stream, end to end.

    locators: in order
    """

    def __init__(self) -> None:
        self.locators: list[str] = []
        # Where a block begins in the stream, by its name, and by each locator that it came with.
        self._starts: dict[str, int] = {}
        self._size = 0

    def runs(self, segments: Sequence[Segment]) -> list[tuple[int, int]]:
        """Position and size in the stream of the runs that a file consists of, at least one."""
        if len(segments) == 1:
            locator, offset, size = segments[0]
            return [(self._start(locator) + offset, size)]
        runs: list[tuple[int, int]] = []
        for locator, offset, size in segments:
            start = self._start(locator) + offset
            if runs and sum(runs[-1]) == start:
                runs[-1] = (runs[-1][0], runs[-1][1] + size)
            else:
                runs.append((start, size))
        return runs or [(0, 0)]

    def _start(self, locator: str) -> int:
        start = self._starts.get(locator)
        return self._add(locator) if start is None else start

    def _add(self, locator: str) -> int:
        # The same block can come with two signatures.
        name = block_name(locator)
        start = self._starts.get(name)
        if start is None:
            start = self._starts[name] = self._size
            self._size += int(name[HASH_DIGITS + 1 :])
            self.locators.append(locator)
        self._starts[locator] = start
        return start


def _stream_name(path: str) -> str:
    return f"./{escape(path)}" if path else "."
