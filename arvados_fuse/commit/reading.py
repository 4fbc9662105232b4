"""Reading whole blocks, to store their bytes in another block or once more."""

from __future__ import annotations

from typing import Protocol

from arvados_fuse.collection.locator import block_name
from arvados_fuse.errors import AccessRefused, BlockCorrupt, BlockLost
from arvados_fuse.keep.cache import BlockSource

__all__ = ["BlockReader", "can_read", "read_block"]


class BlockReader(BlockSource, Protocol):
    """What reads blocks: `keep.client.KeepClient`."""

    def with_token(self, token: str) -> BlockReader:
        """Return one that asks with another token."""


def read_block(keep: BlockReader, locator: str) -> bytearray:
    """Return the bytes of a block. Waits; raises what `KeepClient.get` raises."""
    content = bytearray(int(block_name(locator).partition("+")[2]))
    with memoryview(content) as sink:
        keep.get(locator, sink, _ignore_size, _ignore)
    return content


def can_read(keep: BlockReader, locator: str) -> bool:
    """Whether a block can be read: whether its first bytes come. Raises as `read_block` else."""
    content = bytearray(int(block_name(locator).partition("+")[2]))
    try:
        with memoryview(content) as sink:
            keep.get(locator, sink, _enough, _ignore)
    except _Enough:
        pass
    except (AccessRefused, BlockLost, BlockCorrupt):
        return False
    return True


class _Enough(Exception):
    """Ends a transfer."""


def _enough(size: int) -> None:
    raise _Enough


def _ignore_size(size: int) -> None:
    """Nobody waits for a part of the block."""


def _ignore() -> None:
    """Nothing has been done with the bytes."""
