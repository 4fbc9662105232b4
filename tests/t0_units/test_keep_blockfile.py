"""How the file of a block is written: past the page cache where that is dear, and always right."""

import fcntl
import mmap
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from arvados_fuse.keep import blockfile
from arvados_fuse.keep.blockfile import BlockWriter

MIB = 1 << 20
PAGE = mmap.PAGESIZE
PATTERN = bytes(range(251))


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    yield descriptor
    os.close(descriptor)


def content_of(size: int, shift: int = 0) -> memoryview:
    """Memory as a block has it, which begins with a page, or `shift` bytes after that."""
    memory = mmap.mmap(-1, shift + size)
    memory[:] = (PATTERN * ((shift + size) // len(PATTERN) + 1))[: shift + size]
    return memoryview(memory)[shift:]


def is_direct(descriptor: int) -> bool:
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)


class Writes:
    """Notes each write: whether it went past the page cache, and its number of bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[bool, int]] = []
        self._pwrite = os.pwrite
        monkeypatch.setattr(blockfile.os, "pwrite", self.write)

    def write(self, descriptor: int, content: memoryview, position: int) -> int:
        self.seen.append((is_direct(descriptor), len(content)))
        return self._pwrite(descriptor, content, position)


@pytest.mark.parametrize("shift", [0, 1, 512])
@pytest.mark.parametrize("size", [1, PAGE, 2 * MIB, 5 * MIB + 4097])
@pytest.mark.parametrize("dear", [0.0, 1e9], ids=["dear", "cheap"])
def test_what_is_written_is_the_block(file: int, dear: float, size: int, shift: int) -> None:
    """Also where O_DIRECT does not suit: for the end of a file, and memory at odd places."""
    content = content_of(size, shift)
    BlockWriter(dear).write(file, content)
    assert os.pread(file, size + 1, 0) == content
    assert not is_direct(file), "the file can be read and mapped as any other"


def test_a_block_stays_in_the_page_cache_while_that_is_cheap(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes(monkeypatch)
    assert BlockWriter(1e9).write(file, content_of(3 * MIB))
    assert writes.seen == [(False, MIB)] * 3


def test_the_first_dear_slice_is_the_last_in_the_page_cache(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slice may cost 1 ms of processor time; these took 0.1, 0.9 and 2."""
    clock = iter([0.0, 0.0001, 1.0, 1.0009, 2.0, 2.002])
    monkeypatch.setattr(blockfile.time, "thread_time", lambda: next(clock))
    writes = Writes(monkeypatch)
    assert not BlockWriter(1e-9).write(file, content_of(8 * MIB + 100))
    assert writes.seen == [
        *[(False, MIB)] * 3,
        (True, 4 * MIB),
        (True, MIB),
        (False, 100),
    ]


def test_a_file_system_without_direct_writes_gets_the_others(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, command: int, *flags: int) -> int:
        if command == fcntl.F_SETFL and flags[0] & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return fcntl_of_system(descriptor, command, *flags)

    fcntl_of_system = fcntl.fcntl
    monkeypatch.setattr(blockfile.fcntl, "fcntl", refuse)
    content = content_of(2 * MIB)
    assert BlockWriter(0.0).write(file, content), "it is in the page cache"
    assert os.pread(file, 2 * MIB, 0) == content


def test_a_failing_disk_is_an_error_and_not_another_try(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int, _content: memoryview, _position: int) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(blockfile.os, "pwrite", fail)
    writer = BlockWriter(0.0)
    for _ in range(4):
        with pytest.raises(OSError, match="Input/output error"):
            writer.write(file, content_of(MIB))
    assert not is_direct(file)


def test_a_disk_that_does_not_keep_up_is_not_waited_for_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two blocks at a time go past the page cache; it takes what comes meanwhile."""
    disk_goes_on = threading.Event()
    waiting = threading.Semaphore(0)
    pwrite = os.pwrite

    def slow(descriptor: int, content: memoryview, position: int) -> int:
        if is_direct(descriptor):
            waiting.release()
            assert disk_goes_on.wait(20)
        return pwrite(descriptor, content, position)

    monkeypatch.setattr(blockfile.os, "pwrite", slow)
    writer = BlockWriter(0.0)

    def write(number: int) -> bool:
        with (tmp_path / str(number)).open("w+b") as file:
            return writer.write(file.fileno(), content_of(MIB))

    with ThreadPoolExecutor(2) as threads:
        directly = [threads.submit(write, number) for number in range(2)]
        assert waiting.acquire(timeout=20)
        assert waiting.acquire(timeout=20)
        assert write(2), "the third is in the page cache"
        disk_goes_on.set()
        assert not any(each.result() for each in directly)
    assert not write(3), "and the next may go to the disk again"
