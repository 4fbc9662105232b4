"""A program that writes to a collection until the mount is taken from under it."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

__all__ = ["WriteLoad"]

BIG = 3 << 20
"""Bytes of the largest files: more than one write, and more than a small file."""


class WriteLoad:
    """Makes, overwrites, appends to, renames and removes files in `root`, one after the other.

    Use it as a context manager: it runs, in a thread, until the block ends or an operation fails.

    content: what was acknowledged: the bytes of each file whose close, rename or removal returned
    uncertain: paths of the operation that did not return, which may have had any part of its effect
    operations: how many returned
    history: what the content was before the first of them, and after each
    synced: the number in it of the last one that ended with fsync
    failure: why it stopped; None if it was told to
    """

    def __init__(self, root: Path, seed: int) -> None:
        self.content: dict[str, bytes] = {}
        self.uncertain: set[str] = set()
        self.operations = 0
        self.history: list[dict[str, bytes]] = [{}]
        self.synced = 0
        self.failure: OSError | None = None
        self._root = root
        self._random = random.Random(seed)
        self._made = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="write load")

    def __enter__(self) -> WriteLoad:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def wait_for_end(self) -> OSError:
        """Wait until an operation fails, and return its error."""
        self._thread.join()
        assert self.failure is not None, "it was told to stop"
        return self.failure

    def _run(self) -> None:
        actions = {
            self._make: 10,
            self._make_big: 1,
            self._overwrite: 3,
            self._append: 3,
            self._rename: 3,
            self._remove: 2,
        }
        try:
            while not self._stopping.is_set():
                self._random.choices(list(actions), list(actions.values()))[0]()
                self.operations += 1
                self.history.append(dict(self.content))
                self.uncertain.clear()
        except OSError as error:
            self.failure = error

    def _bytes(self, most: int) -> bytes:
        return self._random.randbytes(self._random.randrange(most))

    def _any(self) -> str | None:
        return self._random.choice(sorted(self.content)) if self.content else None

    def _write(self, path: str, data: bytes, mode: str, *, fsync: bool = False) -> None:
        self.uncertain = {path}
        before = self.content.get(path, b"") if mode == "ab" else b""
        with open(self._root / path, mode, buffering=0) as file:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            if fsync:
                os.fsync(file.fileno())
        self.content[path] = before + data

    def _make(self) -> None:
        self._made += 1
        self._write(f"file {self._made}", self._bytes(8000), "wb")

    def _make_big(self) -> None:
        self._made += 1
        self._write(f"big {self._made}", self._bytes(BIG), "wb", fsync=True)
        self.synced = self.operations + 1

    def _overwrite(self) -> None:
        if (path := self._any()) is not None:
            self._write(path, self._bytes(5000), "wb")

    def _append(self) -> None:
        if (path := self._any()) is not None:
            self._write(path, self._bytes(5000), "ab")

    def _rename(self) -> None:
        if (old := self._any()) is not None:
            self._made += 1
            new = self._any() if self._random.random() < 0.5 else f"renamed {self._made}"
            self.uncertain = {old, str(new)}
            os.rename(self._root / old, self._root / str(new))
            self.content[str(new)] = self.content.pop(old)

    def _remove(self) -> None:
        if (path := self._any()) is not None:
            self.uncertain = {path}
            os.unlink(self._root / path)
            del self.content[path]

    def check_is_a_moment(self, found: dict[str, bytes | None]) -> None:
        """Find the moment, not before the last fsync, at which everything was as it is found."""
        for number in range(self.synced, len(self.history)):
            before = self.history[number]
            after = self.history[number + 1] if number + 1 < len(self.history) else before
            paths = before.keys() | after.keys()
            going_on = {path for path in paths if before.get(path) != after.get(path)}
            if after is before:
                going_on = self.uncertain
            rest = {path: data for path, data in before.items() if path not in going_on}
            if rest == {path: data for path, data in found.items() if path not in going_on}:
                return
        raise AssertionError(f"never since {self.synced} of {len(self.history)} was it like this")

    def check(self, found: dict[str, bytes | None]) -> None:
        """Hold what is left against what was acknowledged."""
        for path, data in self.content.items():
            if path not in self.uncertain:
                assert path in found, f"{path} is lost"
                assert found[path] == data, f"{path} has other bytes"
        extra = set(found) - set(self.content) - self.uncertain
        assert not extra, f"what was removed is there again: {extra}"
