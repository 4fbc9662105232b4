"""The block cache: one fill for many readers, bytes served early, nothing wrong ever kept."""

import gc
import hashlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest

from arvados_fuse.errors import (
    BlockCorrupt,
    BlockLost,
    ClusterError,
    ClusterUnreachable,
    FileSystemError,
    ManifestError,
    TimedOut,
)
from arvados_fuse.keep.arrival import Arrival
from arvados_fuse.keep.blockfile import BlockWriter
from arvados_fuse.keep.cache import Block, BlockCache
from arvados_fuse.keep.disk import DiskStorage
from arvados_fuse.keep.shelf import Shelf
from arvados_fuse.keep.storage import RamStorage
from arvados_fuse.metrics import Metrics
from tests.support.fake_keep import RecordingWitness, ScriptedSource, is_waiting
from tests.support.patience import wait_until

PAGE = 4096
BLOCK = bytes(range(256)) * 64  # four pages
NOBODY = RecordingWitness()


@pytest.fixture
def source() -> ScriptedSource:
    return ScriptedSource()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture(params=["ram", "disk"])
def cache(
    request: pytest.FixtureRequest, source: ScriptedSource, metrics: Metrics, tmp_path: Path
) -> Iterator[BlockCache]:
    """A cache of each kind. After each test it must own up to every byte that it holds."""
    kinds: dict[str, Callable[[], BlockCache]] = {
        "ram": lambda: ram_cache(source, metrics=metrics),
        "disk": lambda: disk_cache(source, tmp_path, metrics=metrics),
    }
    cache = kinds[request.param]()
    yield cache
    cache.close()
    assert cache.ram_held == cache.disk_held == 0
    assert not metrics.unhandled_errors


def ram_cache(
    source: ScriptedSource,
    limit: int = 1 << 20,
    metrics: Metrics | None = None,
    stall_timeout_s: float = 30.0,
    fill_threads: int = 2,
) -> BlockCache:
    return BlockCache(
        source,
        Shelf(RamStorage(), limit=limit, slots=100),
        None,
        metrics=metrics or Metrics(),
        stall_timeout_s=stall_timeout_s,
        fill_threads=fill_threads,
    )


def disk_cache(
    source: ScriptedSource,
    directory: Path,
    limit: int = 1 << 20,
    slots: int = 100,
    metrics: Metrics | None = None,
) -> BlockCache:
    return BlockCache(
        source,
        Shelf(RamStorage(), limit=1 << 20, slots=100),
        Shelf(DiskStorage(str(directory)), limit=limit, slots=slots),
        metrics=metrics or Metrics(),
        fill_threads=2,
    )


class PastCache(BlockWriter):
    """Writes files that the kernel does not have in memory then, as far as it says."""

    def write(self, descriptor: int, content: memoryview) -> bool:
        super().write(descriptor, content)
        return False


def cache_past_page_cache(
    source: ScriptedSource, directory: Path, ram_limit: int, disk_limit: int = 1 << 20
) -> BlockCache:
    return BlockCache(
        source,
        Shelf(RamStorage(), limit=ram_limit, slots=100),
        Shelf(DiskStorage(str(directory), PastCache()), limit=disk_limit, slots=100),
        metrics=Metrics(),
        fill_threads=1,
    )


def read(block: Block, witness: RecordingWitness = NOBODY) -> bytes:
    return bytes(block.read(0, block.size, witness))


def mapped_file(memory: object) -> bool:
    """Whether the memory of a view is a file of the disk cache: that is mapped for reading only."""
    return memoryview(memory).readonly  # type: ignore[arg-type]


class Steps:
    """A script for a source that goes on when the test says so, one step at a time.

    Each step is a function of the sink and its two callbacks. `done` counts the steps.
    """

    def __init__(self, *steps: Callable[[memoryview, "Steps"], None]) -> None:
        self.steps = steps
        self.done = 0
        self.progress: Callable[[int], None]
        self.restarted: Callable[[], None]
        self._go = threading.Semaphore(0)
        self._stepped = threading.Semaphore(0)

    def __call__(
        self, sink: memoryview, progress: Callable[[int], None], restarted: Callable[[], None]
    ) -> None:
        self.progress, self.restarted = progress, restarted
        for step in self.steps:
            assert self._go.acquire(timeout=20)
            self.done += 1
            try:
                step(sink, self)
            finally:
                self._stepped.release()

    def next(self) -> None:
        """Let the next step happen, and wait until it has."""
        self.start()
        assert self._stepped.acquire(timeout=20)

    def start(self) -> None:
        self._go.release()


def deliver(content: bytes, start: int, end: int) -> Callable[[memoryview, Steps], None]:
    def step(sink: memoryview, steps: Steps) -> None:
        sink[start:end] = content[start:end]
        steps.progress(end)

    return step


def restart(_sink: memoryview, steps: Steps) -> None:
    steps.restarted()


def finish(_sink: memoryview, _steps: Steps) -> None:
    """Return from the source: the checksum was right."""


def fail(error: Exception) -> Callable[[memoryview, Steps], None]:
    def step(_sink: memoryview, _steps: Steps) -> None:
        raise error

    return step


# -- reading


def test_a_block_is_read_from_its_view_once_it_is_here(
    cache: BlockCache, source: ScriptedSource
) -> None:
    block = cache.get(source.store(BLOCK))
    assert (block.hash, block.size) == (hashlib.md5(BLOCK).hexdigest(), len(BLOCK))
    assert read(block) == BLOCK
    wait_until(lambda: block.view)
    assert block.view is not None
    assert bytes(block.view[100:200]) == BLOCK[100:200]
    assert bytes(block.read(100, 200, NOBODY)) == BLOCK[100:200]


def test_what_readers_get_is_read_only(cache: BlockCache, source: ScriptedSource) -> None:
    steps = Steps(deliver(BLOCK, 0, PAGE), deliver(BLOCK, PAGE, len(BLOCK)), finish)
    block = cache.get(source.store(BLOCK, steps))
    steps.next()
    assert block.read(0, PAGE, NOBODY).readonly
    steps.next()
    steps.next()
    assert block.read(0, len(BLOCK), NOBODY).readonly
    wait_until(lambda: block.view)
    assert block.view is not None
    assert block.view.readonly


def test_the_empty_block_is_here_at_once(cache: BlockCache, source: ScriptedSource) -> None:
    block = cache.get("d41d8cd98f00b204e9800998ecf8427e+0")
    assert block.view == b""
    assert not source.gets


def test_a_bad_locator_is_refused(cache: BlockCache) -> None:
    with pytest.raises(ManifestError):
        cache.get("nonsense")


def test_a_second_get_finds_the_block_whatever_its_signature(
    cache: BlockCache, source: ScriptedSource, metrics: Metrics
) -> None:
    locator = source.store(BLOCK)
    block = cache.get(locator)
    assert read(block) == BLOCK
    assert cache.get(locator[:32] + f"+{len(BLOCK)}") is block
    assert (metrics.cache_misses, metrics.cache_hits, len(source.gets)) == (1, 1, 1)


def test_many_readers_of_one_cold_block_cause_one_fill(
    cache: BlockCache, source: ScriptedSource
) -> None:
    locator = source.store(BLOCK)
    together = threading.Barrier(8)

    def part(number: int) -> bytes:
        together.wait(10)
        start = number * len(BLOCK) // 8
        return bytes(cache.get(locator).read(start, start + len(BLOCK) // 8, NOBODY))

    with ThreadPoolExecutor(8) as pool:
        assert b"".join(pool.map(part, range(8))) == BLOCK
    assert len(source.gets) == 1


def test_two_who_miss_a_block_at_the_same_moment_get_the_same_one(
    cache: BlockCache, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither has found it in the table, and one is faster in putting it there."""
    locator = source.store(BLOCK)
    faster: list[Block] = []

    def arrival(name: str, size: int, stall_timeout_s: float) -> Arrival:
        monkeypatch.undo()
        faster.append(cache.get(locator))
        return Arrival(name, size, stall_timeout_s)

    monkeypatch.setattr("arvados_fuse.keep.cache.Arrival", arrival)
    assert [cache.get(locator)] == faster
    assert read(faster[0]) == BLOCK
    assert len(source.gets) == 1


def test_nothing_is_started_before_the_first_get(source: ScriptedSource, tmp_path: Path) -> None:
    """The mount forks into the background after it was set up; threads would stay behind."""
    before = threading.active_count()
    cache = disk_cache(source, tmp_path)
    assert threading.active_count() == before
    cache.close()


# -- early bytes and the witnesses


def test_bytes_are_served_while_the_rest_is_coming(
    cache: BlockCache, source: ScriptedSource
) -> None:
    steps = Steps(deliver(BLOCK, 0, PAGE), deliver(BLOCK, PAGE, len(BLOCK)), finish)
    block = cache.get(source.store(BLOCK, steps))
    steps.next()
    assert bytes(block.read(0, PAGE, NOBODY)) == BLOCK[:PAGE]
    assert block.view is None
    steps.next()
    assert bytes(block.read(PAGE, len(BLOCK) - 1, NOBODY)) == BLOCK[PAGE:-1]
    steps.next()
    assert read(block) == BLOCK


def test_the_last_byte_is_held_back_until_the_block_is_verified(
    cache: BlockCache, source: ScriptedSource
) -> None:
    steps = Steps(deliver(BLOCK, 0, len(BLOCK)), finish)
    block = cache.get(source.store(BLOCK, steps))
    steps.next()
    assert bytes(block.read(0, len(BLOCK) - 1, NOBODY)) == BLOCK[:-1]
    with ThreadPoolExecutor(1) as pool:
        last = pool.submit(block.read, len(BLOCK) - 1, len(BLOCK), NOBODY)
        assert is_waiting(last)
        steps.next()
        assert bytes(last.result(20)) == BLOCK[-1:]


def test_a_reader_who_needs_little_does_not_wait_for_one_who_needs_more(
    cache: BlockCache, source: ScriptedSource
) -> None:
    steps = Steps(deliver(BLOCK, 0, PAGE), deliver(BLOCK, PAGE, len(BLOCK)), finish)
    block = cache.get(source.store(BLOCK, steps))
    with ThreadPoolExecutor(2) as pool:
        little = pool.submit(block.read, 0, PAGE, NOBODY)
        assert is_waiting(little)
        much = pool.submit(block.read, 0, 3 * PAGE, NOBODY)
        assert is_waiting(much)
        steps.next()
        assert bytes(little.result(20)) == BLOCK[:PAGE]
        assert is_waiting(much)
        steps.next()
        assert bytes(much.result(20)) == BLOCK[: 3 * PAGE]
        steps.next()


def test_a_good_second_try_does_no_harm_to_who_saw_the_same_bytes(
    cache: BlockCache, source: ScriptedSource
) -> None:
    """The first copy was cut or damaged behind what anybody saw."""
    damaged = BLOCK[:PAGE] + bytes(3 * PAGE)
    steps = Steps(deliver(damaged, 0, len(BLOCK)), restart, deliver(BLOCK, 0, len(BLOCK)), finish)
    block = cache.get(source.store(BLOCK, steps))
    witness = RecordingWitness()
    steps.next()
    assert bytes(block.read(0, PAGE, witness)) == BLOCK[:PAGE]
    for _ in range(3):
        steps.next()
    assert read(block, witness) == BLOCK
    assert not witness.poisons


def test_who_saw_wrong_bytes_is_poisoned_even_if_a_later_copy_is_good(
    cache: BlockCache, source: ScriptedSource
) -> None:
    damaged = bytes(len(BLOCK))
    steps = Steps(deliver(damaged, 0, len(BLOCK)), restart, deliver(BLOCK, 0, len(BLOCK)), finish)
    block = cache.get(source.store(BLOCK, steps))
    early, late = RecordingWitness(), RecordingWitness()
    steps.next()
    assert bytes(block.read(0, PAGE, early)) == damaged[:PAGE]
    steps.next()
    steps.next()
    assert bytes(block.read(0, PAGE, late)) == BLOCK[:PAGE]
    steps.next()
    assert read(block, late) == BLOCK
    assert [type(error) for error in early.poisons] == [BlockCorrupt]
    assert not late.poisons


def test_who_saw_the_first_try_is_in_doubt_for_the_second(
    cache: BlockCache, source: ScriptedSource
) -> None:
    """A slice that was given out in a good try may be looked at while a bad one overwrites it."""
    damaged = bytes(len(BLOCK))
    steps = Steps(
        deliver(BLOCK, 0, PAGE), restart, deliver(damaged, 0, PAGE), restart,
        deliver(BLOCK, 0, len(BLOCK)), finish,
    )  # fmt: skip
    block = cache.get(source.store(BLOCK, steps))
    witness = RecordingWitness()
    steps.next()
    block.read(0, PAGE, witness)
    for _ in range(5):
        steps.next()
    assert read(block) == BLOCK
    assert len(witness.poisons) == 1


def test_void_bytes_are_not_served(cache: BlockCache, source: ScriptedSource) -> None:
    steps = Steps(
        deliver(bytes(len(BLOCK)), 0, PAGE), restart, deliver(BLOCK, 0, len(BLOCK)), finish
    )
    block = cache.get(source.store(BLOCK, steps))
    steps.next()
    steps.next()
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(block.read, 0, PAGE, NOBODY)
        assert is_waiting(early)
        steps.next()
        assert bytes(early.result(20)) == BLOCK[:PAGE]
        steps.next()


def test_when_no_copy_is_good_readers_and_witnesses_learn_it_and_nothing_stays(
    cache: BlockCache, source: ScriptedSource
) -> None:
    error = BlockCorrupt("no copy is good")
    steps = Steps(deliver(BLOCK, 0, PAGE), fail(error))
    locator = source.store(BLOCK, steps)
    block = cache.get(locator)
    early, idle = RecordingWitness(), RecordingWitness()
    steps.next()
    block.read(0, PAGE, early)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(block.read, PAGE, len(BLOCK), idle)
        steps.start()
        with pytest.raises(BlockCorrupt, match="no copy is good"):
            waiting.result(20)
    assert early.poisons == [error]
    assert not idle.poisons
    with pytest.raises(BlockCorrupt):
        block.read(0, 1, idle)
    assert block.view is None
    wait_until(lambda: cache.ram_held == 0)
    source.store(BLOCK)
    assert cache.get(locator) is not block


def test_after_a_failure_the_next_get_tries_afresh(
    cache: BlockCache, source: ScriptedSource
) -> None:
    steps = Steps(fail(BlockLost("gone")))
    locator = source.store(BLOCK, steps)
    steps.start()
    with pytest.raises(BlockLost):
        read(cache.get(locator))
    source.store(BLOCK)
    assert read(cache.get(locator)) == BLOCK


def test_a_defect_of_the_source_is_an_error_of_the_block_with_a_traceback_in_the_log(
    source: ScriptedSource, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    cache = ram_cache(source, metrics=metrics)
    steps = Steps(fail(ZeroDivisionError("oops")))
    block = cache.get(source.store(BLOCK, steps))
    steps.start()
    with pytest.raises(ClusterError, match=block.hash):
        read(block)
    cache.close()
    assert "ZeroDivisionError" in caplog.text
    assert metrics.unhandled_errors == 1


# -- waiting has an end


def test_a_reader_gives_up_when_nothing_arrives(source: ScriptedSource) -> None:
    cache = ram_cache(source, stall_timeout_s=0.05)
    steps = Steps(deliver(BLOCK, 0, len(BLOCK)), finish)
    locator = source.store(BLOCK, steps)
    with pytest.raises(TimedOut, match=r"not one byte arrived within 0\.05 s"):
        read(cache.get(locator))
    steps.next()
    steps.next()
    assert read(cache.get(locator)) == BLOCK, "the fill went on"
    assert len(source.gets) == 1
    cache.close()


def test_a_reader_gives_up_while_its_block_waits_for_a_fill_thread(source: ScriptedSource) -> None:
    cache = ram_cache(source, stall_timeout_s=0.05, fill_threads=1)
    steps = Steps(finish)
    cache.get(source.store(b"slow", steps))
    with pytest.raises(TimedOut):
        read(cache.get(source.store(BLOCK)))
    steps.start()
    cache.close()


def test_close_ends_waits_and_transfers(cache: BlockCache, source: ScriptedSource) -> None:
    aborted: list[Exception] = []

    def notice_abort(_sink: memoryview, steps: Steps) -> None:
        try:
            steps.progress(PAGE)
        except FileSystemError as error:
            aborted.append(error)
            raise

    steps = Steps(notice_abort)
    block = cache.get(source.store(BLOCK, steps))
    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(read, block)
        assert is_waiting(reading)
        closing = pool.submit(cache.close, 20.0)
        with pytest.raises(ClusterUnreachable, match="ending"):
            reading.result(20)
        steps.start()
        closing.result(20)
    assert len(aborted) == 1
    with pytest.raises(ClusterUnreachable):
        cache.get(source.store(b"another"))


def test_close_ends_the_check_of_a_copy_on_disk_and_keeps_the_copy(tmp_path: Path) -> None:
    """Nothing is known against it."""

    class SlowCopy:
        view = memoryview(BLOCK)
        ends: ClassVar[list[str]] = []

        def verify(self, progress: Callable[[int], None]) -> None:
            checking.set()
            assert closed.wait(20)
            progress(PAGE)

        def release(self) -> None:
            self.ends.append("released")

    class SlowDisk(RamStorage):
        def find(self, block_hash: str, size: int) -> SlowCopy:  # type: ignore[override]
            return SlowCopy()

    checking, closed = threading.Event(), threading.Event()
    source = ScriptedSource()
    disk = Shelf(SlowDisk(), limit=1 << 20, slots=9)
    cache = BlockCache(source, Shelf(RamStorage(), limit=1 << 20, slots=9), disk, metrics=Metrics())
    block = cache.get(source.store(BLOCK))
    assert checking.wait(20)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(cache.close, 20.0)
        with pytest.raises(ClusterUnreachable):
            read(block)
        closed.set()
        closing.result(20)
    assert SlowCopy.ends == ["released"]
    assert not source.gets


def test_close_does_not_wait_longer_than_it_is_told(source: ScriptedSource) -> None:
    cache = ram_cache(source)
    steps = Steps(finish)
    cache.get(source.store(BLOCK, steps))
    cache.close(timeout_s=0.01)
    assert not steps.done
    steps.start()


# -- eviction


def blocks_of(source: ScriptedSource, count: int) -> list[str]:
    """The locators of different blocks of four pages."""
    return [source.store(bytes([number]) * 4 * PAGE) for number in range(count)]


def settled(cache: BlockCache, locator: str) -> Block:
    """The block, read and resident, and the fill's work done."""
    block = cache.get(locator)
    read(block)
    wait_until(lambda: block.view is not None and not cache.filling)
    return block


def test_the_least_recently_used_block_goes_first_and_the_limit_holds(
    source: ScriptedSource, tmp_path: Path
) -> None:
    for cache in (ram_cache(source, 12 * PAGE), disk_cache(source, tmp_path, 12 * PAGE)):
        a, b, c, d, e = blocks_of(source, 5)
        first, second, third = (settled(cache, locator) for locator in (a, b, c))
        fourth = settled(cache, d)
        assert first.view is None, "all were marked as used once, so the oldest went"
        assert None not in (second.view, third.view, fourth.view)
        second.used = True
        settled(cache, e)
        assert third.view is None, "the second was used since"
        assert second.view is not None
        assert cache.ram_held + cache.disk_held == 12 * PAGE
        cache.close()


def test_an_evicted_block_is_fetched_again_also_for_who_still_holds_it(
    source: ScriptedSource,
) -> None:
    cache = ram_cache(source, 4 * PAGE)
    a, b = blocks_of(source, 2)
    block = settled(cache, a)
    content = read(block)
    settled(cache, b)
    assert block.view is None
    assert read(block) == content
    assert cache.get(a) is not block
    assert source.gets == [a, b, a]
    cache.close()


def test_slices_outlive_the_eviction_of_their_block(source: ScriptedSource, tmp_path: Path) -> None:
    for cache in (ram_cache(source, 4 * PAGE), disk_cache(source, tmp_path, 4 * PAGE)):
        a, b = blocks_of(source, 2)
        block = settled(cache, a)
        assert block.view is not None
        held = block.view[PAGE : 2 * PAGE]
        settled(cache, b)
        assert block.view is None
        cache.close()
        del cache, block
        gc.collect()
        assert bytes(held) == bytes(PAGE)


# -- blocks that the disk has, but not the kernel's page cache


def test_a_block_past_the_page_cache_is_read_from_memory_for_a_while_and_then_from_the_disk(
    source: ScriptedSource, tmp_path: Path
) -> None:
    cache = cache_past_page_cache(source, tmp_path, ram_limit=8 * PAGE)
    blocks = [settled(cache, locator) for locator in blocks_of(source, 4)]
    assert (cache.ram_held, cache.disk_held) == (8 * PAGE, 16 * PAGE)
    memories = [block.view.obj for block in blocks if block.view is not None]
    files = [memory for memory in memories if mapped_file(memory)]
    assert memories[:2] == files, "the first two have left our memory"
    assert [read(block) for block in blocks] == [bytes([n]) * 4 * PAGE for n in range(4)]
    assert len(source.gets) == 4
    cache.close()


def test_memory_is_given_back_when_no_other_block_comes(
    source: ScriptedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arvados_fuse.keep.cache._LINGER_S", 0.01)
    cache = cache_past_page_cache(source, tmp_path, ram_limit=1 << 20)
    blocks = [settled(cache, locator) for locator in blocks_of(source, 3)]
    wait_until(lambda: cache.ram_held == 0)
    assert all(mapped_file(block.view.obj) for block in blocks if block.view is not None)
    assert [read(block) for block in blocks] == [bytes([n]) * 4 * PAGE for n in range(3)]
    assert len(source.gets) == 3
    cache.close()


def test_a_block_that_the_disk_gives_up_first_stays_in_memory_until_its_turn(
    source: ScriptedSource, tmp_path: Path
) -> None:
    cache = cache_past_page_cache(source, tmp_path, ram_limit=8 * PAGE, disk_limit=4 * PAGE)
    a, b, c = blocks_of(source, 3)
    first = settled(cache, a)
    settled(cache, b)
    assert cache.disk_held == 4 * PAGE
    assert cache.get(a) is first
    assert read(first) == bytes(4 * PAGE)
    assert source.gets == [a, b]
    settled(cache, c)
    wait_until(lambda: first.view is None)
    assert read(cache.get(a)) == bytes(4 * PAGE)
    assert source.gets == [a, b, c, a]
    cache.close()


def test_memory_goes_back_when_block_and_slices_are_gone(source: ScriptedSource) -> None:
    """No frame of an idle fill thread and no finished transfer may hold on to 64 MiB."""
    cache = ram_cache(source, 4 * PAGE)
    a, b = blocks_of(source, 2)
    block = settled(cache, a)
    assert block.view is not None
    memory = block.view.obj
    settled(cache, b)
    gc.collect()
    wait_until(lambda: sys.getrefcount(memory) == 2)
    cache.close()


def test_blocks_being_filled_are_not_evicted_and_count(source: ScriptedSource) -> None:
    """Rather than that a reader waits for room, the limit is exceeded."""
    cache = ram_cache(source, 4 * PAGE)
    scripts = [Steps(deliver(BLOCK, 0, PAGE), finish) for _ in range(2)]
    first = cache.get(source.store(BLOCK, scripts[0]))
    second = cache.get(source.store(BLOCK[::-1], scripts[1]))
    scripts[0].next()
    scripts[1].next()
    assert cache.ram_held == 8 * PAGE
    for block, script in zip((first, second), scripts, strict=True):
        script.next()
        block.read(0, block.size, NOBODY)
    wait_until(lambda: not cache.filling)
    settled(cache, source.store(b"x"))
    assert cache.ram_held <= 4 * PAGE, "the next fill brings the cache back under its limit"
    cache.close()


def test_readers_are_right_while_blocks_come_and_go(source: ScriptedSource, tmp_path: Path) -> None:
    """Four threads read eight blocks through a cache with room for two."""
    for cache in (ram_cache(source, 8 * PAGE), disk_cache(source, tmp_path, 8 * PAGE)):
        locators = blocks_of(source, 8)

        def reader(seed: int, cache: BlockCache = cache, locators: list[str] = locators) -> int:
            wrong = 0
            for step in range(200):
                number = (seed * 31 + step * 7) % 8
                block = cache.get(locators[number])
                view = block.view
                start = step % 3 * PAGE
                if view is not None:
                    piece = view[start : start + PAGE]
                else:
                    piece = block.read(start, start + PAGE, NOBODY)
                wrong += bytes(piece) != bytes([number]) * PAGE
            return wrong

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(reader, range(4))) == 0
        wait_until(lambda cache=cache: not cache.filling)
        assert cache.disk_held <= 8 * PAGE
        assert cache.ram_held <= 8 * PAGE + 8 * PAGE, "two fill threads may be over by a block each"
        cache.close()


def test_blocks_over_the_slots_are_closed_but_stay_on_disk(
    source: ScriptedSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    cache = disk_cache(source, tmp_path, slots=2, metrics=metrics)
    locators = blocks_of(source, 4)
    for locator in locators:
        settled(cache, locator)
    assert cache.disk_held == 2 * 4 * PAGE
    assert len(list(tmp_path.glob("*/*.keepcacheblock"))) == 4
    assert read(cache.get(locators[0])) == bytes(4 * PAGE)
    assert len(source.gets) == 4
    assert metrics.cache_disk_hits == 1
    cache.close()
    assert not caplog.records


def test_readers_are_right_while_blocks_go_from_memory_to_the_disk_and_away(
    source: ScriptedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four threads, eight blocks, memory for two of them and disk for three."""
    monkeypatch.setattr("arvados_fuse.keep.cache._LINGER_S", 0.0)
    cache = cache_past_page_cache(source, tmp_path, ram_limit=8 * PAGE, disk_limit=12 * PAGE)
    locators = blocks_of(source, 8)

    def reader(seed: int) -> int:
        wrong = 0
        for step in range(300):
            number = (seed * 31 + step * 7) % 8
            piece = cache.get(locators[number]).read(PAGE, 2 * PAGE, NOBODY)
            wrong += bytes(piece) != bytes([number]) * PAGE
        return wrong

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(reader, range(4))) == 0
    wait_until(lambda: not cache.filling and not cache.ram_held)
    assert cache.disk_held <= 12 * PAGE
    cache.close()
    assert not cache.disk_held


def test_a_quiet_run_logs_nothing(
    cache: BlockCache, source: ScriptedSource, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        settled(cache, source.store(BLOCK))
    assert not caplog.records
