"""Chunks of the journal become blocks of Keep.

A chunk is sent as it is when most of its bytes are still part of some file; else what is left of
it is put together first. What Keep is known to have is not sent. A few threads send several chunks
at a time.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Protocol

from arvados_fuse.collection.extents import Spot, Stored
from arvados_fuse.collection.locator import block_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arvados_fuse.api import Desired
    from arvados_fuse.collection.tree import Tree
    from arvados_fuse.commit.copies import Copies, Standard
    from arvados_fuse.commit.known import KnownBlocks
    from arvados_fuse.journal.chunks import Chunk

__all__ = ["BlockWriter", "Uploaded", "Uploader"]

THREADS = 3
"""Chunks on their way at a time: one is hashed while another is sent and a third is stored."""


class BlockWriter(Protocol):
    """What stores blocks: `keep.client.KeepClient`."""

    def put(
        self,
        data: bytes | bytearray | memoryview,
        *,
        classes: tuple[str, ...],
        replicas: int,
        md5: str | None = None,
    ) -> str:
        """Store a block and return its signed locator. md5: of the data, if it is known."""


class Uploaded(NamedTuple):
    """A chunk that is in Keep.

    spots: where its bytes are
    token: the one of before; the locators are signed for it, or for one that came meanwhile
    """

    spots: list[Spot]
    token: str


class Uploader:
    """Sends chunks to Keep. Threads: every method from any thread.

    known: the blocks that were sent lately
    standard: what is asked of Keep where a collection wants nothing else
    """

    def __init__(self, keep: BlockWriter, known: KnownBlocks, standard: Standard) -> None:
        self._keep = keep
        self._known = known
        self._standard = standard
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="upload")
        self._zeros: dict[int, str] = {}  # by size: hash and size

    def token(self) -> str:
        """Return the token that requests are made with now."""
        return self._known.token()

    def copies(self, desired: Desired | None) -> Copies:
        """Return what to ask for the blocks of a collection. desired: what it wants, if known."""
        return self._standard.copies(desired)

    def upload(
        self,
        chunk: Chunk,
        live: Sequence[tuple[int, int]],
        copies: Copies,
        base: Tree | None = None,
    ) -> Future[Uploaded]:
        """Send `chunk`, which is sealed, and say where its bytes went.

        live: the parts that are still needed, as (offset, size), sorted and apart from each other
        copies: what is asked of Keep
        base: content that the collection has, with block signatures that hold; None if there is
            none. A block of it is not sent again
        The future raises what `KeepClient.put` and `Chunk.view` raise.
        """
        return self._threads.submit(self._upload, chunk, live, copies, base)

    def upload_again(
        self, block: str, chunk: Chunk, live: Sequence[tuple[int, int]], copies: Copies
    ) -> Future[Uploaded]:
        """As `upload`, for a block, by hash and size, whose signature was refused."""
        self._known.forget(block)
        return self.upload(chunk, live, copies)

    def zeros(self, size: int, copies: Copies) -> str:
        """Return the locator of a block of `size` zero bytes. Waits; raises as `KeepClient.put`."""
        block = self._zeros.get(size)
        locator = self._known.locator(block, copies) if block is not None else None
        if locator is None:
            locator = self.put(bytes(size), copies)
            self._zeros[size] = block_name(locator)
        return locator

    def put(
        self, data: bytes | bytearray | memoryview, copies: Copies, base: Tree | None = None
    ) -> str:
        """Store a block, unless Keep is known to have it, and return its signed locator.

        Waits; raises as `KeepClient.put`. base: as for `upload`
        """
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        block = f"{md5}+{len(data)}"
        locator = self._known.locator(block, copies)
        if locator is None and base is not None:
            locator = base.locator(block)
        if locator is None:
            token = self.token()
            replicas, classes = copies
            locator = self._keep.put(data, classes=classes, replicas=replicas, md5=md5)
            self._known.stored(block, locator, token, copies)
        return locator

    def is_there(self, block: str, copies: Copies, base: Tree | None) -> bool:
        """Whether Keep has a block, by hash and size, for sure. base: as for `upload`."""
        if self._known.locator(block, copies) is not None:
            return True
        return base is not None and base.locator(block) is not None

    def close(self) -> None:
        """Wait for the threads to end."""
        self._threads.shutdown()

    def _upload(
        self, chunk: Chunk, live: Sequence[tuple[int, int]], copies: Copies, base: Tree | None
    ) -> Uploaded:
        token = self.token()
        with chunk.view() as view:
            if 4 * sum(size for _, size in live) >= 3 * len(view):
                locator = self.put(view, copies, base)
                return Uploaded([Spot(0, len(view), Stored(locator, 0))], token)
            data = b"".join(view[offset : offset + size] for offset, size in live)
            locator = self.put(data, copies, base)
        spots = []
        end = 0
        for offset, size in live:
            spots.append(Spot(offset, size, Stored(locator, end)))
            end += size
        return Uploaded(spots, token)
