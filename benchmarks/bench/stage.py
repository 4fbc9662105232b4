"""Where the scenarios play: a standalone cluster with content, and mounts of it."""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bench.model import OFFICIAL, OURS, Figures, Work
from benchmarks.bench.plain import BLOCK_SIZE, Keep
from tests.support.cluster import ROOT, RunningCluster
from tests.support.mounts import ARV_MOUNT, RunningMount

__all__ = ["DRIVERS", "FULL", "QUICK", "Sizes", "Stage", "on_mounts"]

DRIVERS = {OFFICIAL: ROOT / ".venv-official/bin/arv-mount", OURS: ARV_MOUNT}
BARE = (sys.executable, Path(__file__).with_name("bare.py"))
MOUNT_TIME_LIMIT_S = 1200.0
DROP_CACHES = Path("/proc/sys/vm/drop_caches")
FILE_SIZE = 64
"""Bytes in each file of a collection of many."""


@dataclass(frozen=True)
class Sizes:
    """How much is done, in blocks of 64 MiB and numbers of files."""

    blocks: int
    random_reads: int
    files: int
    tree: int
    many_files: int
    untar: int
    untar_many: int


FULL = Sizes(16, 10_000, 100_000, 100, 1_000_000, 500, 10_000)
"""What the names of the rows say."""

QUICK = Sizes(4, 1_000, 10_000, 30, 100_000, 50, 1_000)
"""A tenth or so of that."""


class Stage:
    """A running cluster, and what the scenarios need from it.

    sizes: how much there is of everything
    work: a directory for files
    memory: a directory on tmpfs
    """

    def __init__(
        self, cluster: RunningCluster, sizes: Sizes, work: Path, memory: Path, rule: dict[str, Any]
    ) -> None:
        """Use `cluster`, which misbehaves by `rule` all the time unless that is empty."""
        self.cluster = cluster
        self.sizes = sizes
        self.work = work
        self.memory = memory
        self.keep = Keep(cluster.keep_url(), cluster.env["ARVADOS_API_TOKEN"])
        self._rules = [rule] if rule else []
        self._made: dict[str, Any] = {}
        cluster.set_faults(self._rules)

    # -- content ----------------------------------------------------------------------------

    def made(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` has returned when it was first asked for under this name."""
        if name not in self._made:
            with self.faults():
                self._made[name] = make()
        return self._made[name]

    def locators(self) -> list[str]:
        """Signed locators of `sizes.blocks` blocks that are in the cluster."""
        make = partial(random.Random(1).randbytes, BLOCK_SIZE)
        locators: list[str] = self.made(
            "blocks", lambda: self.keep.put_all(make(), self.sizes.blocks)
        )
        return locators

    def large(self) -> str:
        """A collection with the file `large`, and its quarters as `part0` to `part3`."""
        return str(self.made("large", self.new_large))

    def new_large(self) -> str:
        """The same in a collection of its own, over the same blocks."""
        size = self.sizes.blocks * BLOCK_SIZE
        quarter = size // 4
        parts = " ".join(f"{number * quarter}:{quarter}:part{number}" for number in range(4))
        return self.collection(f". {' '.join(self.locators())} 0:{size}:large {parts}\n")

    def many(self, directories: int, files: int) -> str:
        """A collection of so many directories (0: none) with so many small files in each."""
        make = partial(self.new_many, directories, files)
        return str(self.made(f"{directories} {files}", make))

    def new_many(self, directories: int, files: int) -> str:
        """The same in a collection of its own."""
        content = f" {self.locators()[0]} " + " ".join(
            f"{number * FILE_SIZE}:{FILE_SIZE}:file{number:06}.txt" for number in range(files)
        )
        streams = [f"./d{number:03}" for number in range(directories)] or ["."]
        return self.collection("".join(f"{stream}{content}\n" for stream in streams))

    def collection(self, manifest: str = "") -> str:
        """Make a collection, and return its uuid."""
        body = {"collection": {"manifest_text": manifest}}
        record = self.cluster.api().collections().create(body=body).execute()
        return str(record["uuid"])

    # -- circumstances ----------------------------------------------------------------------

    @contextmanager
    def faults(self, *rules: dict[str, Any]) -> Iterator[None]:
        """Let the cluster misbehave by these rules, and no others."""
        self.cluster.set_faults(rules)
        try:
            yield
        finally:
            self.cluster.set_faults(self._rules)

    def drop_caches(self) -> None:
        """Empty the kernel's caches, but have the cluster's blocks in memory.

        What is measured is the way from the cluster's memory to the reader. The disk of this
        machine is no part of that.
        """
        os.sync()
        if can_drop_caches():
            DROP_CACHES.write_text("3")
        buffer = bytearray(1 << 20)
        for locator in self.locators():
            with self.cluster.block_path(locator[:32]).open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    # -- mounts -----------------------------------------------------------------------------

    @contextmanager
    def mount(self, driver: Path | tuple[Any, ...], *arguments: str) -> Iterator[RunningMount]:
        """A mount with a home of its own, so that nothing is cached."""
        with tempfile.TemporaryDirectory(dir=self.work, ignore_cleanup_errors=True) as place:
            mount = RunningMount(
                Path(place) / "mnt",
                *arguments,
                env=self.environment(Path(place) / "home"),
                command=driver,
                time_limit_s=MOUNT_TIME_LIMIT_S,
            )
            try:
                yield mount
            finally:
                mount.close(check_log=False)
                if driver == ARV_MOUNT and mount.trouble():
                    print("Log lines of arv-mount:", *mount.trouble(), sep="\n", file=sys.stderr)

    def environment(self, home: Path) -> dict[str, str]:
        """Of a user of the cluster; Python keeps its compiled modules, as it usually does."""
        environment = self.cluster.environment(home)
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        return environment

    @contextmanager
    def bare(self, size: int = 0, files: int = 0) -> Iterator[RunningMount]:
        """A daemon on llfuse that does nothing but answer; see the module `bare`."""
        with self.mount(BARE, "--size", str(size), "--files", str(files)) as mount:
            yield mount


def can_drop_caches() -> bool:
    """Whether this process may empty the kernel's caches."""
    return os.access(DROP_CACHES, os.W_OK)


def on_mounts(
    content: Callable[[Stage], str],
    work: Callable[[Stage, RunningMount], Figures],
    *options: str,
    sides: tuple[str, ...] = (OFFICIAL, OURS),
) -> dict[str, Work]:
    """How the drivers do some work on a mount of a collection.

    content: returns the collection's uuid
    options: more options of `arv-mount`
    """

    def run(driver: Path, stage: Stage) -> Figures:
        uuid = content(stage)
        with stage.mount(
            driver, "--collection", uuid, "--disable-event-listening", *options
        ) as mount:
            return work(stage, mount)

    return {side: partial(run, DRIVERS[side]) for side in sides}
