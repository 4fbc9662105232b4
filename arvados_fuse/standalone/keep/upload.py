"""From the body of a request to a block: two buffers, one of which is written while one fills."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from typing import Any

from arvados_fuse.standalone.keep.blocks import Incoming

__all__ = ["Upload"]

_BUFFER_SIZE = 4 << 20
"""In bytes. Hashing and writing run beside the event loop, but between two calls they have to wait
for it: the larger the buffers are, the less often."""


class Upload:
    """Brings pieces of up to `size` bytes in all to `block`, by way of `threads`."""

    def __init__(self, block: Incoming, size: int, threads: Executor) -> None:
        self._block = block
        self._threads = threads
        self._filling = bytearray(max(1, min(_BUFFER_SIZE, size)))
        self._other: bytearray | None = None
        self._filled = 0
        self._writing: asyncio.Future[Any] | None = None

    async def add(self, piece: bytes) -> None:
        """Take a piece. Waits while both buffers are full. Raises OSError."""
        rest = memoryview(piece)
        while rest:
            if self._filled == len(self._filling):
                await self._exchange_buffers()
            free = len(self._filling) - self._filled
            taken, rest = rest[:free], rest[free:]
            self._filling[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)

    async def _exchange_buffers(self) -> None:
        await self.settle()
        full, self._filled = self._filling, 0
        self._filling = self._other or bytearray(len(full))
        self._other = full
        # At the same time: each of the two takes about as long as the other.
        loop = asyncio.get_running_loop()
        self._writing = asyncio.gather(
            loop.run_in_executor(self._threads, self._block.digest, memoryview(full)),
            loop.run_in_executor(self._threads, self._block.write, memoryview(full)),
        )

    async def settle(self) -> None:
        """Wait until no thread uses the block. Raises OSError."""
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    def finish(self) -> None:
        """Write what is left in the buffer, in the calling thread. Settle first. Raises OSError."""
        rest = memoryview(self._filling)[: self._filled]
        self._block.write(rest)
        self._block.digest(rest)
