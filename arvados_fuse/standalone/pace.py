"""Bodies of requests and answers that come no faster than they are to, for tests.

Bytes pass all the time, a few at a time, as they do in a slow network: whoever waits for a body,
or for its being taken, sees that it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

__all__ = ["PACE", "Pace", "pieces_of_body", "whole_body"]

PACE = "pace"
"""What a request is marked with whose body is to come slowly: its `Pace`."""

_STEP_S = 0.02
"""A limited body passes in pieces, one about every so many seconds."""


class Pace:
    """Lets so many bytes pass in a second, from now on.

    step: bytes of a piece
    """

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._due = asyncio.get_running_loop().time()
        self.step = max(1, int(bytes_per_s * _STEP_S))

    async def passed(self, size: int) -> None:
        """Wait until the next piece may pass, after one of `size` bytes."""
        self._due += size / self._bytes_per_s
        await asyncio.sleep(self._due - asyncio.get_running_loop().time())


def pieces_of_body(request: web.Request) -> AsyncIterator[bytes]:
    """Return the body of a request, piece by piece, as it comes or as slowly as it is to."""
    pace: Pace | None = request.get(PACE)
    return request.content.iter_any() if pace is None else _paced(request, pace)


async def whole_body(request: web.Request) -> bytes:
    """Return the body of a request. Raises HTTPRequestEntityTooLarge, as `request.read` does."""
    if PACE not in request:
        return await request.read()
    body = bytearray()
    async for piece in pieces_of_body(request):
        body += piece
        if len(body) > request.client_max_size:
            raise web.HTTPRequestEntityTooLarge(request.client_max_size, len(body))
    return bytes(body)


async def _paced(request: web.Request, pace: Pace) -> AsyncIterator[bytes]:
    while piece := await request.content.read(pace.step):
        await pace.passed(len(piece))
        yield piece
