"""What a power cut would leave of the files that a process has written.

The process runs under strace; its system calls tell what was on the disk at any moment. The rules
are the strict ones of POSIX: content is there when the file was synced after the last write, a
name when its directory was synced after the name was made or changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TRACED = (
    *("openat", "mkdir", "rename", "write", "pwrite64", "fsync", "fdatasync"),
    *("sendto", "sendmsg", "writev"),
)

_CALL = re.compile(r"(\d+) +(\w+)\((.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"\d+<(.*?)>[,)]")
_ENDED = re.compile(r"\) += (-?\d+|\?)(?:[ <]|$)")
_UNFINISHED = " <unfinished ...>"


def strace(trace: Path) -> list[str]:
    """The command that runs another one and writes its system calls to a file."""
    calls = ",".join(TRACED)
    # As a grandchild (-D): the process under test stays the child of who starts it.
    return ["strace", "-D", "-f", "-yy", "-qq", "-s", "600", "-e", f"trace={calls}", "-o", trace]


class Call(NamedTuple):
    """A system call, or its beginning or end if others came between.

    done: it has ended, and well
    begun: this is where it begins
    """

    name: str
    arguments: str
    begun: bool
    done: bool

    @property
    def target(self) -> str:
        """What the descriptor is that it is about: a path, or the two ends of a connection."""
        found = _DESCRIPTOR.match(self.arguments)
        return found[1] if found else ""

    @property
    def texts(self) -> list[str]:
        """Its arguments that are texts."""
        return _TEXT.findall(self.arguments)


def calls(trace: Path) -> Iterator[Call]:
    """Yield the calls of a trace in the order in which they began and ended."""
    waiting: dict[str, str] = {}
    for line in trace.read_text(errors="replace").splitlines():
        if found := _CALL.fullmatch(line):
            thread, name, rest = found.groups()
            if rest.endswith(_UNFINISHED):
                waiting[thread] = rest.removesuffix(_UNFINISHED)
                yield Call(name, waiting[thread] + ")", begun=True, done=False)
            else:
                yield Call(name, rest, begun=True, done=_has_succeeded(rest))
        elif found := _RESUMED.fullmatch(line):
            thread, name, rest = found.groups()
            whole = waiting.pop(thread) + rest
            yield Call(name, whole, begun=False, done=_has_succeeded(rest))


def _has_succeeded(rest: str) -> bool:
    results = _ENDED.findall(rest)
    return bool(results) and results[-1] != "?" and int(results[-1]) >= 0


class Disk:
    """The files below `root` that a trace has told of."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._known: set[str] = set()
        self._without_content: set[str] = set()
        self._without_name: set[str] = set()

    def follow(self, call: Call) -> None:
        """Let a call have its effect."""
        if call.name in ("write", "pwrite64"):
            if self._is_inside(call.target):
                self._without_content.add(call.target)
        elif not call.done:
            return
        elif call.name in ("fsync", "fdatasync"):
            self._sync(call.target)
        elif call.name == "mkdir" or "O_CREAT" in call.arguments:
            self._make(call.texts[0])
        elif call.name == "rename":
            self._rename(*call.texts[:2])

    def _is_inside(self, path: str) -> bool:
        return path == self._root or path.startswith(self._root + "/")

    def _make(self, path: str) -> None:
        if self._is_inside(path) and path not in self._known:
            self._known.add(path)
            self._without_name.add(path)

    def _rename(self, old: str, new: str) -> None:
        if new not in self._known or new in self._without_name:
            # Else a power cut leaves the file that was there, or this one.
            self._without_name.add(new)
        self._known.add(new)
        self._without_name.discard(old)
        if old in self._without_content:
            self._without_content.remove(old)
            self._without_content.add(new)

    def _sync(self, path: str) -> None:
        self._without_content.discard(path)
        self._without_name = {n for n in self._without_name if n.rpartition("/")[0] != path}

    def missing(self, path: Path) -> list[str]:
        """What a power cut now would take from a file: empty if it would survive."""
        found = []
        if str(path) not in self._known:
            found.append(f"{path} was not made")
        if str(path) in self._without_content:
            found.append(f"the content of {path} is not synced")
        for one in (path, *path.parents):
            if str(one) in self._without_name:
                found.append(f"the name of {one} is not synced")
        return found
