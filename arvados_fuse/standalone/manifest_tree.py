"""The tree of files that a manifest describes, for edits of single files in large collections.

A directory keeps the line of its stream as text until somebody looks at its files. So an edit
costs a few passes of the interpreter's C code over the manifest, and Python code runs for the
files of those directories alone that the edit concerns. What is not concerned is written as it was;
the rest in the normal form. (Arvados documentation, "Manifest format".)

Names are text as a client sends it. Bytes that are not UTF-8 are lone surrogates, as Python has
them in names of files.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple, Union

from arvados_fuse.standalone.manifest_text import EMPTY_HASH

__all__ = ["Directory", "File", "Item", "Segment", "TreeInvalid", "parse", "write"]

_PLACEHOLDER_ONLY = re.compile(r"[^:]* 0:0:(?:\\056|\.)")
_PLACEHOLDER = f"{EMPTY_HASH}+0 0:0:\\056"
_FIRST_FILE_TOKEN = re.compile(r" [0-9]+:")
_FILE_TOKEN = re.compile(r" ([0-9]+):([0-9]+):([^ ]+)")
_ESCAPE = re.compile(rb"\\([0-3][0-7]{2})")
_TO_ESCAPE = re.compile("[\0- \\\\:\udc80-\udcff]")


class TreeInvalid(ValueError):
    """A manifest, or a change of one, that describes no tree of files; the message says why."""


class Segment(NamedTuple):
    """A part of a block; `offset` and `length` in bytes. The locator has no signature."""

    locator: str
    offset: int
    length: int

    @property
    def size(self) -> int:
        """Of the whole block, in bytes."""
        return _size(self.locator)


File = tuple[Segment, ...]
Item = Union["Directory", File]


class Directory:
    """A directory: subdirectories by name, and files by name, which are parsed when first used.

    No name is in both; who adds one takes care of that.
    """

    __slots__ = ("_files", "_line", "directories")

    def __init__(self) -> None:
        self.directories: dict[str, Directory] = {}
        self._line: str | None = None
        self._files: dict[str, File] = {}

    @property
    def files(self) -> dict[str, File]:
        """The files. Raises TreeInvalid."""
        if self._line is not None:
            line, self._line = self._line, None
            self._parse(line)
        return self._files

    @property
    def unparsed(self) -> str | None:
        """The line of the stream without its name, if it has not been parsed."""
        return self._line

    def add_line(self, line: str) -> None:
        """Add a line of a manifest, without the name of the stream. Raises TreeInvalid."""
        if _PLACEHOLDER_ONLY.fullmatch(line):
            return
        is_simple = self._line is None and not self._files
        if is_simple and "/" not in line and "\\057" not in line:
            self._line = line
        else:
            _ = self.files
            self._parse(line)

    def _parse(self, line: str) -> None:
        boundary = _FIRST_FILE_TOKEN.search(line)
        assert boundary is not None, "the manifest has not been checked"
        blocks = _Blocks(line[: boundary.start()].split(" "))
        for position, size, raw_name in _FILE_TOKEN.findall(line, boundary.start()):
            segments = blocks.segments(int(position), int(size)) if size != "0" else ()
            directory, name = self, raw_name
            if "\\" in name or "/" in name or name == ".":
                *parents, name = _unescaped(name).split("/")
                directory = self.make_parents(parents)
            if name != ".":
                directory._append(name, segments)

    def _append(self, name: str, segments: File) -> None:
        if name in self.directories:
            raise TreeInvalid(f"{name!r:.100} is both a file and a directory")
        files = self.files
        before = files.get(name)
        files[name] = _joined(before, segments) if before else segments

    def make_parents(self, names: Sequence[str]) -> Directory:
        """Return the directory at the path `names`; make what is missing. Raises TreeInvalid."""
        directory = self
        for name in names:
            following = directory.directories.get(name)
            if following is None:
                if name in directory.files:
                    raise TreeInvalid(f"{name!r:.100} is a file, so nothing can be inside it")
                following = directory.directories[name] = Directory()
            directory = following
        return directory

    def find(self, names: Sequence[str]) -> Item | None:
        """Return what is at the path `names`; None if nothing is."""
        directory = self
        for name in names[:-1]:
            following = directory.directories.get(name)
            if following is None:
                return None
            directory = following
        if not names:
            return directory
        return directory.directories.get(names[-1]) or directory.files.get(names[-1])

    def put(self, names: Sequence[str], item: Item) -> None:
        """Let `item` be what is at the path `names`, which has at least one. Raises TreeInvalid."""
        *parents, name = names
        directory = self.make_parents(parents)
        directory.directories.pop(name, None)
        directory.files.pop(name, None)
        if isinstance(item, Directory):
            directory.directories[name] = item
        else:
            directory.files[name] = item

    def remove(self, names: Sequence[str]) -> None:
        """Remove what is at the path `names`, if anything is. Its parents stay."""
        parent = self.find(names[:-1])
        if isinstance(parent, Directory) and parent.directories.pop(names[-1], None) is None:
            parent.files.pop(names[-1], None)

    def copy(self) -> Directory:
        """Return a directory with the same content, independent of this one."""
        copied = Directory()
        left = [(self, copied)]
        while left:
            source, target = left.pop()
            target._line = source._line
            target._files = dict(source._files)
            for name, directory in source.directories.items():
                target.directories[name] = Directory()
                left.append((directory, target.directories[name]))
        return copied

    def walk(self) -> Iterator[tuple[str, Directory]]:
        """Yield this directory and all below, each with its escaped path, in the normal order."""
        left = [(".", self)]
        while left:
            path, directory = left.pop()
            yield path, directory
            for name in sorted(directory.directories, reverse=True):
                left.append((f"{path}/{_escaped(name)}", directory.directories[name]))


class _Blocks:
    """The blocks of a stream, one after the other."""

    def __init__(self, locators: list[str]) -> None:
        self._locators = locators
        self._starts = list(accumulate(map(_size, locators), initial=0))

    def segments(self, position: int, size: int) -> File:
        """Return the parts of blocks that `size` bytes at `position` of the stream are."""
        starts = self._starts
        end = position + size
        if end > starts[-1]:
            raise TreeInvalid(f"a file ends at {end}, but its stream has {starts[-1]} bytes")
        index = bisect_right(starts, position) - 1
        offset = position - starts[index]
        if end <= starts[index + 1]:
            return (Segment(self._locators[index], offset, size),)
        found = []
        while position < end:
            length = min(end, starts[index + 1]) - position
            if length:
                found.append(Segment(self._locators[index], position - starts[index], length))
            position += length
            index += 1
        return tuple(found)


def parse(text: str) -> Directory:
    """Return the tree of a manifest that follows the grammar, without signatures.

    Raises TreeInvalid.
    """
    root = Directory()
    for line in text.split("\n")[:-1]:
        stream, _, rest = line.partition(" ")
        directory = root
        # A file of the same name shows when the files are parsed; that can be never.
        for name in _unescaped(stream).split("/")[1:]:
            directory = directory.directories.setdefault(name, Directory())
        directory.add_line(rest)
    return root


def write(root: Directory) -> str:
    """Return the manifest of a tree."""
    lines = []
    for path, directory in root.walk():
        if directory.unparsed is not None:
            lines.append(f"{path} {directory.unparsed}\n")
        elif directory.files:
            lines.append(f"{path} {_stream(directory.files)}\n")
        elif directory is not root and not directory.directories:
            lines.append(f"{path} {_PLACEHOLDER}\n")
    return "".join(lines)


def _stream(files: dict[str, File]) -> str:
    """Return the line of a stream with `files`: each block once, in the order of its first use."""
    starts: dict[str, int] = {}
    size = 0
    tokens: list[str] = []
    for name in sorted(files):
        escaped = _escaped(name)
        position = length = 0
        for segment in files[name]:
            start = starts.get(segment.locator)
            if start is None:
                start = starts[segment.locator] = size
                size += segment.size
            if length and start + segment.offset == position + length:
                length += segment.length
                continue
            if length:
                tokens.append(f"{position}:{length}:{escaped}")
            position, length = start + segment.offset, segment.length
        tokens.append(f"{position}:{length}:{escaped}")
    return " ".join([*(starts or (f"{EMPTY_HASH}+0",)), *tokens])


def _joined(first: File, second: File) -> File:
    """Return the content of two files, one after the other."""
    if first and second:
        last, following = first[-1], second[0]
        if last.locator == following.locator and last.offset + last.length == following.offset:
            whole = Segment(last.locator, last.offset, last.length + following.length)
            return (*first[:-1], whole, *second[1:])
    return (*first, *second)


def _size(locator: str) -> int:
    return int(locator.split("+", 2)[1])


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    raw = _ESCAPE.sub(lambda escape: bytes([int(escape[1], 8)]), text.encode())
    return raw.decode("utf-8", "surrogateescape")


def _escaped(name: str) -> str:
    return _TO_ESCAPE.sub(lambda one: f"\\{ord(one[0]) & 0xFF:03o}", name)
