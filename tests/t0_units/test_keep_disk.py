"""The disk cache: the official SDK's layout and manners, and what a bad file does to us."""

import errno
import fcntl
import hashlib
import multiprocessing
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arvados_fuse.keep import disk
from arvados_fuse.keep.disk import DiskStorage, default_disk_cache_size, disk_cache_slots
from arvados_fuse.keep.storage import DamagedCopy, footprint

CONTENT = bytes(range(256)) * 300
HASH = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def storage(tmp_path: Path) -> DiskStorage:
    return DiskStorage(str(tmp_path))


def path_of(directory: Path, content: bytes = CONTENT) -> Path:
    block_hash = hashlib.md5(content).hexdigest()
    return directory / block_hash[:3] / f"{block_hash}.keepcacheblock"


def store(storage: DiskStorage, content: bytes = CONTENT) -> disk.DiskSpace:
    return storage.store(hashlib.md5(content).hexdigest(), memoryview(content))


def ignore(_arrived: int) -> None:
    """Progress that nobody looks at."""


def lay_down(directory: Path, content: bytes, atime: float = 0.0) -> Path:
    """A file as an earlier run left it."""
    path = path_of(directory, content)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    if atime:
        os.utime(path, (atime, atime))
    return path


def is_locked(path: Path) -> bool:
    """Whether anybody uses a file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


# -- layout and manners


def test_a_block_is_a_private_file_named_after_its_hash(
    storage: DiskStorage, tmp_path: Path
) -> None:
    space = store(storage)
    path = path_of(tmp_path)
    assert path.read_bytes() == CONTENT == bytes(space.view)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    space.release()


def test_a_file_in_use_is_locked_and_one_that_is_released_is_not(
    storage: DiskStorage, tmp_path: Path
) -> None:
    space = store(storage)
    assert is_locked(path_of(tmp_path))
    space.release()
    del space
    assert path_of(tmp_path).exists()
    assert not is_locked(path_of(tmp_path))


def test_a_discarded_block_is_deleted_and_its_slices_stay_readable(
    storage: DiskStorage, tmp_path: Path
) -> None:
    space = store(storage)
    held = space.view[100:200]
    space.discard()
    assert not path_of(tmp_path).exists()
    assert bytes(held) == CONTENT[100:200]


def test_a_block_that_another_process_uses_is_not_deleted(
    storage: DiskStorage, tmp_path: Path
) -> None:
    space = store(storage)
    with path_of(tmp_path).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        space.discard()
        assert path_of(tmp_path).exists()


def test_discard_spares_a_file_that_took_the_place_of_ours(
    storage: DiskStorage, tmp_path: Path
) -> None:
    """Two processes that fetched one block at the same time both renamed a file to its name."""
    first = store(storage)
    second = store(storage)
    first.discard()
    assert path_of(tmp_path).exists()
    second.release()


def test_directory_is_made_with_its_parents_and_is_private(tmp_path: Path) -> None:
    DiskStorage(str(tmp_path / "a" / "keep"))
    assert stat.S_IMODE((tmp_path / "a" / "keep").stat().st_mode) == 0o700


def test_a_directory_that_cannot_be_made_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        DiskStorage(str(tmp_path / "file" / "keep"))


# -- what earlier runs left


def test_a_block_of_an_earlier_run_is_found_and_verified(tmp_path: Path) -> None:
    lay_down(tmp_path, CONTENT)
    copy = DiskStorage(str(tmp_path)).find(HASH, len(CONTENT))
    assert copy is not None
    arrived: list[int] = []
    copy.verify(arrived.append)
    assert arrived[-1] == len(CONTENT)
    assert bytes(copy.view) == CONTENT
    assert is_locked(path_of(tmp_path))
    copy.release()


def test_a_block_that_is_not_there_is_not_found(storage: DiskStorage) -> None:
    assert storage.find(HASH, len(CONTENT)) is None


@pytest.mark.parametrize(
    "content", [b"", CONTENT[:-1], CONTENT + b"x"], ids=["empty", "truncated", "too long"]
)
def test_a_file_of_another_size_is_deleted(tmp_path: Path, content: bytes) -> None:
    path = lay_down(tmp_path, CONTENT)
    path.write_bytes(content)
    with pytest.raises(DamagedCopy, match=str(path)):
        DiskStorage(str(tmp_path)).find(HASH, len(CONTENT))
    assert not path.exists()


def test_a_file_with_another_checksum_is_deleted_even_if_others_use_it(tmp_path: Path) -> None:
    path = lay_down(tmp_path, CONTENT)
    path.write_bytes(CONTENT[:-1] + b"x")
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        copy = DiskStorage(str(tmp_path)).find(HASH, len(CONTENT))
        assert copy is not None
        with pytest.raises(DamagedCopy, match="checksum"):
            copy.verify(ignore)
    assert not path.exists()


def test_a_file_that_shrinks_while_it_is_checked_is_no_crash(tmp_path: Path) -> None:
    path = lay_down(tmp_path, CONTENT)
    copy = DiskStorage(str(tmp_path)).find(HASH, len(CONTENT))
    assert copy is not None
    os.truncate(path, 10)
    with pytest.raises(DamagedCopy, match="shorter"):
        copy.verify(ignore)


def test_a_file_that_is_deleted_while_it_is_opened_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take up space that nobody sees."""
    path = lay_down(tmp_path, CONTENT)

    def delete_first(descriptor: int, operation: int) -> None:
        path.unlink(missing_ok=True)
        fcntl_flock(descriptor, operation)

    fcntl_flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", delete_first)
    assert DiskStorage(str(tmp_path)).find(HASH, len(CONTENT)) is None


def test_what_progress_raises_leaves_the_copy_with_the_caller(tmp_path: Path) -> None:
    path = lay_down(tmp_path, CONTENT)
    copy = DiskStorage(str(tmp_path)).find(HASH, len(CONTENT))
    assert copy is not None
    with pytest.raises(KeyError):
        copy.verify(lambda _arrived: {}[1])
    copy.release()
    assert path.exists()


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_something_else_under_the_name_of_a_block_is_not_read(tmp_path: Path, kind: str) -> None:
    """A link could lead out of the cache, and a pipe would never answer."""
    path = lay_down(tmp_path, CONTENT)
    path.unlink()
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(CONTENT)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises((OSError, DamagedCopy)):
        DiskStorage(str(tmp_path)).find(HASH, len(CONTENT))


# -- idle blocks


def test_idle_blocks_are_counted_and_the_oldest_is_dropped_first(tmp_path: Path) -> None:
    now = time.time()
    old = lay_down(tmp_path, b"old", now - 2000)
    new = lay_down(tmp_path, b"new", now - 1000)
    (tmp_path / "notes.txt").write_text("not ours")
    storage = DiskStorage(str(tmp_path))
    assert storage.idle_size() == 2 * footprint(3)
    assert storage.drop_idle()
    assert (old.exists(), new.exists()) == (False, True)
    assert storage.idle_size() == footprint(3)
    assert storage.drop_idle()
    assert not storage.drop_idle()
    assert storage.idle_size() == 0
    assert (tmp_path / "notes.txt").exists()


def test_a_look_at_the_directory_does_not_take_open_blocks_for_idle(
    storage: DiskStorage,
) -> None:
    space = store(storage)
    assert storage.idle_size() == 0
    space.release()
    assert storage.idle_size() == footprint(len(CONTENT))


def test_open_blocks_are_not_idle_and_released_ones_are(tmp_path: Path) -> None:
    lay_down(tmp_path, CONTENT)
    storage = DiskStorage(str(tmp_path))
    assert storage.idle_size() == footprint(len(CONTENT))
    copy = storage.find(HASH, len(CONTENT))
    assert copy is not None
    assert storage.idle_size() == 0
    copy.release()
    assert storage.idle_size() == footprint(len(CONTENT))
    assert storage.drop_idle()
    assert storage.idle_size() == 0


def test_an_idle_block_that_another_process_uses_stays_and_is_not_counted(tmp_path: Path) -> None:
    path = lay_down(tmp_path, CONTENT)
    storage = DiskStorage(str(tmp_path))
    storage.idle_size()
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert storage.drop_idle()
    assert path.exists()
    assert storage.idle_size() == 0


def test_using_a_block_makes_it_younger(tmp_path: Path) -> None:
    path = lay_down(tmp_path, CONTENT, time.time() - 5000)
    before = path.stat().st_atime
    copy = DiskStorage(str(tmp_path)).find(HASH, len(CONTENT))
    assert copy is not None
    assert path.stat().st_atime > before + 4000
    assert path.stat().st_mtime < before + 1
    copy.release()


def test_drafts_of_dead_writers_are_removed_and_those_in_use_are_not(tmp_path: Path) -> None:
    subdirectory = tmp_path / "abc"
    subdirectory.mkdir()
    ours = subdirectory / ("abc" + "0" * 29 + ".0123456789abcdef.filling")
    in_use = subdirectory / ("abc" + "1" * 29 + ".0123456789abcdef.filling")
    of_the_sdk = subdirectory / "tmpabcdefgh.keepcacheblock"
    for path in (ours, in_use, of_the_sdk):
        path.write_bytes(b"partial")
        os.utime(path, (1, 1))
    just_made = subdirectory / ("abc" + "2" * 29 + ".0123456789abcdef.filling")
    just_made.write_bytes(b"")
    with in_use.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        DiskStorage(str(tmp_path)).idle_size()
        assert set(subdirectory.iterdir()) == {in_use, just_made}


# -- a disk that says no


def test_nothing_is_left_behind_when_the_disk_is_full(tmp_path: Path) -> None:
    mount_point = tmp_path / "small"
    mount_point.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount_point)], check=True
    )
    try:
        storage = DiskStorage(str(mount_point))
        assert storage.lacks_room(len(CONTENT), 0)
        assert not storage.lacks_room(4096, 0)
        with pytest.raises(OSError) as caught:
            store(storage)
        assert caught.value.errno == errno.ENOSPC
        assert [path for path in mount_point.rglob("*") if path.is_file()] == []
    finally:
        subprocess.run(["umount", str(mount_point)], check=True)


def test_nothing_is_left_behind_where_files_cannot_be_locked(
    storage: DiskStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on some network file systems."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError) as caught:
        store(storage)
    assert caught.value.errno == errno.ENOLCK
    assert len(os.listdir("/proc/self/fd")) == before
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_no_descriptor_is_lost(storage: DiskStorage, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    store(storage).discard()
    store(storage).release()
    copy = storage.find(HASH, len(CONTENT))
    assert copy is not None
    copy.release()
    path_of(tmp_path).write_bytes(b"short")
    with pytest.raises(DamagedCopy):
        storage.find(HASH, len(CONTENT))
    del copy
    assert len(os.listdir("/proc/self/fd")) == before


# -- sizes


def test_default_size_follows_the_official_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth of the disk, a quarter of what is free, 64 MiB a slot: the least; 64 MiB at least."""
    gib = 1 << 30

    def size(total: int, free: int, nofile: int) -> int:
        status = os.statvfs_result(
            (4096, 4096, total // 4096, free // 4096, free // 4096, *[0] * 5)
        )
        monkeypatch.setattr(os, "statvfs", lambda _path: status)
        return default_disk_cache_size(str(tmp_path), nofile)

    assert size(100 * gib, 100 * gib, 1 << 20) == 10 * gib
    assert size(100 * gib, 20 * gib, 1 << 20) == 5 * gib
    assert size(100 * gib, 100 * gib, 1024) == 8 * gib
    assert size(gib, 100 << 20, 1024) == 64 << 20


def test_default_size_does_not_shrink_because_the_cache_is_full(tmp_path: Path) -> None:
    empty = default_disk_cache_size(str(tmp_path), 1 << 20)
    path = lay_down(tmp_path, b"x")
    os.truncate(path, 1 << 40)  # takes no space, so all of it seems to come on top of what is free
    assert default_disk_cache_size(str(tmp_path), 1 << 20) >= empty


def test_slots_leave_descriptors_for_the_rest() -> None:
    assert disk_cache_slots(1024) == 128
    assert disk_cache_slots(4) == 1


# -- the official SDK beside us


def sdk_reads(directory: str, block_hash: str) -> bytes | None:
    from arvados._internal.diskcache import DiskCacheSlot

    slot = DiskCacheSlot.get_from_disk(block_hash, directory)
    return bytes(slot.get()) if slot else None


def test_the_sdk_finds_what_we_wrote(storage: DiskStorage, tmp_path: Path) -> None:
    space = store(storage)
    assert sdk_reads(str(tmp_path), HASH) == CONTENT
    space.release()
    assert sdk_reads(str(tmp_path), HASH) == CONTENT


def test_we_find_what_the_sdk_wrote(tmp_path: Path) -> None:
    import arvados.keep

    cache = arvados.keep.KeepBlockCache(disk_cache=True, disk_cache_dir=str(tmp_path))
    slot, _ = cache.reserve_cache(HASH)
    cache.set(slot, CONTENT)
    copy = DiskStorage(str(tmp_path)).find(HASH, len(CONTENT))
    assert copy is not None
    copy.verify(ignore)
    assert bytes(copy.view) == CONTENT
    copy.release()


def test_the_sdk_does_not_delete_what_we_use_nor_we_what_it_uses(tmp_path: Path) -> None:
    from arvados._internal.diskcache import DiskCacheSlot

    storage = DiskStorage(str(tmp_path))
    space = store(storage)
    slot = DiskCacheSlot.get_from_disk(HASH, str(tmp_path))
    slot.evict()
    assert path_of(tmp_path).exists()
    slot = DiskCacheSlot.get_from_disk(HASH, str(tmp_path))
    space.discard()
    assert path_of(tmp_path).exists()
    assert bytes(slot.get()) == CONTENT


# -- two processes


def churn(directory: str, seed: int, rounds: int) -> None:
    """Store, find, discard and drop blocks of a shared directory; exit 0 if none was ever wrong."""
    storage = DiskStorage(directory)
    contents = [bytes([number]) * 5000 for number in range(10)]
    for step in range(rounds):
        content = contents[(step * 7 + seed) % 10]
        block_hash = hashlib.md5(content).hexdigest()
        space = storage.find(block_hash, len(content))
        if space is None:
            space = storage.store(block_hash, memoryview(content))
        else:
            space.verify(ignore)
        if bytes(space.view) != content:
            sys.exit(1)
        if step % 3:
            space.release()
        else:
            space.discard()
        if step % 5 == 0:
            storage.drop_idle()


def test_two_processes_in_one_directory_do_not_hurt_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=churn, args=(str(tmp_path), seed, 400)) for seed in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert not list(tmp_path.rglob("*.filling"))
