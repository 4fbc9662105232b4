"""The block cache: every block that is here, or on its way here, once.

Readers call :meth:`BlockCache.get`, which never waits, and read from the Block that it returns. A
block that is not here is filled by one of a few threads: from the disk cache, else from a Keep
service into memory; once verified it moves to disk, or stays in RAM where there is no disk cache
or the disk cannot take it. If it has been written past the kernel's page cache (see `blockfile`),
it stays in RAM for a while, too, so that whoever has asked for it ahead need not wait for the disk.

`get` starts a fill whoever calls it and whether or not anybody reads the block afterwards: handles
that are read in order call it ahead of their readers.

The lock here guards the table of blocks alone. It is never held during I/O, while a witness is
poisoned, or while another lock is taken.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from arvados_fuse.errors import ClusterError, ClusterUnreachable, FileSystemError, NoSpace
from arvados_fuse.keep.arrival import Arrival, Witness
from arvados_fuse.keep.block import Block
from arvados_fuse.keep.disk import DiskStorage
from arvados_fuse.keep.locators import MAX_BLOCK_SIZE, Locator, parse_locator
from arvados_fuse.keep.shelf import Shelf
from arvados_fuse.keep.storage import DamagedCopy, RamStorage, allocate
from arvados_fuse.keep.workers import Workers
from arvados_fuse.metrics import Metrics

__all__ = ["DEFAULT_RAM_CACHE_SIZE", "Block", "BlockCache", "BlockSource", "Witness"]

logger = logging.getLogger(__name__)

DEFAULT_RAM_CACHE_SIZE = 256 << 20
"""Bytes of the RAM cache when none were asked for, as in the official driver."""

_RAM_SLOTS = 16384
"""Blocks in RAM at once: each is a mapping, and Linux allows a process 65,530 of them."""

_FILL_THREADS = 6
_STALL_TIMEOUT_S = 600.0
"""A reader gives up after this long without one byte: a little longer than all retries last."""

_LINGER_S = 10.0
"""Blocks that are on disk, too, leave our memory when no other has come for so long."""

_TROUBLE_INTERVAL_S = 3600.0
"""A disk that cannot take blocks is worth a line so often."""


class BlockSource(Protocol):
    """Where blocks come from; KeepClient is one."""

    def get(
        self,
        locator: str,
        sink: memoryview,
        progress: Callable[[int], None],
        restarted: Callable[[], None],
    ) -> None:
        """Fill `sink` with a block whose md5 has been checked (see KeepClient.get)."""


class BlockCache:
    """All blocks that are here or on their way. Threads: every method from any thread.

    source: where missing blocks come from
    ram: the shelf that blocks are filled on; where they stay when there is no disk that takes them
    disk: the shelf that they move to, None for a cache in RAM alone
    metrics: where hits and misses are counted
    fill_threads: blocks filled at the same time
    stall_timeout_s: a reader gives up after so long without one byte of its block

    No thread is started and nothing on disk is looked at before the first block is asked for.
    """

    def __init__(
        self,
        source: BlockSource,
        ram: Shelf,
        disk: Shelf | None,
        *,
        metrics: Metrics,
        fill_threads: int = _FILL_THREADS,
        stall_timeout_s: float = _STALL_TIMEOUT_S,
    ) -> None:
        self._source = source
        self._ram = ram
        self._disk = disk
        self._metrics = metrics
        self._stall_timeout_s = stall_timeout_s
        self._lock = threading.Lock()
        self._blocks: dict[str, Block] = {}  # by hash and size
        self._filling: set[Arrival] = set()
        self._closed = False
        self._workers = Workers(fill_threads, "keep-fill")
        self._trouble_told_at = -math.inf
        self._lingering: threading.Timer | None = None  # until blocks leave our memory

    @classmethod
    def in_ram(
        cls, source: BlockSource, *, metrics: Metrics, limit: int = DEFAULT_RAM_CACHE_SIZE
    ) -> "BlockCache":
        """A cache of `limit` bytes of memory."""
        ram = Shelf(RamStorage(), limit=limit, slots=_RAM_SLOTS)
        return cls(source, ram, None, metrics=metrics)

    @classmethod
    def on_disk(
        cls, source: BlockSource, *, metrics: Metrics, directory: str, limit: int, slots: int
    ) -> "BlockCache":
        """A cache of `limit` bytes of disk.

        slots: how many blocks may be open at once (see disk_cache_slots)

        Raises OSError when the directory cannot be made.
        """
        ram = Shelf(RamStorage(), limit=DEFAULT_RAM_CACHE_SIZE, slots=_RAM_SLOTS)
        disk = Shelf(DiskStorage(directory), limit=limit, slots=slots)
        return cls(source, ram, disk, metrics=metrics)

    @property
    def capacity(self) -> int:
        """How many full blocks fit into the cache."""
        return (self._disk or self._ram).limit // MAX_BLOCK_SIZE

    @property
    def ram_held(self) -> int:
        """Bytes of memory that blocks take, those on their way included."""
        return self._ram.held

    @property
    def disk_held(self) -> int:
        """Bytes of disk that open blocks take."""
        return self._disk.held if self._disk is not None else 0

    @property
    def filling(self) -> int:
        """How many blocks are on their way, or waiting for a thread that brings them."""
        return len(self._filling)

    def get(self, locator: str) -> Block:
        """The block of a locator, marked as used. Starts its fill if it is not here; never waits.

        Raises ManifestError when the locator breaks the grammar, ClusterUnreachable after close.
        """
        parts = parse_locator(locator)
        block = self._blocks.get(parts.name)
        if block is None:
            return self._start(locator, parts)
        self._metrics.cache_hits += 1
        block.used = True
        return block

    def forget(self, block: Block) -> None:
        """Take a block out of the table: the next `get` makes a new one. Called by the block."""
        name = f"{block.hash}+{block.size}"
        with self._lock:
            if self._blocks.get(name) is block:
                del self._blocks[name]

    def close(self, timeout_s: float = 5.0) -> None:
        """Give up what is on its way, wait for the fill threads at most `timeout_s`, close files.

        Readers that wait get ClusterUnreachable. Closing the client first makes this quick.
        """
        with self._lock:
            self._closed = True
            arrivals = list(self._filling)
            if self._lingering is not None:
                self._lingering.cancel()
        for arrival in arrivals:
            arrival.fail(_closed_error())
        self._workers.close(timeout_s)
        self._ram.close()
        if self._disk is not None:
            self._disk.close()

    # -- filling

    def _start(self, locator: str, parts: Locator) -> Block:
        """The block, and its fill started, unless another thread just did that."""
        arrival = Arrival(parts.name, parts.size, self._stall_timeout_s)
        new = Block(locator, parts, arrival, self)
        if not parts.size:
            new.settle(memoryview(b""))
            return new
        with self._lock:
            if self._closed:
                raise _closed_error()
            block = self._blocks.setdefault(parts.name, new)
            if block is new:
                self._filling.add(arrival)
        if block is new:
            self._metrics.cache_misses += 1
            self._workers.submit(partial(self._fill, block, arrival, locator))
        else:
            self._metrics.cache_hits += 1
        return block

    def _fill(self, block: Block, arrival: Arrival, locator: str) -> None:
        """Bring a block here: the job of a fill thread."""
        try:
            if not self._fill_from_disk(block, arrival):
                self._fill_from_source(block, arrival, locator)
        except FileSystemError as error:
            self._give_up(block, arrival, error)
        except Exception:
            self._metrics.unhandled_errors += 1
            logger.exception("block %s: the fill failed", block.hash)
            words = f"block {block.hash} cannot be read: an internal error, see the mount's log"
            self._give_up(block, arrival, ClusterError(words))
        finally:
            with self._lock:
                self._filling.discard(arrival)

    def _give_up(self, block: Block, arrival: Arrival, error: FileSystemError) -> None:
        """End a fill that failed. The block goes first, so that who retries gets a new one."""
        self.forget(block)
        arrival.fail(error)

    def _fill_from_disk(self, block: Block, arrival: Arrival) -> bool:
        """Use the copy that the disk has, if it has a good one."""
        if self._disk is None:
            return False
        try:
            copy = self._disk.find(block)
            if copy is None:
                return False
            try:
                # Unlike a service's copy none of it is served before: checking it takes a tenth of
                # a second, and a bad one is replaced without anybody noticing.
                copy.verify(arrival.moved)
            except FileSystemError:  # given up meanwhile: nothing is known about the copy
                copy.release()
                raise
            arrival.begin(copy.view)
        except DamagedCopy as damage:
            self._metrics.blocks_corrupt += 1
            logger.warning("%s: deleted, and the block is fetched again", damage)
            return False
        except OSError as error:
            self._tell_trouble(error)
            return False
        self._metrics.cache_disk_hits += 1
        arrival.complete()
        self._disk.adopt(block, copy)
        return True

    def _fill_from_source(self, block: Block, arrival: Arrival, locator: str) -> None:
        """Fetch a block into memory, serve it, and only then see to where it stays."""
        self._ram.reserve(block.size)
        try:
            memory = _allocate(block)
            arrival.begin(memory)
            self._source.get(locator, memory, arrival.progress, arrival.restart)
            arrival.complete()
        except BaseException:
            self._ram.cancel(block.size)
            raise
        block.settle(memory.toreadonly())
        if self._move_to_disk(block, memory):
            self._ram.cancel(block.size)
            return
        self._ram.store(block, memory)
        if block.is_elsewhere:
            self._let_go_later()

    def _move_to_disk(self, block: Block, content: memoryview) -> bool:
        """Put a block on the disk's shelf.

        False when it is to stay in memory: because there is no disk, or that cannot take it, or it
        has it, but not in the kernel's memory. In this case readers go on to use ours for a while.
        """
        if self._disk is None:
            return False
        try:
            self._disk.reserve(block.size)
            return self._disk.store(block, content)
        except OSError as error:
            self._tell_trouble(error)
            return False

    def _let_go_later(self) -> None:
        """Give memory back when no other block has come for a while."""
        timer = threading.Timer(_LINGER_S, self._ram.relinquish)
        timer.daemon = True
        timer.name = "keep-linger"
        with self._lock:
            if self._closed:
                return
            if self._lingering is not None:
                self._lingering.cancel()
            self._lingering = timer
        timer.start()

    def _tell_trouble(self, error: OSError) -> None:
        """Log, once in a while, that the disk cache does not work."""
        now = time.monotonic()
        if now - self._trouble_told_at >= _TROUBLE_INTERVAL_S:
            self._trouble_told_at = now
            logger.warning("the disk cache cannot be used now, blocks stay in RAM: %s", error)


def _allocate(block: Block) -> memoryview:
    """Memory for a block. Raises NoSpace."""
    try:
        return allocate(block.size)
    except OSError as error:
        raise NoSpace(
            f"block {block.hash} cannot be read: no memory for its {block.size} bytes"
        ) from error


def _closed_error() -> ClusterUnreachable:
    return ClusterUnreachable("the mount is ending: no more blocks are read")
