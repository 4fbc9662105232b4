"""Charts of how costs grow, into the documents' directory."""

from __future__ import annotations

import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.bench.directories import list_long, list_names
from benchmarks.bench.model import OFFICIAL, OURS
from benchmarks.bench.plain import BLOCK_SIZE, seconds
from benchmarks.bench.stage import DRIVERS, Stage

__all__ = ["draw"]

READ_SIZES = tuple(1 << power for power in range(12, 31, 2))
FILES = (1_000, 10_000, 100_000, 1_000_000)
OFFICIAL_FILES_MAX = 100_000
"""With more files, the official driver takes minutes."""

Series = dict[str, list[tuple[float, float]]]
"""For each line its points."""


def read_rate(stage: Stage) -> Series:
    """MB (10^6 bytes) per second over the size of one cold read from the start of a file."""
    series: Series = defaultdict(list)
    for size in READ_SIZES:
        if size > stage.sizes.blocks * BLOCK_SIZE:
            break
        for side, driver in DRIVERS.items():
            with stage.mount(driver, "--collection", stage.large()) as mount:
                stage.drop_caches()
                elapsed = seconds(partial(read_first, mount / "large", size))
            series[side].append((size, size / elapsed / 1e6))
    return series


def read_first(path: Path, size: int) -> None:
    """Read the first bytes of a file, a MiB at a time at most."""
    left = size
    with path.open("rb", buffering=0) as file:
        while left:
            left -= len(file.read(min(left, 1 << 20)))


def listings(stage: Stage) -> tuple[Series, Series]:
    """Seconds until many files are listed on a fresh mount, and what memory that takes (MiB)."""
    times: Series = defaultdict(list)
    memory: Series = defaultdict(list)
    for files in FILES:
        if files > stage.sizes.many_files:
            break
        uuid = stage.many(0, files)
        for side, driver in DRIVERS.items():
            if side == OFFICIAL and files > OFFICIAL_FILES_MAX:
                continue
            with stage.mount(driver, "--collection", uuid) as mount:
                times[f"{side}, ls -f"].append((files, list_names(mount.directory)))
                memory[f"{side}, ls -f"].append((files, mount.rss() / (1 << 20)))
                times[f"{side}, ls -l"].append((files, list_long(mount.directory)))
                memory[f"{side}, ls -l"].append((files, mount.rss() / (1 << 20)))
    return times, memory


def plot(path: Path, series: Series, x_label: str, y_label: str) -> None:
    """Draw lines on logarithmic scales; ours are drawn through, the official driver's dashed."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in series.items():
        style = "o-" if name.startswith(OURS) else "s--"
        axes.plot(*zip(*points, strict=True), style, label=name, markersize=4)
    axes.set(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def draw(stage: Stage, directory: Path) -> None:
    """Measure and draw all charts."""
    started = time.perf_counter()
    mpl.rcParams["svg.hashsalt"] = "the same names in each run"
    plot(directory / "read-rate.svg", read_rate(stage), "bytes read from a cold file", "MB/s")
    times, memory = listings(stage)
    plot(directory / "listing-time.svg", times, "files in one directory", "seconds")
    plot(directory / "listing-memory.svg", memory, "files in one directory", "MiB resident")
    print(f"Charts are in {directory} ({time.perf_counter() - started:.0f} s).")
