"""An exerciser of files: random operations, compared with a shadow copy after each of them.

In the manner of fsx: writes, appends, truncation up and down, holes, reads, mapped reads and
writes, through several handles and from a second process, on a file that is renamed, unlinked,
closed, opened again and synced in between. What is done follows from a seed alone.

    python -m tests.support.exerciser --operations 1000000 --seed 7 --files 2 MOUNTED_DIRECTORY

exercises so many operations on each of two new files, at the same time. A difference is reported
with the seed, the last operations, and the fewest that were found to lead to it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import mmap
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Difference", "Exerciser", "Operation", "exercise", "fewest", "operations"]

LARGEST = 300_000
"""Bytes that a file grows to, unless told otherwise."""

HANDLES = 3
"""Handles of one file that are open at the same time, at most."""

WEIGHTS = {
    "write": 20,
    "append": 6,
    "read": 10,
    "mapped_read": 6,
    "mapped_write": 10,
    "truncate": 6,
    "truncate_open": 6,
    "punch": 3,
    "write_beyond": 3,
    "write_elsewhere": 6,
    "truncate_elsewhere": 2,
    "read_elsewhere": 4,
    "open": 6,
    "close": 5,
    "close_all": 1,
    "sync": 1,
    "rename": 3,
    "replace": 1,
    "unlink": 1,
    "remount": 0,
}
"""How often each operation is done. Remounting is for who can do it."""


class Operation(NamedTuple):
    """One thing to do. What the numbers mean is up to the operation; all fit any file.

    where, size: numbers from 0 to 1, of the largest size
    handle: number of a handle, counted round
    seed: of the bytes
    """

    what: str
    where: float
    size: float
    handle: int
    seed: int


class Difference(AssertionError):
    """The file is not what it has to be."""


def operations(seed: int, weights: dict[str, int] | None = None) -> Iterator[Operation]:
    """Yield the operations of a seed, without end."""
    choice = random.Random(seed)
    names, chances = zip(*(WEIGHTS | (weights or {})).items(), strict=True)
    while True:
        what = choice.choices(names, chances)[0]
        size = choice.random() ** 4 if choice.random() < 0.9 else choice.random()
        yield Operation(what, choice.random(), size, choice.randrange(6), choice.getrandbits(32))


class Exerciser:
    """One file in `directory`, and what has to be in it. Use it as a context manager.

    remount: unmounts and mounts; all is closed meanwhile
    """

    def __init__(
        self,
        directory: Path,
        name: str = "file",
        *,
        largest: int = LARGEST,
        remount: Callable[[], None] | None = None,
    ) -> None:
        self._directory = directory
        self._names = itertools.cycle([directory / f"{name}-{n}" for n in range(3)])
        self._path = next(self._names)
        self._largest = largest
        self._mount_anew = remount
        self._handles: list[int] = []
        self._shadow = bytearray()
        self._second: Connection | None = None
        self._process: multiprocessing.process.BaseProcess | None = None
        self.done: list[Operation] = []

    def __enter__(self) -> Exerciser:
        self._open_new()
        return self

    def __exit__(self, *error: object) -> None:
        self._drop_handles()
        if self._second is not None and self._process is not None:
            with contextlib.suppress(OSError):
                self._second.send(None)
            self._process.join()

    def run(self, planned: Iterator[Operation] | Sequence[Operation], count: int) -> int:
        """Do at most `count` operations; returns how many. Raises Difference, OSError."""
        for number, operation in enumerate(itertools.islice(planned, count), 1):
            self.do(operation)
            self.check()
            if number == count:
                return number
        return min(count, len(self.done))

    def do(self, operation: Operation) -> None:
        """Do one operation."""
        self.done.append(operation)
        if len(self.done) > 200_000:
            del self.done[:100_000]
        getattr(self, f"_{operation.what}")(operation)

    def check(self) -> None:
        """Raise Difference unless size and content are those of the shadow."""
        status = os.fstat(self._handles[0])
        if status.st_size != len(self._shadow):
            raise Difference(f"the size is {status.st_size} and not {len(self._shadow)}")
        self._compare(self._pread(self._handles[0], 0, len(self._shadow) + 10), 0)

    def _compare(self, found: bytes, start: int) -> None:
        expected = self._shadow[start : start + max(len(found), 1)] if found else b""
        if found == expected:
            return
        at = next(
            (n for n, (f, e) in enumerate(zip(found, expected, strict=False)) if f != e),
            min(len(found), len(expected)),
        )
        raise Difference(
            f"byte {start + at} of {len(self._shadow)}:"
            f" {found[at : at + 8]!r} and not {bytes(expected[at : at + 8])!r}"
        )

    # -- the file ---------------------------------------------------------------------------

    def _pread(self, handle: int, start: int, size: int) -> bytes:
        parts = []
        while size and (part := os.pread(handle, size, start)):
            parts.append(part)
            start, size = start + len(part), size - len(part)
        return b"".join(parts)

    def _pwrite(self, handle: int, start: int, data: bytes) -> None:
        while data:
            written = os.pwrite(handle, data, start)
            start, data = start + written, data[written:]

    def _handle(self, operation: Operation) -> int:
        return self._handles[operation.handle % len(self._handles)]

    def _range(self, operation: Operation) -> tuple[int, int]:
        """A range inside the file, and the rest of it where that ends before."""
        start = int(operation.where * len(self._shadow))
        return start, min(1 + int(operation.size * self._largest), len(self._shadow) - start)

    def _data(self, operation: Operation, start: int) -> bytes:
        size = min(1 + int(operation.size * self._largest), self._largest - start)
        return random.Random(operation.seed).randbytes(max(0, size))

    def _note_write(self, start: int, data: bytes) -> None:
        if data and start > len(self._shadow):
            self._shadow.extend(bytes(start - len(self._shadow)))
        self._shadow[start : start + len(data)] = data

    def _note_size(self, size: int) -> None:
        del self._shadow[size:]
        self._shadow.extend(bytes(size - len(self._shadow)))

    def _open_new(self) -> None:
        self._handles = [os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)]
        self._shadow = bytearray()

    def _drop_handles(self) -> None:
        while self._handles:
            os.close(self._handles.pop())

    # -- operations -------------------------------------------------------------------------

    def _close_all(self, operation: Operation) -> None:
        self._drop_handles()
        self._open(operation)

    def _write(self, operation: Operation) -> None:
        start = int(operation.where * len(self._shadow))
        data = self._data(operation, start)
        self._pwrite(self._handle(operation), start, data)
        self._note_write(start, data)

    def _write_beyond(self, operation: Operation) -> None:
        start = int(len(self._shadow) + operation.where * (self._largest - len(self._shadow)))
        data = self._data(operation, start)
        self._pwrite(self._handle(operation), start, data)
        self._note_write(start, data)

    def _append(self, operation: Operation) -> None:
        data = self._data(operation, len(self._shadow))
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        try:
            while data:
                written = os.write(handle, data)
                self._note_write(len(self._shadow), data[:written])
                data = data[written:]
        finally:
            os.close(handle)

    def _read(self, operation: Operation) -> None:
        start, size = self._range(operation)
        self._compare(self._pread(self._handle(operation), start, size), start)

    def _mapped_read(self, operation: Operation) -> None:
        start, size = self._range(operation)
        if size:
            with mmap.mmap(self._handle(operation), 0, prot=mmap.PROT_READ) as mapped:
                self._compare(mapped[start : start + size], start)

    def _mapped_write(self, operation: Operation) -> None:
        start, size = self._range(operation)
        if size:
            data = self._data(operation, start)[:size]
            with mmap.mmap(self._handle(operation), 0) as mapped:
                mapped[start : start + len(data)] = data
                if operation.seed % 4 == 0:
                    mapped.flush()
            self._note_write(start, data)

    def _truncate(self, operation: Operation) -> None:
        size = int(operation.where * self._largest)
        os.truncate(self._path, size)
        self._note_size(size)

    def _truncate_open(self, operation: Operation) -> None:
        size = int(operation.where * len(self._shadow))
        os.ftruncate(self._handle(operation), size)
        self._note_size(size)

    def _punch(self, operation: Operation) -> None:
        end, start = len(self._shadow), int(operation.where * len(self._shadow))
        for size in (start, end):
            os.ftruncate(self._handle(operation), size)
            self._note_size(size)

    def _open(self, operation: Operation) -> None:
        if len(self._handles) < HANDLES:
            self._handles.append(os.open(self._path, os.O_RDWR))

    def _close(self, operation: Operation) -> None:
        if len(self._handles) > 1:
            os.close(self._handles.pop(operation.handle % len(self._handles)))

    def _sync(self, operation: Operation) -> None:
        os.fsync(self._handle(operation))

    def _rename(self, operation: Operation) -> None:
        new = next(self._names)
        self._path.rename(new)
        self._path = new

    def _replace(self, operation: Operation) -> None:
        """Save as editors do: a new file takes the name."""
        new = self._path.with_name(self._path.name + "-new")
        new.write_bytes(bytes(self._shadow))
        new.replace(self._path)
        self.check()  # the file without a name still is what it was
        self._close_all(operation)

    def _unlink(self, operation: Operation) -> None:
        self._path.unlink()
        data = self._data(operation, 0)
        self._pwrite(self._handles[0], 0, data)
        self._note_write(0, data)
        self.check()
        self._drop_handles()
        self._open_new()

    def _remount(self, operation: Operation) -> None:
        assert self._mount_anew is not None
        self._drop_handles()
        self._mount_anew()
        self._close_all(operation)

    # -- the second process -----------------------------------------------------------------

    def _write_elsewhere(self, operation: Operation) -> None:
        start = int(operation.where * len(self._shadow))
        data = self._data(operation, start)
        self._ask("write", start, data)
        self._note_write(start, data)

    def _truncate_elsewhere(self, operation: Operation) -> None:
        size = int(operation.where * self._largest)
        self._ask("truncate", size)
        self._note_size(size)

    def _read_elsewhere(self, operation: Operation) -> None:
        start, size = self._range(operation)
        self._compare(self._ask("read", start, size), start)

    def _ask(self, what: str, *arguments: Any) -> Any:
        if self._second is None:
            context = multiprocessing.get_context("spawn")
            self._second, theirs = context.Pipe()
            self._process = context.Process(target=_assist, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        self._second.send((what, str(self._path), *arguments))
        answer = self._second.recv()
        if isinstance(answer, OSError):
            raise answer
        return answer


def _assist(connection: Connection) -> None:
    """Do what is asked for, in a process of its own, and keep nothing open."""
    while (request := connection.recv()) is not None:
        what, path, *arguments = request
        answer: Any = None
        try:
            with open(path, "r+b", buffering=0) as file:
                if what == "truncate":
                    file.truncate(*arguments)
                elif what == "write":
                    file.seek(arguments[0])
                    view = memoryview(arguments[1])
                    while view:
                        view = view[file.write(view) :]
                else:
                    file.seek(arguments[0])
                    answer = b""
                    while part := file.read(arguments[1] - len(answer)):
                        answer += part
        except OSError as error:
            answer = error
        connection.send(answer)


def exercise(
    directory: Path, seed: int, count: int, files: int, *, largest: int, time_limit_s: float
) -> int:
    """Exercise some files at the same time; returns how many operations were done.

    Raises the first failure, with a note that says how to have it again.
    """
    done = [0] * files
    failures: list[BaseException] = []
    ends_at = time.monotonic() + time_limit_s

    def run(number: int) -> None:
        planned = operations(seed + number)
        exerciser = Exerciser(directory, f"file{number}", largest=largest)
        try:
            with exerciser:
                while done[number] < count and not failures and time.monotonic() < ends_at:
                    done[number] += exerciser.run(planned, min(50, count - done[number]))
        except (AssertionError, OSError) as error:
            last = "\n".join(f"  {each}" for each in exerciser.done[-12:])
            failures.append(
                Difference(
                    f"{error}\nseed {seed}, file {number}, after {done[number]} operations"
                    f" and some; the last were\n{last}"
                )
            )

    threads = [threading.Thread(target=run, args=(number,)) for number in range(files)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(done)


def fewest(
    directory: Path, planned: list[Operation], *, largest: int, time_limit_s: float = 60.0
) -> list[Operation]:
    """Leave operations out as long as the rest still fails; returns what is left."""
    ends_at = time.monotonic() + time_limit_s

    def fails(some: list[Operation]) -> bool:
        work = Path(tempfile.mkdtemp(dir=directory))
        try:
            with Exerciser(work, largest=largest) as exerciser:
                exerciser.run(some, len(some))
        except (AssertionError, OSError):
            return True
        finally:
            shutil.rmtree(work)
        return False

    if not fails(planned):
        return planned
    part = len(planned) // 2
    while part and time.monotonic() < ends_at:
        start = 0
        while start < len(planned) and time.monotonic() < ends_at:
            rest = planned[:start] + planned[start + part :]
            if fails(rest):
                planned = rest
            else:
                start += part
        part //= 2
    return planned


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.exerciser",
        description="Exercise files in a directory and compare them with a shadow copy.",
    )
    parser.add_argument("directory", type=Path, help="new files are made in there")
    parser.add_argument("--operations", type=int, default=10_000, help="on each file")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--files", type=int, default=1, help="exercised at the same time")
    parser.add_argument("--largest", type=int, default=LARGEST, help="size of a file, in bytes")
    parser.add_argument("--time", type=float, default=float("inf"), help="limit, in seconds")
    found = parser.parse_args(arguments)
    work = Path(tempfile.mkdtemp(prefix="exerciser-", dir=found.directory))
    started_at = time.monotonic()
    try:
        done = exercise(
            work, found.seed, found.operations, found.files,
            largest=found.largest, time_limit_s=found.time,
        )  # fmt: skip
    except Difference as difference:
        print(difference, file=sys.stderr)
        if found.files == 1:
            planned = list(itertools.islice(operations(found.seed), min(found.operations, 5000)))
            left = fewest(work, planned, largest=found.largest)
            print("The fewest that were found to fail:", *left, sep="\n  ", file=sys.stderr)
        return 1
    shutil.rmtree(work)
    taken_s = time.monotonic() - started_at
    print(f"{done} operations, no difference, {taken_s:.0f} s, seed {found.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
