"""Rows about names and attributes: listings, walks, and the memory that they cost."""

from __future__ import annotations

import subprocess
import time
from functools import partial
from pathlib import Path

from benchmarks.bench.model import LIMIT, OURS, Figures, Row, Scenario
from benchmarks.bench.plain import seconds
from benchmarks.bench.stage import DRIVERS, Stage, on_mounts
from tests.support.mounts import RunningMount

__all__ = ["SCENARIOS", "list_long", "list_names"]

LIST_FIRST = Row("`ls -f` of 100,000 files, first", of_official=0.08)
LIST_AGAIN = Row("`ls -f` of 100,000 files, again", of_official=0.03, of_limit=1.5)
LIST_LONG = Row("`ls -l` of 100,000 files", of_official=0.25, of_limit=1.2)
NAMES_MEMORY = Row("memory per file after `ls -f`", "B", of_official=0.3, at_most=350)
STAT_MEMORY = Row("memory per file after `ls -l`", "B", of_official=0.45, at_most=700)
FIND_FIRST = Row("`find -size` in 100 x 100 files, first", of_official=0.02)
FIND_AGAIN = Row("`find -size` in 100 x 100 files, again", of_official=0.02)
MANY_LIST = Row("1,000,000 files: from start to the end of `ls -f`", at_most=8)
MANY_MEMORY = Row("1,000,000 files: resident after `ls -f`", "MiB", at_most=450)
MANY_OPEN = Row("1,000,000 files: from start to one file read by path", at_most=3)
START = Row("from start to the first listing of the mount", of_official=0.6)


def run(*command: object) -> float:
    """Seconds that a program needs; what it prints is thrown away."""
    words = [str(word) for word in command]
    return seconds(partial(subprocess.run, words, check=True, stdout=subprocess.DEVNULL))


def list_names(directory: Path) -> float:
    """Seconds for the names alone."""
    return run("ls", "-f", directory)


def list_long(directory: Path) -> float:
    """Seconds for names and attributes."""
    return run("ls", "-l", directory)


def listing(stage: Stage, mount: RunningMount) -> Figures:
    """List many files twice, then with their attributes."""
    before = mount.rss()
    figures = {LIST_FIRST: list_names(mount.directory)}
    figures[NAMES_MEMORY] = (mount.rss() - before) / stage.sizes.files
    figures[LIST_AGAIN] = list_names(mount.directory)
    figures[LIST_LONG] = list_long(mount.directory)
    figures[STAT_MEMORY] = (mount.rss() - before) / stage.sizes.files
    return figures


def listing_at_the_limit(stage: Stage) -> Figures:
    """The same from a daemon that does nothing else."""
    with stage.bare(files=stage.sizes.files) as mount:
        return {
            LIST_AGAIN: list_names(mount / "names"),
            LIST_LONG: list_long(mount / "names"),
        }


def walk(stage: Stage, mount: RunningMount) -> Figures:
    """Look at the size of every file in a tree, twice."""
    command = ("find", mount.directory, "-size", "+1")
    return {FIND_FIRST: run(*command), FIND_AGAIN: run(*command)}


def many_listed(stage: Stage) -> Figures:
    """Mount very many files and list them."""
    uuid = stage.many(0, stage.sizes.many_files)
    started = time.perf_counter()
    with stage.mount(DRIVERS[OURS], "--collection", uuid) as mount:
        list_names(mount.directory)
        elapsed = time.perf_counter() - started
        return {MANY_LIST: elapsed, MANY_MEMORY: mount.rss() / (1 << 20)}


def many_opened(stage: Stage) -> Figures:
    """Mount very many files and read one of them, without a listing."""
    uuid = stage.many(0, stage.sizes.many_files)
    started = time.perf_counter()
    with stage.mount(DRIVERS[OURS], "--collection", uuid) as mount:
        name = f"file{stage.sizes.many_files // 2:06}.txt"
        assert (mount / name).read_bytes()
        return {MANY_OPEN: time.perf_counter() - started}


def start(driver: Path, stage: Stage) -> Figures:
    """Start a mount of a small collection, as its users do, until it shows its root."""
    uuid = stage.many(0, 10)
    started = time.perf_counter()
    with stage.mount(driver, "--collection", uuid) as mount:
        assert list(mount.directory.iterdir())
        return {START: time.perf_counter() - started}


SCENARIOS = (
    Scenario(
        rows=(LIST_FIRST, LIST_AGAIN, LIST_LONG, NAMES_MEMORY, STAT_MEMORY),
        sides={
            **on_mounts(lambda stage: stage.many(0, stage.sizes.files), listing),
            LIMIT: listing_at_the_limit,
        },
        limit="`ls`: a bare llfuse daemon that has the names in a list",
    ),
    Scenario(
        rows=(FIND_FIRST, FIND_AGAIN),
        sides=on_mounts(lambda stage: stage.many(stage.sizes.tree, stage.sizes.tree), walk),
        official_rounds=1,
    ),
    Scenario(rows=(MANY_LIST, MANY_MEMORY), sides={OURS: many_listed}),
    Scenario(rows=(MANY_OPEN,), sides={OURS: many_opened}),
    Scenario(
        rows=(START,), sides={side: partial(start, driver) for side, driver in DRIVERS.items()}
    ),
)
