"""A block as its readers see it."""

import threading
from typing import Protocol

from arvados_fuse.keep.arrival import Arrival, Witness
from arvados_fuse.keep.locators import Locator

__all__ = ["Block", "BlockOwner"]


class BlockOwner(Protocol):
    """Who keeps the table of blocks: the cache."""

    def get(self, locator: str) -> "Block":
        """The block of a locator, from the table or a new one on its way."""

    def forget(self, block: "Block") -> None:
        """Take a block out of the table."""


class Block:
    """One block of the cache, from the start of its fill to its eviction.

    hash, size: what it is; size in bytes
    view: the whole block, read-only, once it is in memory and its md5 has matched; None before
        that, and again after eviction. The fast path of every read is ``block.view[start:end]``:
        look at it once (``view = block.view``), because another thread may evict the block at any
        time. Slices stay valid for as long as they are held.
    used: readers may set this to True to keep the block longer; eviction takes it back once

    A block may lie in two places, in memory and on a disk; it is read from memory then.

    Reading needs no lock. `settle`, `settle_later` and `leave` belong to the cache.
    """

    __slots__ = (
        "_arrival",
        "_later",
        "_locator",
        "_moving",
        "_owner",
        "hash",
        "size",
        "used",
        "view",
    )

    def __init__(self, locator: str, parts: Locator, arrival: Arrival, owner: BlockOwner) -> None:
        self.hash = parts.hash
        self.size = parts.size
        self.view: memoryview | None = None
        self.used = True
        self._locator = locator
        self._arrival: Arrival | None = arrival
        self._owner = owner
        self._moving = threading.Lock()  # while the two views change
        self._later: memoryview | None = None  # to be read from when `view` is given up

    @property
    def is_elsewhere(self) -> bool:
        """Whether the block can be read from another place when its view is given up."""
        return self._later is not None

    def read(self, start: int, end: int, witness: Witness) -> memoryview:
        """The bytes from `start` to `end`, waiting for them if need be; read-only.

        May block, so call it without the file system's lock. `witness` is poisoned if bytes that it
        got here before the block was verified turn out to be wrong. If the block was evicted it is
        fetched again, under the locator that it had. Raises TimedOut when nothing arrives for too
        long, and the error that ended the fill; get a new Block from the cache to try again then.
        """
        arrival = self._arrival  # before the view: it goes when the view has come
        view = self.view
        if view is not None:
            return view[start:end]
        if arrival is not None:
            return arrival.read(start, end, witness)
        return self._owner.get(self._locator).read(start, end, witness)

    def settle(self, view: memoryview) -> None:
        """The block is verified and from now on is to be read from `view`."""
        self.view = view
        self._arrival = None

    def settle_later(self, view: memoryview) -> None:
        """The settled block is to be read from `view` when that which it has now is given up."""
        with self._moving:
            self._later = view

    def leave(self, view: memoryview) -> None:
        """Give up one of the views; its memory goes back when the last slice of it is gone."""
        with self._moving:
            if self._later is view:
                self._later = None
            elif self._later is not None:
                self.view, self._later = self._later, None
            else:
                self._owner.forget(self)
                self.view = None
