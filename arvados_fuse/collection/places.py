"""Where in Keep the bytes of a file are, whatever signs the way there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from arvados_fuse.collection.locator import block_name
from arvados_fuse.collection.table import Segment

__all__ = ["Place", "joined", "place", "same_bytes"]


class Place(NamedTuple):
    """A run of bytes of a block. block: its hash and size; offset, size: in bytes"""

    block: str
    offset: int
    size: int


def place(segment: Segment) -> Place:
    """Return where the bytes of a segment are."""
    return Place(block_name(segment.locator), segment.offset, segment.size)


def joined(places: Iterable[Place]) -> list[Place]:
    """Return the same runs, with those joined that adjoin in one block."""
    result: list[Place] = []
    for run in places:
        last = result[-1] if result else None
        if last and last.block == run.block and last.offset + last.size == run.offset:
            result[-1] = last._replace(size=last.size + run.size)
        else:
            result.append(run)
    return result


def same_bytes(mine: Sequence[Segment], theirs: Sequence[Segment]) -> bool:
    """Whether two files have the same parts of the same blocks, in whatever segments."""
    if len(mine) == len(theirs) == 1:  # in one go: a large commit compares many small files
        block, offset, size = mine[0]
        other_block, other_offset, other_size = theirs[0]
        return (offset, size) == (other_offset, other_size) and (
            block == other_block or block_name(block) == block_name(other_block)
        )
    return joined(map(place, mine)) == joined(map(place, theirs))
