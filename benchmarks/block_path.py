"""How fast blocks come through the block cache, beside what the machine allows.

Run from the root of the repository, with nothing else running:

    python -m benchmarks.block_path [--blocks 16] [--rounds 3] [--directory DIR]

A second process serves the blocks, 64 MiB each, with sendfile from files in DIR, which lie in the
kernel's page cache; the disk cache is put into DIR too. MB are 10^6 bytes. Of every figure the best
round is shown, as other work on the machine can only make it worse.
"""

import argparse
import hashlib
import http.client
import multiprocessing
import os
import shutil
import socket
import statistics
import tempfile
import threading
import time
import timeit
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from arvados_fuse.errors import FileSystemError
from arvados_fuse.keep.cache import BlockCache
from arvados_fuse.keep.client import KeepClient
from arvados_fuse.keep.services import ServiceList
from arvados_fuse.metrics import Metrics

BLOCK_SIZE = 64 << 20
LIMIT = 1 << 40


class Nobody:
    """A reader that expects no wrong bytes."""

    def poison(self, error: FileSystemError) -> None:
        """End the benchmark."""
        raise error


def write_blocks(directory: Path, count: int) -> list[str]:
    """Make the blocks that are served; returns their locators."""
    content = bytearray(os.urandom(1 << 20) * (BLOCK_SIZE >> 20))
    locators = []
    for number in range(count):
        content[:8] = number.to_bytes(8, "big")
        block_hash = hashlib.md5(content).hexdigest()
        (directory / block_hash).write_bytes(content)
        locators.append(f"{block_hash}+{BLOCK_SIZE}")
    return locators


def serve(directory: Path, listener: socket.socket) -> None:
    """A Keep service that does nothing but send files."""

    def converse(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, connection.makefile("rb") as requests:
            while line := requests.readline():
                while requests.readline().strip():
                    pass
                name = line.split()[1].decode()[1:33]
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BLOCK_SIZE)
                with (directory / name).open("rb") as file:
                    connection.sendfile(file)

    while True:
        threading.Thread(target=converse, args=(listener.accept()[0],), daemon=True).start()


class Bench:
    """The blocks, the server, and a client of it."""

    def __init__(self, directory: Path, count: int, rounds: int) -> None:
        self.directory = directory
        self.rounds = rounds
        self.locators = write_blocks(directory, count)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        context = multiprocessing.get_context("fork")
        self.server = context.Process(target=serve, args=(directory, listener), daemon=True)
        self.server.start()
        self.metrics = Metrics()
        services = ServiceList(list, keep_proxy=f"http://127.0.0.1:{self.port}/")
        self.client = KeepClient(
            services, lambda: "token", insecure=False, retries=0, metrics=self.metrics
        )

    def in_ram(self) -> BlockCache:
        """An empty cache in RAM with room for everything."""
        return BlockCache.in_ram(self.client, metrics=self.metrics, limit=LIMIT)

    def on_disk(self) -> BlockCache:
        """A cache on disk with room for everything; it has what the last one left."""
        return BlockCache.on_disk(
            self.client,
            metrics=self.metrics,
            directory=str(self.directory / "cache"),
            limit=LIMIT,
            slots=1000,
        )

    def drop_disk_cache(self) -> None:
        """Let the next cache on disk be empty."""
        shutil.rmtree(self.directory / "cache", ignore_errors=True)

    def rate(self, name: str, work: Callable[[], object], prepare: Callable[[], object]) -> None:
        """Print the rate at which `work` handles all blocks."""
        best = float("inf")
        for _ in range(self.rounds):
            prepare()
            started = time.perf_counter()
            processor = time.process_time()
            work()
            elapsed = time.perf_counter() - started
            if elapsed < best:
                best, processor_s = elapsed, time.process_time() - processor
        total = len(self.locators) * BLOCK_SIZE
        each_ms = best / len(self.locators) * 1e3
        print(
            f"{name:<58} {total / best / 1e6:7.0f} MB/s {each_ms:7.1f} ms a block,"
            f" {processor_s / len(self.locators) * 1e3:6.1f} ms of processor"
        )


def read_through(make: Callable[[], BlockCache], locators: Sequence[str], ahead: int) -> None:
    """Read every block in pieces of 128 KiB, having asked for the next `ahead` before."""
    cache = make()
    nobody = Nobody()
    for number, locator in enumerate(locators):
        for next_locator in locators[number + 1 : number + 1 + ahead]:
            cache.get(next_locator)
        block = cache.get(locator)
        for start in range(0, BLOCK_SIZE, 1 << 17):
            view = block.view
            if view is not None:
                view[start : start + (1 << 17)]
            else:
                block.read(start, start + (1 << 17), nobody)
    while cache.filling:
        time.sleep(0.001)
    cache.close()


def plain_download(port: int, locators: Sequence[str]) -> None:
    """What the standard library's client does without a checksum."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    sink = memoryview(bytearray(BLOCK_SIZE))
    for locator in locators:
        connection.request("GET", "/" + locator)
        response = connection.getresponse()
        position = 0
        while position < BLOCK_SIZE:
            position += response.readinto(sink[position : position + (1 << 20)])
        response.read()
    connection.close()


def get_all(client: KeepClient, locators: Sequence[str]) -> None:
    """The client without the cache, always into the same memory."""
    sink = memoryview(bytearray(BLOCK_SIZE))
    for locator in locators:
        client.get(locator, sink, lambda _arrived: None, lambda: None)


def first_page_ms(make: Callable[[], BlockCache], locators: Sequence[str]) -> Iterator[float]:
    """Milliseconds from asking for a cold block to having its first 4 KiB."""
    nobody = Nobody()
    cache = make()
    cache.get(locators[0]).read(0, BLOCK_SIZE, nobody)  # threads and connections are there
    for locator in locators[1:]:
        while cache.filling:
            time.sleep(0.001)
        started = time.perf_counter()
        cache.get(locator).read(0, 4096, nobody)
        yield (time.perf_counter() - started) * 1e3
    while cache.filling:
        time.sleep(0.001)
    cache.close()


def nanoseconds(work: Callable[[], object]) -> float:
    """How long one call takes, less the call."""
    number = 200_000
    empty = min(timeit.repeat(lambda: None, number=number, repeat=5))
    return (min(timeit.repeat(work, number=number, repeat=5)) - empty) / number * 1e9


def small_figures(bench: Bench) -> None:
    """Print what a single read costs."""
    locators = bench.locators
    for name, make in (("RAM", bench.in_ram), ("disk", bench.on_disk)):
        bench.drop_disk_cache()
        times = list(first_page_ms(make, locators))
        print(
            f"{f'first 4 KiB of a cold block, {name} cache:':<58}"
            f" {statistics.median(times):7.2f} ms (median), {max(times):.2f} ms (worst)"
        )
    times = list(first_page_ms(bench.on_disk, locators))
    print(
        f"{'first 4 KiB of a block found on disk:':<58} {statistics.median(times):7.2f} ms (median)"
    )
    cache = bench.in_ram()
    block = cache.get(locators[0])
    block.read(0, BLOCK_SIZE, Nobody())
    while block.view is None:
        time.sleep(0.001)
    for name, work in (
        ("block.view[a:b]", lambda: block.view[131072:262144]),
        ("block.read(a, b, witness) of a resident block", lambda: block.read(131072, 262144, None)),
        ("cache.get(locator) of a resident block", lambda: cache.get(locators[0])),
    ):
        print(f"{name + ':':<58} {nanoseconds(work):7.0f} ns")
    cache.close()


def md5_in_threads(content: bytes, count: int, threads: int) -> None:
    """Hash `count` blocks; two threads tell whether a second processor is free."""
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda _: hashlib.md5(content).digest(), range(count)):
            pass


def rates(bench: Bench) -> None:
    """Print how fast many blocks come."""
    locators, nothing = bench.locators, bench.drop_disk_cache
    content = (bench.directory / locators[0][:32]).read_bytes()
    for threads in (1, 2):
        md5 = partial(md5_in_threads, content, len(locators), threads)
        bench.rate(f"md5 alone, threads: {threads}", md5, nothing)
    bench.rate("plain http.client", partial(plain_download, bench.port, locators), nothing)
    bench.rate("KeepClient.get", partial(get_all, bench.client, locators), nothing)
    for name, make in (("RAM", bench.in_ram), ("disk", bench.on_disk)):
        for ahead in (0, 1, 3):
            work = partial(read_through, make, locators, ahead)
            bench.rate(f"{name} cache, cold, blocks asked for ahead: {ahead}", work, nothing)
    for ahead in (0, 1):
        work = partial(read_through, bench.on_disk, locators, ahead)
        bench.rate(f"disk cache of an earlier run, ahead: {ahead}", work, lambda: None)


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", help="where blocks and disk cache are put for the time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        bench = Bench(Path(directory), arguments.blocks, arguments.rounds)
        rates(bench)
        small_figures(bench)
        bench.client.close()
        bench.server.terminate()


if __name__ == "__main__":
    main()
