"""What every object of the file system has in common, and how long its content may be trusted.

Owns: `FreshBase`, the base of all files and directories, and `SingleFlight`, the way to do slow
work once for all the requests that wait for it. Everything here is called with the file system's
lock held; only the slow work itself runs without it.
"""

import threading
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from arvados_fuse.errors import FileSystemError, TimedOut

__all__ = ["FOREVER", "FreshBase", "KernelNotifier", "Parent", "SingleFlight", "Unlocked"]

T = TypeVar("T")

FOREVER = float("inf")
"""A time that never comes: the `valid_until` of content that cannot change."""

Unlocked = AbstractContextManager[object]
"""Gives up the file system's lock for as long as its `with` block runs. Can be used again."""


class KernelNotifier(Protocol):
    """How the file system asks the kernel to forget something. Never blocks."""

    def invalidate_inode(self, inode: int) -> None:
        """Drop the cached pages and attributes of inode number `inode`."""

    def invalidate_attributes(self, inode: int) -> None:
        """Drop the cached attributes of inode number `inode`, and keep its pages."""

    def invalidate_entry(self, parent_inode: int, name: str) -> None:
        """Drop the cached directory entry `name` of directory `parent_inode`."""


class Parent(Protocol):
    """The directory that an object belongs to.

    live: how many of its entries are in the inode table
    """

    live: int

    @property
    def inode(self) -> int:
        """Its number."""

    def path(self) -> str:
        """Return its path from the root of the mount."""


class FreshBase:
    """A file or a directory: something that an inode number stands for.

    inode: its number, 0 until it is in the inode table
    parent: the directory that it belongs to, None for the root
    kernel_refs: lookups that the kernel has been given and has not yet forgotten
    uses: open handles and running requests that need the object
    valid_until: clock time in seconds up to which its content may be served without asking

    An object with `kernel_refs` or `uses` above zero must stay in the inode table.
    """

    __slots__ = ("inode", "kernel_refs", "parent", "uses", "valid_until")

    transient = False
    """True for objects so cheap to make again that they are dropped once nobody refers to them."""

    def __init__(self, parent: Parent | None) -> None:
        self.inode = 0
        self.parent = parent
        self.kernel_refs = 0
        self.uses = 0
        self.valid_until = 0.0

    @property
    def pinned(self) -> bool:
        """Whether the object has to stay in the inode table."""
        return self.kernel_refs > 0 or self.uses > 0

    def path(self) -> str:
        """Return the path from the root of the mount, for log lines."""
        raise NotImplementedError

    def invalidate(self) -> None:
        """Distrust the content: the next use asks the cluster again."""
        self.valid_until = 0.0

    @property
    def watches(self) -> tuple[str, ...]:
        """Keys of the events that concern the object (`events.Event.keys`); always the same."""
        return ()

    def lifetime(self, now: float) -> float:
        """For how many seconds after `now` the kernel may keep what it is told."""
        return max(0.0, self.valid_until - now)


class _Flight:
    """One piece of slow work under way, and how it ended."""

    __slots__ = ("error", "landed")

    def __init__(self) -> None:
        self.landed = threading.Event()
        self.error: FileSystemError | None = None


class SingleFlight:
    """Runs slow work once for all requests that need its result at the same time.

    All methods are called with the file system's lock held.
    """

    def __init__(self, unlocked: Unlocked, time_limit_s: float) -> None:
        """Make one; nobody waits longer than `time_limit_s` seconds for somebody else's work."""
        self._unlocked = unlocked
        self._time_limit_s = time_limit_s
        self._flights: dict[Hashable, _Flight] = {}

    def run(self, key: Hashable, work: Callable[[], T], landed: Callable[[T], None]) -> None:
        """Do `work` without the lock, then `landed(result)` with it; or wait for who does it.

        Of several callers with the same `key` one does the work; the others return when it is
        done, or raise what it raised. Raises TimedOut if that takes too long.
        """
        flight = self._flights.get(key)
        if flight is not None:
            self._wait(flight)
            return
        flight = self._flights[key] = _Flight()
        try:
            with self._unlocked:
                result = work()
            landed(result)
        except FileSystemError as error:
            flight.error = error
            raise
        except BaseException:
            flight.error = FileSystemError("The request that this one waited for failed.")
            raise
        finally:
            del self._flights[key]
            flight.landed.set()

    def _wait(self, flight: _Flight) -> None:
        with self._unlocked:
            in_time = flight.landed.wait(self._time_limit_s)
        if not in_time:
            raise TimedOut(f"The cluster took longer than {self._time_limit_s:.0f} s to answer.")
        if flight.error is not None:
            raise type(flight.error)(*flight.error.args)
