"""The whole way of a block: services, client, memory, disk; with whatever can go wrong on it."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from arvados_fuse.errors import BlockCorrupt, ClusterUnreachable
from arvados_fuse.keep.cache import Block, BlockCache
from arvados_fuse.keep.client import KeepClient
from arvados_fuse.metrics import Metrics
from tests.support.fake_keep import Bend, FakeKeep, RecordingWitness, impatient_client, is_waiting
from tests.support.patience import wait_until

BLOCK = bytes(range(256)) * 1024  # 256 KiB
MIB = 1 << 20
NOBODY = RecordingWitness()


@pytest.fixture
def keep() -> Iterator[FakeKeep]:
    with FakeKeep() as keep:
        yield keep


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def client(keep: FakeKeep, metrics: Metrics) -> Iterator[KeepClient]:
    client = impatient_client(keep, metrics=metrics)
    yield client
    client.close()


def on_disk(
    client: KeepClient, directory: Path, metrics: Metrics, limit: int = 256 * MIB
) -> BlockCache:
    return BlockCache.on_disk(
        client, metrics=metrics, directory=str(directory), limit=limit, slots=100
    )


def in_ram(client: KeepClient, metrics: Metrics) -> BlockCache:
    return BlockCache.in_ram(client, metrics=metrics)


def read(block: Block, witness: RecordingWitness = NOBODY) -> bytes:
    return bytes(block.read(0, block.size, witness))


def files(directory: Path) -> list[str]:
    """The names of all files of a cache directory."""
    return sorted(path.name for path in directory.rglob("*") if path.is_file())


# -- one fill, early bytes


def test_eight_readers_of_one_cold_64_mib_block_cause_one_request(
    keep: FakeKeep, client: KeepClient, metrics: Metrics, tmp_path: Path
) -> None:
    content = BLOCK * 256
    locator = keep.store(content)
    cache = on_disk(client, tmp_path, metrics)
    part = len(content) // 8
    together = threading.Barrier(8)

    def read_part(number: int) -> bool:
        together.wait(20)
        piece = cache.get(locator).read(number * part, (number + 1) * part, NOBODY)
        return piece == content[number * part : (number + 1) * part]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read_part, range(8)))
    assert len(keep.requests) == 1
    cache.close()


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_the_first_page_is_served_while_the_server_still_sends(
    keep: FakeKeep, client: KeepClient, metrics: Metrics, tmp_path: Path, kind: str
) -> None:
    """The server waits for the test, so the rest cannot have come before the page is read."""
    bend = Bend(pause_after=4096)
    keep.bend(bend)
    cache = in_ram(client, metrics) if kind == "ram" else on_disk(client, tmp_path, metrics)
    block = cache.get(keep.store(BLOCK))
    assert bytes(block.read(0, 4096, NOBODY)) == BLOCK[:4096]
    assert block.view is None
    bend.go.set()
    assert read(block) == BLOCK
    cache.close()


def test_the_last_byte_waits_for_the_end_of_the_body_and_nobody_else_does(
    keep: FakeKeep, client: KeepClient, metrics: Metrics
) -> None:
    bend = Bend(pause_after=len(BLOCK) - 1)
    keep.bend(bend)
    cache = in_ram(client, metrics)
    block = cache.get(keep.store(BLOCK))
    assert bytes(block.read(0, len(BLOCK) - 1, NOBODY)) == BLOCK[:-1]
    with ThreadPoolExecutor(1) as pool:
        last = pool.submit(block.read, len(BLOCK) - 1, len(BLOCK), NOBODY)
        assert is_waiting(last)
        bend.go.set()
        assert bytes(last.result(20)) == BLOCK[-1:]
    cache.close()


# -- wrong bytes on the way


@pytest.mark.expects_log("another checksum")
@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_a_corrupt_copy_is_read_over(
    keep: FakeKeep, metrics: Metrics, tmp_path: Path, kind: str
) -> None:
    """Damage behind what was served: the reader never learns of it."""
    damaged = Bend(body=BLOCK[:-1] + b"x", pause_after=8192)
    keep.bend(damaged)
    client = impatient_client(keep, retries=1)
    cache = in_ram(client, metrics) if kind == "ram" else on_disk(client, tmp_path, metrics)
    witness = RecordingWitness()
    block = cache.get(keep.store(BLOCK))
    assert bytes(block.read(0, 4096, witness)) == BLOCK[:4096]
    damaged.go.set()
    assert read(block, witness) == BLOCK
    assert not witness.poisons
    cache.close()
    client.close()


@pytest.mark.expects_log("another checksum")
def test_a_reader_of_wrong_bytes_is_told_when_the_good_ones_come(
    keep: FakeKeep, metrics: Metrics
) -> None:
    damaged = Bend(body=b"x" + BLOCK[1:], pause_after=8192)
    keep.bend(damaged)
    client = impatient_client(keep, retries=1)
    cache = in_ram(client, metrics)
    witness = RecordingWitness()
    block = cache.get(keep.store(BLOCK))
    assert bytes(block.read(0, 1, witness)) == b"x"
    damaged.go.set()
    assert read(block) == BLOCK
    assert [type(error) for error in witness.poisons] == [BlockCorrupt]
    cache.close()
    client.close()


@pytest.mark.expects_log("another checksum")
@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_a_block_that_is_corrupt_everywhere(
    keep: FakeKeep, metrics: Metrics, tmp_path: Path, kind: str
) -> None:
    first = Bend(body=bytes(len(BLOCK)), pause_after=8192)
    keep.bend(first)
    keep.bend_all(Bend(body=bytes(len(BLOCK))))
    client = impatient_client(keep, retries=5)
    cache = in_ram(client, metrics) if kind == "ram" else on_disk(client, tmp_path, metrics)
    locator = keep.store(BLOCK)
    witness = RecordingWitness()
    block = cache.get(locator)
    block.read(0, 1, witness)
    first.go.set()
    with pytest.raises(BlockCorrupt, match="no copy has the right checksum"):
        read(block)
    assert len(witness.poisons) == 1
    assert cache.ram_held == cache.disk_held == 0
    assert files(tmp_path) == []
    keep.bend_all(None)
    assert read(cache.get(locator)) == BLOCK, "the next reader tries afresh"
    cache.close()
    client.close()


def test_a_cut_connection_poisons_who_got_bytes_that_were_never_verified(
    keep: FakeKeep, client: KeepClient, metrics: Metrics
) -> None:
    bend = Bend(pause_after=8192, cut_after=8192)
    keep.bend(bend)
    cache = in_ram(client, metrics)
    witness = RecordingWitness()
    block = cache.get(keep.store(BLOCK))
    block.read(0, 4096, witness)
    bend.go.set()
    with pytest.raises(ClusterUnreachable, match="broke after 8192 of"):
        read(block)
    assert len(witness.poisons) == 1
    cache.close()


# -- the disk cache from one run to the next


def fill(client: KeepClient, directory: Path, locator: str) -> None:
    """A run that reads one block and ends."""
    cache = on_disk(client, directory, Metrics())
    assert read(cache.get(locator)) == BLOCK
    wait_until(lambda: not cache.filling)
    cache.close()


def test_a_block_on_disk_needs_no_request(
    keep: FakeKeep, client: KeepClient, metrics: Metrics, tmp_path: Path
) -> None:
    locator = keep.store(BLOCK)
    fill(client, tmp_path, locator)
    cache = on_disk(client, tmp_path, metrics)
    assert read(cache.get(locator)) == BLOCK
    assert len(keep.requests) == 1
    assert metrics.cache_disk_hits == 1
    wait_until(lambda: cache.disk_held)
    cache.close()


@pytest.mark.expects_log("deleted, and the block is fetched again")
@pytest.mark.parametrize(
    "content",
    [b"", BLOCK[:1000], BLOCK[:-1] + b"x", b"x" + BLOCK[1:], BLOCK + b"x"],
    ids=["empty", "truncated", "last byte", "first byte", "too long"],
)
def test_a_damaged_file_is_replaced(
    keep: FakeKeep, client: KeepClient, metrics: Metrics, tmp_path: Path, content: bytes
) -> None:
    locator = keep.store(BLOCK)
    fill(client, tmp_path, locator)
    (path,) = tmp_path.glob("*/*")
    path.write_bytes(content)
    cache = on_disk(client, tmp_path, metrics)
    assert read(cache.get(locator)) == BLOCK
    assert len(keep.requests) == 2
    assert metrics.blocks_corrupt == 1
    assert metrics.cache_disk_hits == 0
    wait_until(lambda: not cache.filling)
    cache.close()
    assert path.read_bytes() == BLOCK


def test_a_file_that_vanishes_while_it_is_used_does_no_harm(
    keep: FakeKeep, client: KeepClient, metrics: Metrics, tmp_path: Path
) -> None:
    locator = keep.store(BLOCK)
    fill(client, tmp_path, locator)
    cache = on_disk(client, tmp_path, metrics)
    block = cache.get(locator)
    assert read(block) == BLOCK
    (path,) = tmp_path.glob("*/*")
    path.unlink()
    assert read(block) == BLOCK
    cache.close()


def test_the_limit_holds_for_what_earlier_runs_left(
    keep: FakeKeep, client: KeepClient, metrics: Metrics, tmp_path: Path
) -> None:
    cache = on_disk(client, tmp_path, Metrics())
    for number in range(6):
        read(cache.get(keep.store(bytes([number]) * len(BLOCK))))
    wait_until(lambda: not cache.filling)
    cache.close()
    for age, number in enumerate((3, 0, 4, 1, 5, 2)):
        block_hash = hashlib.md5(bytes([number]) * len(BLOCK)).hexdigest()
        (path,) = tmp_path.rglob(f"{block_hash}*")
        os.utime(path, (1_000_000 - age, 1_000_000))
    smaller = on_disk(client, tmp_path, metrics, limit=3 * len(BLOCK))
    read(smaller.get(keep.store(BLOCK)))
    wait_until(lambda: not smaller.filling)
    smaller.close()
    left = {name[:32] for name in files(tmp_path)}
    youngest = [bytes([3]) * len(BLOCK), bytes([0]) * len(BLOCK), BLOCK]
    assert left == {hashlib.md5(content).hexdigest() for content in youngest}


def test_drafts_of_a_killed_process_are_removed(
    keep: FakeKeep, client: KeepClient, metrics: Metrics, tmp_path: Path
) -> None:
    subdirectory = tmp_path / "012"
    subdirectory.mkdir()
    draft = subdirectory / ("012" + "0" * 29 + ".0123456789abcdef.filling")
    draft.write_bytes(b"half a block")
    os.utime(draft, (1, 1))
    cache = on_disk(client, tmp_path, metrics)
    read(cache.get(keep.store(BLOCK)))
    wait_until(lambda: not cache.filling)
    cache.close()
    assert files(tmp_path) == [hashlib.md5(BLOCK).hexdigest() + ".keepcacheblock"]


# -- a disk that cannot take blocks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for three blocks and a little."""
    mount_point = tmp_path / "small"
    mount_point.mkdir()
    size = f"size={len(BLOCK) * 3 + 65536}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(mount_point)], check=True)
    yield mount_point
    subprocess.run(["umount", "-l", str(mount_point)], check=True)


def test_blocks_stay_in_ram_when_the_disk_is_full_and_one_line_says_so(
    keep: FakeKeep,
    client: KeepClient,
    metrics: Metrics,
    small_disk: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (small_disk / "of somebody else").write_bytes(bytes(len(BLOCK) * 3))
    cache = on_disk(client, small_disk, metrics)
    contents = [bytes([number]) * len(BLOCK) for number in range(4)]
    blocks = [cache.get(keep.store(content)) for content in contents]
    assert [read(block) for block in blocks] == contents
    wait_until(lambda: not cache.filling)
    assert all(block.view is not None for block in blocks)
    assert cache.ram_held == 4 * len(BLOCK)
    assert cache.disk_held == 0
    assert len([record for record in caplog.records if "stay in RAM" in record.message]) == 1
    cache.close()


def test_our_own_blocks_go_before_the_disk_gets_full(
    keep: FakeKeep, client: KeepClient, metrics: Metrics, small_disk: Path
) -> None:
    cache = on_disk(client, small_disk, metrics)
    for number in range(8):
        content = bytes([number]) * len(BLOCK)
        assert read(cache.get(keep.store(content))) == content
        wait_until(lambda: not cache.filling)
    status = os.statvfs(small_disk)
    assert status.f_bavail * status.f_frsize >= 0.05 * 3 * len(BLOCK)
    assert cache.disk_held >= 2 * len(BLOCK)
    assert cache.ram_held == 0
    cache.close()


@pytest.mark.expects_log("Read-only file system")
def test_a_disk_that_became_read_only_is_still_read_from(
    keep: FakeKeep, client: KeepClient, metrics: Metrics, small_disk: Path
) -> None:
    locator = keep.store(BLOCK)
    fill(client, small_disk, locator)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    cache = on_disk(client, small_disk, metrics)
    assert read(cache.get(locator)) == BLOCK
    assert len(keep.requests) == 1
    other = cache.get(keep.store(BLOCK[::-1]))
    assert read(other) == BLOCK[::-1]
    wait_until(lambda: not cache.filling)
    assert cache.ram_held == len(BLOCK)
    cache.close()


# -- several caches on one directory


READER = """
import sys
from arvados_fuse.keep.cache import BlockCache
from arvados_fuse.keep.client import KeepClient
from arvados_fuse.keep.services import ServiceList
from arvados_fuse.metrics import Metrics
from tests.support.fake_keep import RecordingWitness, is_waiting

url, directory, seed, limit, *locators = sys.argv[1:]
metrics = Metrics()
services = ServiceList(list, keep_proxy=url)
client = KeepClient(services, lambda: "token", insecure=False, retries=0, metrics=metrics)
cache = BlockCache.on_disk(
    client, metrics=metrics, directory=directory, limit=int(limit), slots=9
)
nobody = RecordingWitness()
for step in range(200):
    number = (int(seed) * 5 + step * 7) % len(locators)
    block = cache.get(locators[number])
    if bytes(block.read(0, block.size, nobody)) != bytes([number]) * block.size:
        sys.exit("wrong bytes")
cache.close()
client.close()
"""


def test_two_processes_share_a_directory_without_hurting_each_other(
    keep: FakeKeep, tmp_path: Path
) -> None:
    """Both have room for three of ten blocks, so each deletes all the time."""
    locators = [keep.store(bytes([number]) * 20_000) for number in range(10)]
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, keep.url, str(tmp_path), str(seed), "65536", *locators],
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(2)
    ]
    for reader in readers:
        _, said = reader.communicate(timeout=60)
        assert (reader.returncode, said) == (0, "")
    assert all(name.endswith(".keepcacheblock") for name in files(tmp_path))


def test_a_cache_that_the_sdk_filled_is_used(
    keep: FakeKeep, client: KeepClient, metrics: Metrics, tmp_path: Path
) -> None:
    import arvados.keep

    locator = keep.store(BLOCK)
    sdk = arvados.keep.KeepBlockCache(disk_cache=True, disk_cache_dir=str(tmp_path))
    slot, _ = sdk.reserve_cache(locator[:32])
    sdk.set(slot, BLOCK)
    cache = on_disk(client, tmp_path, metrics)
    assert read(cache.get(locator)) == BLOCK
    assert not keep.requests
    cache.close()


def test_a_cache_that_we_filled_is_used_by_the_sdk(
    keep: FakeKeep, client: KeepClient, tmp_path: Path
) -> None:
    import arvados.keep

    locator = keep.store(BLOCK)
    fill(client, tmp_path, locator)
    sdk = arvados.keep.KeepBlockCache(disk_cache=True, disk_cache_dir=str(tmp_path))
    slot = sdk.get(locator[:32])
    assert slot is not None
    assert bytes(slot.get()) == BLOCK


# -- an end


def test_close_is_quick_although_a_server_is_silent(
    keep: FakeKeep, client: KeepClient, metrics: Metrics
) -> None:
    keep.bend_all(Bend(silent=True))
    cache = in_ram(client, metrics)
    block = cache.get(keep.store(BLOCK))
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read, block)
        wait_until(lambda: keep.requests)
        client.close()
        cache.close(timeout_s=20.0)
        with pytest.raises(ClusterUnreachable):
            reading.result(20)
    assert not any(thread.name.startswith("keep-fill") for thread in threading.enumerate())
