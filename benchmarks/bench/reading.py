"""Rows about reading file data."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.bench.model import LIMIT, OURS, Figures, Row, Scenario
from benchmarks.bench.plain import BLOCK_SIZE, md5_s, seconds
from benchmarks.bench.stage import Stage, on_mounts
from tests.support.mounts import RunningMount

__all__ = ["SCENARIOS", "copy_to_nowhere", "processor_s"]

PAGE = 4096
THROTTLED = {"route": "keep", "bytes_per_s": 50e6}
FAR = {"route": "keep", "latency_s": 0.02, "bytes_per_s": 100e6}
FAR_READS = 4
READERS = 4

FIRST = Row("first 4 KiB of a cold 64 MiB block", "ms", of_official=0.05, over_limit=10)
FIRST_THROTTLED = Row(
    "first 4 KiB of a cold 64 MiB block, server at 50 MB/s", "ms", of_official=0.05, over_limit=10
)
COLD = Row("1 GiB in order, cold", of_official=0.5, of_limit=1.3)
BLOCK_CACHE = Row("1 GiB in order, block cache warm", of_official=0.28, of_limit=1.4)
PAGE_CACHE = Row("1 GiB in order, page cache warm, reopened", of_official=0.12, of_limit=1.2)
PROCESSOR = Row("processor seconds of the daemon per GiB, cold", of_official=0.5)
PARALLEL = Row("4 readers of 4 files, 1 GiB in all, cold", of_official=0.5, of_limit=1.0)
RANDOM = Row("10,000 random reads of 4 KiB in 1 GiB, cold", of_official=0.6)
FETCHED = Row("bytes fetched for them per byte of the blocks", "", at_most=1.0)
FAR_FIRST = Row("random 4 KiB, cold, 20 ms and 100 MB/s away", "ms", of_official=0.2)


def copy_to_nowhere(path: Path) -> float:
    """Seconds that a program needs to read a file in order."""
    command = ["dd", f"if={path}", "of=/dev/null", "bs=1M", "status=none"]
    return seconds(partial(subprocess.run, command, check=True))


def drop_pages(path: Path) -> None:
    """Let the kernel forget the pages of a file."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def processor_s(process: int) -> float:
    """Seconds that a process has computed so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def page_at(path: Path, offset: int) -> float:
    """Milliseconds to open a file and read a page at an offset."""

    def read() -> None:
        descriptor = os.open(path, os.O_RDONLY)
        assert len(os.pread(descriptor, PAGE, offset)) == PAGE
        os.close(descriptor)

    return seconds(read) * 1e3


# -- the first bytes ------------------------------------------------------------------------


def first_bytes(
    row: Row, rules: tuple[dict[str, object], ...], stage: Stage, mount: RunningMount
) -> Figures:
    """Read the first page of a file of which nothing is there."""
    stage.drop_caches()
    with stage.faults(*rules):
        return {row: page_at(mount / "large", 0)}


def first_bytes_plainly(row: Row, rules: tuple[dict[str, object], ...], stage: Stage) -> Figures:
    """The same of a block, without a file system."""
    stage.drop_caches()
    with stage.faults(*rules):
        return {row: stage.keep.first_bytes_s(stage.locators()[0], PAGE) * 1e3}


def far_first(stage: Stage, mount: RunningMount) -> Figures:
    """Read a page of several blocks, none of which is there."""
    blocks = random.Random(7).sample(range(stage.sizes.blocks), FAR_READS)
    stage.drop_caches()
    with stage.faults(FAR):
        times = [page_at(mount / "large", block * BLOCK_SIZE + PAGE * 99) for block in blocks]
    return {FAR_FIRST: statistics.median(times)}


# -- in order -------------------------------------------------------------------------------


def in_order(stage: Stage, mount: RunningMount) -> Figures:
    """Read a file with nothing cached, with the block cache, with the page cache."""
    file = mount / "large"
    stage.drop_caches()
    before = processor_s(mount.process.pid)
    figures = {COLD: copy_to_nowhere(file)}
    used = processor_s(mount.process.pid) - before
    figures[PROCESSOR] = used * (1 << 30) / file.stat().st_size
    drop_pages(file)
    figures[BLOCK_CACHE] = copy_to_nowhere(file)
    figures[PAGE_CACHE] = copy_to_nowhere(file)
    return figures


def in_order_at_the_limit(stage: Stage) -> Figures:
    """Download, hash, serve from memory, and read from tmpfs."""
    stage.drop_caches()
    figures = {
        COLD: max(seconds(lambda: stage.keep.get_all(stage.locators())), md5_s(stage.sizes.blocks))
    }
    size = stage.sizes.blocks * BLOCK_SIZE
    with stage.bare(size=size) as mount:
        figures[BLOCK_CACHE] = copy_to_nowhere(mount / "large")
    file = stage.memory / "same"
    file.write_bytes(bytes(size))
    figures[PAGE_CACHE] = copy_to_nowhere(file)
    file.unlink()
    return figures


def parallel(stage: Stage, mount: RunningMount) -> Figures:
    """Read several files at the same time."""
    stage.drop_caches()
    files = [mount / f"part{number}" for number in range(READERS)]
    with ThreadPoolExecutor(READERS) as threads:
        return {PARALLEL: seconds(lambda: list(threads.map(copy_to_nowhere, files)))}


def one_reader(stage: Stage, mount: RunningMount) -> Figures:
    """Read as much as all readers do."""
    stage.drop_caches()
    return {PARALLEL: copy_to_nowhere(mount / "large")}


# -- anywhere -------------------------------------------------------------------------------


def anywhere(stage: Stage, mount: RunningMount) -> Figures:
    """Read pages all over a file, the same each time."""
    stage.drop_caches()
    stage.cluster.request_counts(reset=True)
    size = stage.sizes.blocks * BLOCK_SIZE
    output = subprocess.run(
        [
            *("fio", "--name=random", f"--filename={mount / 'large'}", f"--size={size}"),
            *("--rw=randread", "--bs=4k", f"--number_ios={stage.sizes.random_reads}"),
            *("--randseed=1", "--ioengine=psync", "--readonly", "--output-format=json"),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    read = json.loads(output[output.index("{") :])["jobs"][0]["read"]
    fetched = stage.cluster.request_counts().get("GET keep", 0)
    return {RANDOM: read["runtime"] / 1e3, FETCHED: fetched / stage.sizes.blocks}


def first_scenario(row: Row, *rules: dict[str, object]) -> Scenario:
    """The scenario of one of the rows of the first bytes."""
    sides = on_mounts(Stage.large, partial(first_bytes, row, rules))
    return Scenario(
        rows=(row,),
        sides={**sides, LIMIT: partial(first_bytes_plainly, row, rules)},
        limit=f"{row.name}: a plain client, on a new connection",
    )


SCENARIOS = (
    first_scenario(FIRST),
    first_scenario(FIRST_THROTTLED, THROTTLED),
    Scenario(
        rows=(COLD, BLOCK_CACHE, PAGE_CACHE, PROCESSOR),
        sides={**on_mounts(Stage.large, in_order), LIMIT: in_order_at_the_limit},
        limit="1 GiB in order, cold: the slower of a plain parallel download and md5 on all"
        " processors; block cache warm: a bare llfuse daemon that serves a memoryview; page cache"
        " warm: tmpfs",
    ),
    Scenario(
        rows=(PARALLEL,),
        sides={
            **on_mounts(Stage.large, parallel),
            LIMIT: on_mounts(Stage.large, one_reader, sides=(OURS,))[OURS],
        },
        limit="4 readers: one reader of ours that reads as much",
    ),
    Scenario(rows=(RANDOM, FETCHED), sides=on_mounts(Stage.large, anywhere)),
    Scenario(rows=(FAR_FIRST,), sides=on_mounts(Stage.large, far_first)),
)
