"""What many small commits leave behind is put together: small blocks become one large one.

Each commit makes at least one block. A thousand of a few kilobytes each are slow to read, and
a burden on the cluster. When a collection has not been changed for a while, what is in them is read
and stored anew as one block, and the cluster is asked to replace the parts (Arvados documentation,
"Using replace_segments to repack file data"): it does so only where they are still there, so what
others change meanwhile stays.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NamedTuple

from arvados_fuse.collection.locator import block_name
from arvados_fuse.collection.places import Place
from arvados_fuse.collection.repacking import Moves, small_segments
from arvados_fuse.commit.reading import read_block
from arvados_fuse.errors import FileSystemError
from arvados_fuse.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from arvados_fuse.api import CollectionContent
    from arvados_fuse.api.writing import ClusterWriting
    from arvados_fuse.collection.table import Segment
    from arvados_fuse.collection.tree import Tree
    from arvados_fuse.commit.copies import Copies
    from arvados_fuse.commit.reading import BlockReader
    from arvados_fuse.commit.uploads import Uploader

__all__ = ["Packed", "Repacker"]

log = logging.getLogger(__name__)

SMALL = 1 << 20
"""Bytes that no small block has. Measured on one machine, a file that is not cached is read in 2.5
ms from a block of its own and in 0.6 ms from one with others if it has 4 kB, in 4.7 and 3.7 ms if
it has 256 kB, and as fast either way if it has 1 MB. Where requests take longer, the difference is
larger."""

LEAST_BLOCKS = 64
"""Small blocks that a collection has to have to be repacked. So a block's bytes are moved once for
each such number of commits, at most a few times until they are in a block that is not small."""

LARGEST_MANIFEST = 32 << 20
"""Characters of the longest manifest that is looked through for small blocks."""


class Packed(NamedTuple):
    """A large block that is stored, and not yet part of the collection.

    replace_segments: what the cluster is asked for
    moves: where the bytes are then
    """

    replace_segments: dict[str, str]
    moves: Moves


class Repacker:
    """Packs small blocks of the collections of one mount. Threads: every method from any thread."""

    def __init__(self, writing: ClusterWriting, keep: BlockReader, uploader: Uploader) -> None:
        self._writing = writing
        self._keep = keep
        self._uploader = uploader
        self._packing = threading.Lock()  # held while a block is packed: one takes memory enough

    def pack(
        self,
        uuid: str,
        tree: Tree,
        manifest_size: int,
        copies: Copies,
        is_wanted: Callable[[], bool],
    ) -> Packed | None:
        """Store the content of small blocks as one; None if there are few, or it cannot be done.

        Waits, without any lock. Takes up to 65 MiB of memory meanwhile.

        copies: what is asked of Keep for the block
        is_wanted: whether it is still of use; asked often
        """
        if not self._writing.has_replace_segments or manifest_size > LARGEST_MANIFEST:
            return None
        if not self._packing.acquire(blocking=False):
            return None
        try:
            segments = small_segments(tree, SMALL, LEAST_BLOCKS)
            return self._pack(segments, copies, is_wanted) if segments else None
        except FileSystemError as error:
            log.info("The small blocks of %s stay as they are: %s", uuid, error)
            return None
        finally:
            self._packing.release()

    def replace(self, uuid: str, packed: Packed) -> CollectionContent:
        """Let the collection have the large block, and return its content; raises as `edit`."""
        content = self._writing.replace_segments(uuid, packed.replace_segments)
        parts = counted(len(packed.replace_segments), "part")
        log.info("Put %s of small blocks of %s together.", parts, uuid)
        return content

    def _pack(
        self, segments: list[Segment], copies: Copies, is_wanted: Callable[[], bool]
    ) -> Packed | None:
        data = bytearray()
        starts: list[int] = []
        for block in _by_block(segments):
            if not is_wanted():
                return None
            content = read_block(self._keep, block[0].locator)
            for segment in block:
                starts.append(len(data))
                data += content[segment.offset : segment.offset + segment.size]
        locator = self._uploader.put(data, copies)
        large = block_name(locator)
        replace_segments = {}
        moves = {}
        for (old, offset, size), start in zip(segments, starts, strict=True):
            replace_segments[f"{block_name(old)} {offset} {size}"] = f"{locator} {start} {size}"
            moves[Place(block_name(old), offset, size)] = Place(large, start, size)
        return Packed(replace_segments, Moves(moves))


def _by_block(segments: Iterable[Segment]) -> list[list[Segment]]:
    """The segments, which are sorted by block, one list for each block."""
    blocks: list[list[Segment]] = []
    for segment in segments:
        if blocks and block_name(blocks[-1][0].locator) == block_name(segment.locator):
            blocks[-1].append(segment)
        else:
            blocks.append([segment])
    return blocks
