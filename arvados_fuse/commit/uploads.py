"""Chunks of the journal become blocks of Keep.

A chunk is sent as it is when most of its bytes are still part of some file; else what is left of
it is put together first. A few threads send several chunks at a time.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from arvados_fuse.collection.extents import Spot, Stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arvados_fuse.journal.chunks import Chunk

__all__ = ["BlockWriter", "Uploader"]

THREADS = 3
"""Chunks on their way at a time: one is hashed while another is sent and a third is stored."""


ZEROS_LIFETIME_S = 600.0
"""How long a block of zeros is used again. Its signature has to hold until the commit."""


class BlockWriter(Protocol):
    """What stores blocks: `keep.client.KeepClient`."""

    def put(
        self, data: bytes | bytearray | memoryview, *, classes: tuple[str, ...], replicas: int
    ) -> str:
        """Store a block and return its signed locator."""


class Uploader:
    """Sends chunks to Keep. Threads: every method from any thread.

    classes: storage classes that blocks shall have; empty for the cluster's default
    replicas: copies of each block
    """

    def __init__(self, keep: BlockWriter, *, classes: tuple[str, ...], replicas: int) -> None:
        self._keep = keep
        self._classes = classes
        self._replicas = replicas
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="upload")
        self._zeros: dict[int, tuple[str, float]] = {}

    def upload(self, chunk: Chunk, live: Sequence[tuple[int, int]]) -> Future[list[Spot]]:
        """Send `chunk`, which is sealed, and say where its bytes went.

        live: the parts that are still needed, as (offset, size), sorted and apart from each other
        The future raises what `KeepClient.put` and `Chunk.view` raise.
        """
        return self._threads.submit(self._upload, chunk, live)

    def zeros(self, size: int) -> str:
        """Return the locator of a block of `size` zero bytes. Waits; raises as `KeepClient.put`."""
        locator, until = self._zeros.get(size, ("", 0.0))
        if time.monotonic() >= until:
            locator = self._put(bytes(size))
            self._zeros[size] = locator, time.monotonic() + ZEROS_LIFETIME_S
        return locator

    def close(self) -> None:
        """Wait for the threads to end."""
        self._threads.shutdown()

    def _upload(self, chunk: Chunk, live: Sequence[tuple[int, int]]) -> list[Spot]:
        with chunk.view() as view:
            if 4 * sum(size for _, size in live) >= 3 * len(view):
                return [Spot(0, len(view), Stored(self._put(view), 0))]
            locator = self._put(b"".join(view[offset : offset + size] for offset, size in live))
        spots = []
        end = 0
        for offset, size in live:
            spots.append(Spot(offset, size, Stored(locator, end)))
            end += size
        return spots

    def _put(self, data: bytes | memoryview) -> str:
        return self._keep.put(data, classes=self._classes, replicas=self._replicas)
