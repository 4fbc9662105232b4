"""Blocks that Keep is known to have, with signatures that can still be used.

A signature is good for the token alone that it was made for, and for a limited time (Arvados
documentation, "Keep locator format"; discovery document: `blobSignatureTtl`). As long as one
holds, Keep holds the block: it need not be sent again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from arvados_fuse.clock import lasting_clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from arvados_fuse.commit.copies import Copies

__all__ = ["KnownBlocks"]

MOST_BLOCKS = 4096
"""Blocks that are remembered: about a megabyte."""


class _Known(NamedTuple):
    """A locator, the token that it was signed for, until when it is used, and what was stored."""

    locator: str
    token: str
    until: float
    copies: Copies


class KnownBlocks:
    """The blocks that a mount has stored lately. Threads: every method from any thread.

    token: returns the token that requests are made with now
    lifetime_s: for how long a signature is used. It must hold for some time after that, until the
        commit that it is for
    clock: seconds, of a clock that always runs
    """

    def __init__(
        self,
        token: Callable[[], str],
        lifetime_s: float,
        clock: Callable[[], float] = lasting_clock,
    ) -> None:
        self.token = token
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()  # by hash and size, oldest use first

    def locator(self, block: str, copies: Copies) -> str | None:
        """Return the signed locator of a block, by its hash and size; None if none can be used.

        copies: what there has to be of it
        """
        with self._lock:
            known = self._known.get(block)
            if known is None:
                return None
            if known.token != self.token() or self._clock() >= known.until:
                del self._known[block]
                return None
            self._known.move_to_end(block)
            return known.locator if known.copies.include(copies) else None

    def forget(self, block: str) -> None:
        """Send the block again when it is needed: its signature was refused."""
        with self._lock:
            self._known.pop(block, None)

    def stored(self, block: str, locator: str, token: str, copies: Copies) -> None:
        """Note that a block was stored just now. token: the one of before the request."""
        with self._lock:
            until = self._clock() + self._lifetime_s
            self._known[block] = _Known(locator, token, until, copies)
            self._known.move_to_end(block)
            if len(self._known) > MOST_BLOCKS:
                self._known.popitem(last=False)
