"""One block on its way: who waits for it, and who was given bytes of it before it was verified.

The state machine between one fill thread, which writes the block's memory, and any number of
readers. Bytes are served as soon as they are there, except that a read which ends at the block's
last byte waits until the md5 of the whole block has matched. So nobody can read a whole block
and not know that it was right.
"""

import hashlib
import math
import threading
import time
from typing import NamedTuple, Protocol

from arvados_fuse.errors import BlockCorrupt, FileSystemError, TimedOut

__all__ = ["Arrival", "Witness"]


class Witness(Protocol):
    """Whoever is handed bytes of a block; a file handle."""

    def poison(self, error: FileSystemError) -> None:
        """Let every later read fail: bytes that this witness got were wrong or never verified.

        Called from any thread, with no lock held.
        """


class _Doubt(NamedTuple):
    """A try that failed after bytes had been served.

    served: the block's first so many bytes may have been seen
    digest: their md5, as they were
    witnesses: who may have seen them
    """

    served: int
    digest: bytes
    witnesses: dict[int, Witness]


class Arrival:
    """A block on its way.

    name: hash and size, for messages
    size: bytes of the block
    stall_timeout_s: a reader gives up when not one byte has arrived for so long

    Two roles: `read` is for readers, in any thread; all else is for the fill thread, except `fail`,
    which any thread may call to give the block up. Poisons and hashes with no lock held.
    """

    __slots__ = (
        "_arrived",
        "_changed",
        "_doubts",
        "_error",
        "_moved_at",
        "_name",
        "_served",
        "_size",
        "_stall_timeout_s",
        "_verified",
        "_view",
        "_wanted",
        "_witnesses",
    )

    def __init__(self, name: str, size: int, stall_timeout_s: float) -> None:
        self._name = name
        self._size = size
        self._stall_timeout_s = stall_timeout_s
        self._changed = threading.Condition(threading.Lock())
        self._view = memoryview(b"")  # where the block is written
        self._arrived = 0  # bytes of this try that are in place
        self._moved_at = time.monotonic()  # when bytes last arrived
        self._wanted = math.inf  # the least number of bytes that would help a waiting reader
        self._verified = False
        self._error: FileSystemError | None = None
        self._served = 0  # end of the last byte that was ever served unverified
        self._witnesses: dict[int, Witness] = {}  # who got bytes of this try, by identity
        self._doubts: list[_Doubt] = []

    # -- for readers

    def read(self, start: int, end: int, witness: Witness) -> memoryview:
        """The bytes from `start` to `end`, as soon as they may be served; read-only.

        Waits, within the stall timeout. Raises TimedOut, or the error that ended the block.
        """
        with self._changed:
            self._wait_for(end)
            if not self._verified:
                self._witnesses[id(witness)] = witness
                self._served = max(self._served, end)
            return self._view[start:end]

    def _wait_for(self, end: int) -> None:
        """Wait until the bytes before `end` may be served. The lock is held."""
        needed = end if end < self._size else math.inf
        waiting_since = time.monotonic()
        while not self._verified:
            self._raise_if_given_up()
            if self._arrived >= needed:
                return
            stalled_at = max(waiting_since, self._moved_at) + self._stall_timeout_s
            left_s = stalled_at - time.monotonic()
            if left_s <= 0:
                raise TimedOut(
                    f"block {self._name} cannot be read:"
                    f" not one byte arrived within {self._stall_timeout_s:g} s"
                )
            self._wanted = min(self._wanted, needed)
            self._changed.wait(left_s)

    def _raise_if_given_up(self) -> None:
        """Raise the error that ended the block, if one did. The lock is held."""
        if self._error is not None:
            raise type(self._error)(str(self._error)) from self._error

    # -- for the fill thread

    def begin(self, view: memoryview) -> None:
        """The block will be written into `view` from its first byte; what came before is void."""
        self.restart()
        with self._changed:
            self._view = view.toreadonly()

    def progress(self, arrived: int) -> None:
        """The first `arrived` bytes are in place. Raises the error if the block was given up."""
        with self._changed:
            self._raise_if_given_up()
            self._arrived = arrived
            self._moved_at = time.monotonic()
            if arrived >= self._wanted:
                self._wanted = math.inf
                self._changed.notify_all()

    def moved(self, _: int) -> None:
        """Work goes on, though no bytes can be served yet. Raises the error if it was given up."""
        with self._changed:
            self._raise_if_given_up()
            self._moved_at = time.monotonic()

    def restart(self) -> None:
        """The bytes that arrived are void: serve no more of them, and remember what they were.

        Who saw an earlier failed try is in doubt for this one too: a slice of the memory that was
        handed out then may have been looked at only now.
        """
        with self._changed:
            self._arrived = 0
            served, witnesses = self._served, self._witnesses
            self._witnesses = {}
        if self._doubts:
            witnesses = {**self._doubts[-1].witnesses, **witnesses}
        if witnesses:
            self._doubts.append(_Doubt(served, _md5(self._view[:served]), witnesses))

    def complete(self) -> None:
        """The md5 of the whole block has matched: serve all of it.

        First poison those who were given bytes that differ from the true ones.
        """
        misled: dict[int, Witness] = {}
        for doubt in self._doubts:
            if _md5(self._view[: doubt.served]) != doubt.digest:
                misled.update(doubt.witnesses)
        self._doubts.clear()
        _poison(
            misled,
            BlockCorrupt(
                f"bytes of block {self._name} that this file handle was given were wrong;"
                " a good copy has been found since: open the file again"
            ),
        )
        with self._changed:
            self._verified = True
            self._witnesses = {}
            self._changed.notify_all()

    def fail(self, error: FileSystemError) -> None:
        """Give the block up: readers get `error`, and who was given bytes of it is poisoned.

        Any thread. Nothing happens if the block is complete or was given up before.
        """
        with self._changed:
            if self._verified or self._error is not None:
                return
            self._error = error
            witnesses = dict(self._witnesses)
            self._witnesses = {}
        for doubt in self._doubts:
            witnesses.update(doubt.witnesses)
        _poison(witnesses, error)
        with self._changed:
            self._changed.notify_all()


def _poison(witnesses: dict[int, Witness], error: FileSystemError) -> None:
    for witness in witnesses.values():
        witness.poison(error)


def _md5(content: memoryview) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()
