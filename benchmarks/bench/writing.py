"""Rows about writing."""

from __future__ import annotations

import io
import os
import random
import re
import statistics
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.bench.model import LIMIT, OURS, Figures, Row, Scenario
from benchmarks.bench.plain import BLOCK_SIZE, seconds
from benchmarks.bench.stage import DRIVERS, Stage, on_mounts
from tests.support.mounts import RunningMount

__all__ = ["SCENARIOS"]

SMALL_FILE = 4000
WRITERS = 4
COMMITS = 5

UNTAR = Row("untar 500 files of 4 kB and sync", of_official=0.02)
UNTAR_EACH = Row("untar 10,000 files of 4 kB and sync, per file", "ms", at_most=1)
UNTAR_REQUESTS = Row("requests to the API for them, per file", "", at_most=0.01)
UNTAR_GROWTH = Row("time per file at 10,000 files, by that at 1,000", "", at_most=1.5)
COPY_IN = Row("`dd` 1 GiB with fsync", of_official=0.5, of_limit=1.4)
PARALLEL = Row("4 writers of 4 files, 1 GiB in all, with fsync", of_limit=1.0)
REWRITE = Row("rewrite 4 KiB in the middle of 1 GiB, with fsync", "ms", of_official=0.05)
COMMIT = Row("rewrite one of 100,000 files, with fsync", "ms", at_most=50)
COMMIT_BYTES = Row("bytes sent to the cluster for that", "KiB", at_most=32)


def empty(stage: Stage) -> str:
    """A new collection without files."""
    return stage.collection()


def archive(path: Path, files: int) -> Path:
    """Make an archive of small files with content that nobody has seen."""
    with tarfile.open(path, "w") as tar:
        for number in range(files):
            entry = tarfile.TarInfo(f"d{number // 100:03}/file{number:05}")
            entry.size = SMALL_FILE
            tar.addfile(entry, io.BytesIO(random.randbytes(SMALL_FILE)))
    return path


def unpack(stage: Stage, mount: RunningMount, files: int) -> float:
    """Seconds until so many files are unpacked and in the cluster."""
    tar = archive(stage.memory / "archive.tar", files)

    def work() -> None:
        subprocess.run(["tar", "xf", tar, "-C", mount.directory], check=True)
        subprocess.run(["sync", mount.directory], check=True)

    elapsed = seconds(work)
    tar.unlink()
    return elapsed


def untar(stage: Stage, mount: RunningMount) -> Figures:
    """Unpack some files."""
    return {UNTAR: unpack(stage, mount, stage.sizes.untar)}


def untar_many(stage: Stage) -> Figures:
    """Unpack many files, and a tenth of that, each into an empty collection."""
    files = stage.sizes.untar_many
    few_ms = per_file_ms(stage, files // 10)
    stage.cluster.request_counts(reset=True)
    many_ms = per_file_ms(stage, files)
    counts = stage.cluster.request_counts()
    requests = sum(count for name, count in counts.items() if "keep" not in name)
    return {
        UNTAR_EACH: many_ms,
        UNTAR_REQUESTS: requests / files,
        UNTAR_GROWTH: many_ms / few_ms,
    }


def per_file_ms(stage: Stage, files: int) -> float:
    """Milliseconds for each of so many files that are unpacked by a mount of their own."""
    with stage.mount(DRIVERS[OURS], "--collection", empty(stage), "--read-write") as mount:
        return unpack(stage, mount, files) / files * 1e3


def new_content(path: Path, blocks: int) -> Path:
    """Make a file of so many blocks that nobody has seen."""
    piece = bytearray(random.randbytes(BLOCK_SIZE))
    with path.open("wb") as file:
        for _ in range(blocks):
            piece[:16] = os.urandom(16)
            file.write(piece)
    return path


def copy_in(source: Path, target: Path) -> float:
    """Seconds until a file is copied and in the cluster."""
    command = ["dd", f"if={source}", f"of={target}", "bs=1M", "conv=fsync", "status=none"]
    return seconds(partial(subprocess.run, command, check=True))


def copy_one(row: Row, stage: Stage, mount: RunningMount) -> Figures:
    """Write one large file."""
    source = new_content(stage.memory / "source", stage.sizes.blocks)
    figures = {row: copy_in(source, mount / "new")}
    source.unlink()
    return figures


def copy_four(stage: Stage, mount: RunningMount) -> Figures:
    """Write as much in several files at the same time."""
    blocks = stage.sizes.blocks // WRITERS
    sources = [new_content(stage.memory / f"source{n}", blocks) for n in range(WRITERS)]
    targets = [mount / f"new{number}" for number in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as threads:
        elapsed = seconds(lambda: list(threads.map(copy_in, sources, targets)))
    for source in sources:
        source.unlink()
    return {PARALLEL: elapsed}


def upload(stage: Stage) -> Figures:
    """Hash and upload as much without a file system."""
    content = random.randbytes(BLOCK_SIZE)
    return {COPY_IN: seconds(lambda: stage.keep.put_all(content, stage.sizes.blocks))}


def write_through(path: Path, offset: int, content: bytes) -> float:
    """Milliseconds to open a file, write at an offset, and have that in the cluster."""

    def work() -> None:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.pwrite(descriptor, content, offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    return seconds(work) * 1e3


def rewrite(stage: Stage, mount: RunningMount) -> Figures:
    """Change a page of a large file."""
    middle = stage.sizes.blocks * BLOCK_SIZE // 2 + 12345
    return {REWRITE: write_through(mount / "large", middle, random.randbytes(4096))}


def bytes_sent(process: int) -> int:
    """What a process has sent over the connections that it has now (ss(8))."""
    lines = subprocess.run(["ss", "-tinpHO"], check=True, capture_output=True, text=True).stdout
    own = [line for line in lines.splitlines() if f"pid={process}," in line]
    return sum(int(number) for line in own for number in re.findall(r"bytes_sent:(\d+)", line))


def commit_one(stage: Stage, mount: RunningMount) -> Figures:
    """Change one file after the other among very many."""
    files = [f"d{number:03}/file{number:06}.txt" for number in range(1, COMMITS + 2)]
    first, *others = [mount / name for name in files]
    write_through(first, 0, b"connects, and makes the journal")
    before = bytes_sent(mount.process.pid)
    times = [write_through(path, 0, random.randbytes(4096)) for path in others]
    sent = bytes_sent(mount.process.pid) - before
    return {COMMIT: statistics.median(times), COMMIT_BYTES: sent / len(others) / 1024}


def tree_to_change(stage: Stage) -> str:
    """A new collection of 100,000 files in 100 directories."""
    return stage.new_many(100, stage.sizes.files // 100)


SCENARIOS = (
    Scenario(rows=(UNTAR,), sides=on_mounts(empty, untar, "--read-write"), official_rounds=1),
    Scenario(rows=(UNTAR_EACH, UNTAR_REQUESTS, UNTAR_GROWTH), sides={OURS: untar_many}),
    Scenario(
        rows=(COPY_IN,),
        sides={**on_mounts(empty, partial(copy_one, COPY_IN), "--read-write"), LIMIT: upload},
        limit="`dd`: md5 and PUT of the blocks by a plain parallel uploader",
    ),
    Scenario(
        rows=(PARALLEL,),
        sides={
            **on_mounts(empty, copy_four, "--read-write", sides=(OURS,)),
            LIMIT: on_mounts(empty, partial(copy_one, PARALLEL), "--read-write", sides=(OURS,))[
                OURS
            ],
        },
        limit="4 writers: one writer of ours that writes as much",
    ),
    Scenario(rows=(REWRITE,), sides=on_mounts(Stage.new_large, rewrite, "--read-write")),
    Scenario(
        rows=(COMMIT, COMMIT_BYTES),
        sides=on_mounts(tree_to_change, commit_one, "--read-write", sides=(OURS,)),
    ),
)
