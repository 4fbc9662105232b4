"""Sending a large block: straight from the file, and never its end before its checksum is known."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import Executor
from typing import BinaryIO

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

__all__ = ["HELD_BACK_SIZE", "BlockResponse"]

logger = logging.getLogger(__name__)

HELD_BACK_SIZE = 64 << 10
"""Bytes at the end of a block that are sent only when the checksum has been found right."""


class BlockResponse(web.StreamResponse):
    """An answer whose body is `file`, all `size` bytes of it. Closes the file.

    verify: if given, reads the file behind a descriptor and says whether its checksum is right.
    It runs in one of `threads` while the data is being sent; if the checksum is wrong, the
    connection is closed before the end of the body, which tells the client.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        verify: Callable[[int], bool] | None,
        threads: Executor,
    ) -> None:
        super().__init__()
        self.content_length = size
        self._file = file
        self._size = size
        self._verify = verify
        self._threads = threads

    async def read(self, size: int) -> bytes:
        """Return the next bytes of the body, at most `size`, unchecked, instead of sending it.

        Who asks for them has to close the answer.
        """
        return await asyncio.to_thread(self._file.read, size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send head and body. (aiohttp calls this to have an answer sent.)"""
        with self._file:
            verdict = self._start_to_verify()
            writer = await super().prepare(request)
            checked_from = self._size if verdict is None else self._size - HELD_BACK_SIZE
            await self._send(request, 0, checked_from)
            if verdict is not None:
                if not await verdict:
                    self._cut(request)
                await self._send(request, checked_from, HELD_BACK_SIZE)
            await super().write_eof()
            return writer

    def _start_to_verify(self) -> asyncio.Future[bool] | None:
        verify = self._verify
        if verify is None:
            return None
        # The client can go away, and the file be closed, while the thread still reads.
        descriptor = os.dup(self._file.fileno())

        def run() -> bool:
            try:
                return verify(descriptor)
            finally:
                os.close(descriptor)

        return asyncio.get_running_loop().run_in_executor(self._threads, run)

    async def _send(self, request: web.BaseRequest, offset: int, size: int) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        await asyncio.get_running_loop().sendfile(transport, self._file, offset, size)

    def _cut(self, request: web.BaseRequest) -> None:
        logger.error("block %s fails its checksum; answer cut", request.path[1:33])
        if request.transport is not None:
            request.transport.close()
        raise ConnectionResetError("the block fails its checksum")
