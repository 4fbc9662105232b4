"""Our driver and the official one, in turn, on one standalone cluster.

Run from the root of the repository after `make test` (which installs the official driver), with
nothing else running:

    .venv/bin/python -m benchmarks.side_by_side [--rounds 3] [--row NAME ...]

Each round mounts a fresh cluster content with either driver, A B A B, with empty caches. Shown are
the medians in seconds (memory: MiB) and ours as a share of the official driver's. Small is good.
"""

import argparse
import os
import random
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.cluster import RunningCluster
from tests.support.contents import create
from tests.support.mounts import ARV_MOUNT, RunningMount

OFFICIAL = Path(".venv-official/bin/arv-mount").absolute()
DRIVERS = {"official": OFFICIAL, "ours": ARV_MOUNT}
EMPTY = "d41d8cd98f00b204e9800998ecf8427e+0"

Results = dict[str, float]


def timed(command: list[Any]) -> float:
    """Seconds that a program takes; its output is thrown away."""
    started = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def drop_pages(path: Path) -> None:
    """Let the kernel forget the pages of a file."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def resident(mount: RunningMount) -> float:
    """Memory of the daemon in MiB."""
    return mount.rss() / (1 << 20)


def first_bytes(mount: RunningMount) -> Results:
    """The first 4 KiB of a cold block of 64 MiB."""
    return {"first 4 KiB, cold": timed(["head", "-c", "4096", mount / "large"])}


def sequential(mount: RunningMount) -> Results:
    """256 MiB with nothing cached, with the block cache, with the page cache."""
    file = mount / "large"
    command = ["dd", f"if={file}", "of=/dev/null", "bs=1M", "status=none"]
    results = {"read 256 MiB, cold": timed(command)}
    drop_pages(file)
    results["read 256 MiB, block cache"] = timed(command)
    results["read 256 MiB, page cache"] = timed(command)
    return results


def listing(mount: RunningMount) -> Results:
    """100,000 files in one directory."""
    before = resident(mount)
    results = {"ls -f of 100,000, first": timed(["ls", "-f", mount.directory])}
    results["ls -f of 100,000, again"] = timed(["ls", "-f", mount.directory])
    results["MiB for 100,000 listed"] = resident(mount) - before
    results["ls -l of 100,000"] = timed(["ls", "-l", mount.directory])
    return results


def tree(mount: RunningMount) -> Results:
    """100 directories of 100 files."""
    command = ["find", mount.directory, "-size", "+1"]
    return {"find in 100 x 100, first": timed(command), "find in 100 x 100, again": timed(command)}


def manifest_of_names(directories: int, files: int) -> str:
    """A manifest of empty files."""
    tokens = " ".join(f"0:0:file{number:06}.txt" for number in range(files))
    streams = [f"./d{number:03}" for number in range(directories)] or ["."]
    return "".join(f"{stream} {EMPTY} {tokens}\n" for stream in streams)


ROWS: dict[str, tuple[Callable[[RunningMount], Results], str]] = {
    "first": (first_bytes, "data"),
    "sequential": (sequential, "data"),
    "listing": (listing, "names"),
    "tree": (tree, "tree"),
}


def fill(cluster: RunningCluster) -> dict[str, str]:
    """Make the collections that the rows read; returns their uuids by name."""
    api = cluster.api()
    content = random.Random(1).randbytes(1 << 20)
    data = b"".join(number.to_bytes(4, "big") + content[4:] for number in range(256))
    uuids = {"data": create(api, "data", {"large": data})["uuid"]}
    for name, manifest in (
        ("names", manifest_of_names(0, 100_000)),
        ("tree", manifest_of_names(100, 100)),
    ):
        body = {"name": name, "manifest_text": manifest}
        uuids[name] = api.collections().create(body=body).execute()["uuid"]
    return uuids


def measure(driver: Path, row: str, uuids: dict[str, str], env: dict[str, str]) -> Results:
    """Run one row on a mount of its own, with a home of its own, so that nothing is cached."""
    work, content = ROWS[row]
    with tempfile.TemporaryDirectory() as home:
        directory = Path(home) / "mnt"
        directory.mkdir()
        started = time.perf_counter()
        arguments = ["--collection", uuids[content], "--disable-event-listening"]
        if driver == ARV_MOUNT:
            arguments.pop()  # ours listens to no events so far
        with RunningMount(
            directory, *arguments, env={**os.environ, **env, "HOME": home}, command=driver
        ) as mount:
            results = {f"mount ({content})": time.perf_counter() - started}
            return {**results, **work(mount)}


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """The medians of all rounds as a Markdown table."""
    lines = ["| work | official | ours | ours / official |", "| --- | --- | --- | --- |"]
    for name in results["ours"][0]:
        official, ours = (
            statistics.median(result[name] for result in results[driver]) for driver in DRIVERS
        )
        lines.append(f"| {name} | {official:.3f} | {ours:.3f} | {ours / official:.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Run the rows that the command line names."""
    parser = argparse.ArgumentParser(description=re.split(r"\n\n", str(__doc__))[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--row", action="append", choices=ROWS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, RunningCluster(Path(place) / "c") as cluster:
        uuids = fill(cluster)
        for row in options.row or ROWS:
            results: dict[str, list[Results]] = {name: [] for name in DRIVERS}
            for _ in range(options.rounds):
                for name, driver in DRIVERS.items():
                    results[name].append(measure(driver, row, uuids, cluster.env))
            print(table(results), flush=True)


if __name__ == "__main__":
    main()
