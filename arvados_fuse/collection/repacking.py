"""Many small blocks and one large one: which bytes go where, and what stays the same by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from arvados_fuse.collection.extents import MAX_BLOCK
from arvados_fuse.collection.places import Place, joined, place
from arvados_fuse.collection.table import Segment
from arvados_fuse.collection.tree import Tree, TreeDirectory
from arvados_fuse.errors import ManifestError

__all__ = ["Moves", "small_segments"]


class Moves:
    """Where runs of bytes are, each as long as a file has it, that were somewhere else before."""

    def __init__(self, moves: Mapping[Place, Place]) -> None:
        self._moves = moves

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._moves)

    def is_same(self, before: Sequence[Segment], after: Sequence[Segment]) -> bool:
        """Whether a file that had the one content has the same bytes if it has the other."""
        moved = (self._moves.get(run, run) for run in map(place, before))
        return joined(moved) == joined(map(place, after))


def small_segments(tree: Tree, limit: int, least: int) -> list[Segment]:
    """Return all segments of files that are in small blocks, as many as fit into one block.

    limit: bytes that no small block has
    least: how many small blocks there must be; if there are fewer, the result is empty

    Parses all files of the tree, so call it without a lock.
    """
    small = tree.small_blocks(limit)
    if len(small) < least:
        return []
    segments: dict[str, dict[Place, Segment]] = {}
    for segment in _segments(tree.root):
        run = place(segment)
        if run.block in small:
            segments.setdefault(run.block, {})[run] = segment
    chosen: list[Segment] = []
    room, blocks = MAX_BLOCK, 0
    for found in segments.values():
        room -= sum(segment.size for segment in found.values())
        if room < 0:
            break
        chosen += found.values()
        blocks += 1
    return chosen if blocks >= least else []


def _segments(directory: TreeDirectory) -> Iterator[Segment]:
    """Yield the segments of all files that are not damaged."""
    was_loaded = directory.loaded
    try:
        table = directory.files()
    except ManifestError:
        return
    for index in range(len(table)):
        try:
            yield from table.segments(index)
        except ManifestError:
            continue
    if not was_loaded:
        directory.drop_files()
    for subdirectory in directory.subdirectories.values():
        yield from _segments(subdirectory)
