"""One block on its way from a service into memory: slices, checksum, speed limit.

Used by the client only; one transfer belongs to one thread and outlives several tries.
"""

import hashlib
import http.client
import time
from collections.abc import Callable
from typing import NamedTuple

from arvados_fuse.keep.connections import BlockResponse
from arvados_fuse.keep.locators import Locator
from arvados_fuse.keep.verdicts import TryFailed, Verdict, status_failure, transport_failure
from arvados_fuse.metrics import Metrics

__all__ = ["SpeedLimit", "SpeedWatch", "Transfer"]

_FIRST_SLICE = 4096
"""Bytes of the first slice: no more than came along with the head of the answer, so that a reader
at the start of a block does not wait for the rest."""

_SLICE = 1 << 20
"""Bytes of a later slice at most; less when less has arrived. Measured: with 64 KiB a block takes a
tenth longer, and 8 MiB gain no more than 3 %."""


class SpeedLimit(NamedTuple):
    """The slowest body that is still waited for: `bytes_per_s` over every window of `window_s`."""

    bytes_per_s: int
    window_s: float


class Transfer:
    """A block to be received, in as many tries as it takes.

    block: what is received
    sink: writable memory of exactly the block's size
    progress: told the number of bytes in place, after each slice
    restarted: told when those bytes are void
    """

    def __init__(
        self,
        block: Locator,
        sink: memoryview,
        *,
        progress: Callable[[int], None],
        restarted: Callable[[], None],
        slowest: SpeedLimit,
        metrics: Metrics,
    ) -> None:
        self.block = block
        self._sink = sink
        self._progress = progress
        self._restarted = restarted
        self._slowest = slowest
        self._metrics = metrics

    def check_head(self, response: BlockResponse) -> None:
        """Raise TryFailed unless the head of an answer announces the block."""
        if response.status != http.client.OK:
            raise status_failure(response.status)
        if response.length != self.block.size:
            size = "no length" if response.length is None else f"{response.length} bytes"
            raise TryFailed(Verdict.CORRUPT, f"it announced {size}, not {self.block.size}")

    def receive_body(self, response: BlockResponse) -> None:
        """Stream a body into the sink and check its md5.

        Raises TryFailed; the bytes have been declared void then. What `progress` raises comes out
        as it is.
        """
        try:
            checksum = self._stream(response)
            if checksum != self.block.hash:
                raise TryFailed(Verdict.CORRUPT, "it sent bytes with another checksum")
        except TryFailed:
            self._restarted()
            raise

    def _stream(self, response: BlockResponse) -> str:
        """Receive all bytes and return their md5 in hex. Raises TryFailed."""
        sink = self._sink
        digest = hashlib.md5(usedforsecurity=False)
        watch = SpeedWatch(self._slowest)
        position = 0
        step = _FIRST_SLICE
        while position < len(sink):
            try:
                received = response.receive_into(sink[position : position + step])
            except (OSError, http.client.HTTPException) as error:
                raise transport_failure(error) from error
            if not received:
                raise TryFailed(
                    Verdict.UNREACHABLE,
                    f"the connection broke after {position} of {len(sink)} bytes",
                )
            arrived = position + received
            self._metrics.keep_get_bytes += received
            self._progress(arrived)
            digest.update(sink[position:arrived])
            watch.count(received)
            position = arrived
            step = _SLICE
        return digest.hexdigest()


class SpeedWatch:
    """Notices a body that trickles: every window of time must bring its share of bytes."""

    def __init__(self, slowest: SpeedLimit) -> None:
        self._slowest = slowest
        self._bytes = 0
        self._ends_at = time.monotonic() + slowest.window_s

    def count(self, received: int) -> None:
        """Note bytes that went over. Raises TryFailed at the end of a window with too few."""
        self._bytes += received
        now = time.monotonic()
        if now < self._ends_at:
            return
        if self._bytes < self._slowest.bytes_per_s * self._slowest.window_s:
            raise TryFailed(
                Verdict.TIMED_OUT,
                f"only {self._bytes} bytes in {self._slowest.window_s:g} s",
            )
        self._bytes = 0
        self._ends_at = now + self._slowest.window_s
