"""What we tell the kernel: which of the things that it remembers it should forget.

The requests are sent by one thread of this module alone. llfuse has a queue of its own, but a
bounded one: a request handler that waited for room in it while holding the file system's lock
would wait for a kernel that waits for the handler. The queue here has no bound, so asking never
blocks, and the thread that may wait holds no lock.
"""

import logging
import queue
import threading
from collections.abc import Callable

import llfuse

__all__ = ["Kernel"]

log = logging.getLogger(__name__)

LLFUSE_TIME_LIMIT_S = 5.0
"""How long to wait at the end for llfuse to send what it has been given."""


class Kernel:
    """The sender of invalidations. A `fresh.KernelNotifier`.

    Its methods may be called from any thread, with or without the file system's lock.
    """

    def __init__(self, encoding: str) -> None:
        """Make one for a mount whose file names are in `encoding`. The thread is not started."""
        self._encoding = encoding
        self._requests: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._stopping = False
        self._thread = threading.Thread(target=self._send, name="kernel notifier", daemon=True)

    def invalidate_inode(self, inode: int) -> None:
        """Drop the cached pages and attributes of inode number `inode`."""
        self._requests.put(lambda: llfuse.invalidate_inode(inode))

    def invalidate_attributes(self, inode: int) -> None:
        """Drop the cached attributes of inode number `inode`, and keep its pages."""
        self._requests.put(lambda: llfuse.invalidate_inode(inode, attr_only=True))

    def invalidate_entry(self, parent_inode: int, name: str) -> None:
        """Drop the cached directory entry `name` of directory `parent_inode`."""
        encoded = name.encode(self._encoding, "surrogateescape")
        self._requests.put(lambda: llfuse.invalidate_entry(parent_inode, encoded))

    def start(self) -> None:
        """Start sending. Call when the file system is mounted."""
        self._thread.start()

    def stop(self) -> None:
        """Drop what is waiting, and end. Call when llfuse's main loop has ended.

        llfuse's own sender must be done before the session is closed under it; llfuse tells it
        to end but does not wait for it, so we do.
        """
        self._stopping = True
        self._requests.put(None)
        self._thread.join(LLFUSE_TIME_LIMIT_S)
        for thread in threading.enumerate():
            if "_notify_loop" in thread.name:
                thread.join(LLFUSE_TIME_LIMIT_S)

    def _send(self) -> None:
        while (request := self._requests.get()) is not None:
            if not self._stopping:
                request()
