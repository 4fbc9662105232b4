"""The tree of files that a manifest describes, for edits of single files in large collections.

A directory keeps the line of its stream until somebody looks at its files, and then its file tokens
as they stand there until somebody looks at one of them. So an edit costs little for each directory,
little for each file of those that it concerns, and more for those files alone. What is not
concerned is written as it was, as the very same string; the rest in the normal form.
(Arvados documentation, "Manifest format".)

Names are text as a client sends it. Bytes that are not UTF-8 are lone surrogates, as Python has
them in names of files.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, groupby
from operator import itemgetter
from typing import NamedTuple, Union

from arvados_fuse.standalone.manifest_text import EMPTY_HASH, has_names_only

__all__ = ["Directory", "File", "Item", "Segment", "TreeInvalid", "parse", "write"]

_PLACEHOLDER_ENDS = (" 0:0:\\056", " 0:0:.")
_PLACEHOLDER_ONLY = re.compile(r"[^ ]+ [^:]* 0:0:(?:\\056|\.)")
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


_Token = tuple[str, str, str]
"""A file token as it stands in a manifest: position and size in bytes, and the escaped name."""

File = tuple[Segment, ...]
Item = Union["Directory", File]


class Directory:
    """A directory: subdirectories by name, and files by name, which are parsed when first used.

    No name is in both; who adds one takes care of that.
    """

    __slots__ = ("_blocks", "_files", "_line", "_tokens", "directories")

    def __init__(self) -> None:
        self.directories: dict[str, Directory] = {}
        # Each file is in one of these, and a line is there only if the others are empty.
        self._line: str | None = None  # with the name of the stream, which may be another by now
        self._tokens: dict[str, _Token] = {}
        self._files: dict[str, File] = {}
        self._blocks = _Blocks([])

    @property
    def files(self) -> dict[str, File]:
        """All files, to be changed too. Raises TreeInvalid."""
        self._split_line()
        tokens, self._tokens = self._tokens, {}
        for name, token in tokens.items():
            self._files[name] = self._blocks.content(token)
        return self._files

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in it."""
        return not (self.directories or self._line or self._tokens or self._files)

    def has_file(self, name: str) -> bool:
        """Whether there is such a file. Raises TreeInvalid."""
        self._split_line()
        return name in self._tokens or name in self._files

    def _file(self, name: str) -> File | None:
        self._split_line()
        token = self._tokens.get(name)
        return self._files.get(name) if token is None else self._blocks.content(token)

    def _remove_file(self, name: str) -> None:
        self._split_line()
        self._tokens.pop(name, None)
        self._files.pop(name, None)

    def _split_line(self) -> None:
        """Make tokens of the line, if there is one; files, if that cannot be."""
        if self._line is None:
            return
        line, self._line = self._line, None
        blocks, found = _split(line)
        names = [token[2] for token in found]
        if "\\" in line:
            names = [_unescaped(name) for name in names]
        tokens = dict(zip(names, found, strict=True))
        if (
            len(tokens) < len(found)
            or "." in tokens
            or not tokens.keys().isdisjoint(self.directories)
        ):
            self._parse(line)
        else:
            self._blocks, self._tokens = blocks, tokens

    @property
    def unparsed(self) -> str | None:
        """The line of the stream without its name, if it has not been parsed."""
        return None if self._line is None else self._line.partition(" ")[2]

    def add_line(self, line: str) -> None:
        """Add a line of a manifest; the name of the stream is ours. Raises TreeInvalid."""
        if line.endswith(_PLACEHOLDER_ENDS) and _PLACEHOLDER_ONLY.fullmatch(line):
            return
        has_no_files = self._line is None and not self._tokens and not self._files
        if has_no_files and has_names_only(line):
            self._line = line
        else:
            _ = self.files
            self._parse(line)

    def _parse(self, line: str) -> None:
        blocks, tokens = _split(line)
        for shown, of_one_file in groupby(tokens, itemgetter(2)):
            segments = _whole(chain.from_iterable(map(blocks.content, of_one_file)))
            directory, name = self, shown
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
        files[name] = _whole((*before, *segments)) if before else segments

    def make_parents(self, names: Sequence[str]) -> Directory:
        """Return the directory at the path `names`; make what is missing. Raises TreeInvalid."""
        directory = self
        for name in names:
            following = directory.directories.get(name)
            if following is None:
                if directory.has_file(name):
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
        return directory.directories.get(names[-1]) or directory._file(names[-1])

    def put(self, names: Sequence[str], item: Item) -> None:
        """Let `item` be what is at the path `names`, which has at least one. Raises TreeInvalid."""
        *parents, name = names
        directory = self.make_parents(parents)
        directory.directories.pop(name, None)
        directory._remove_file(name)
        if isinstance(item, Directory):
            directory.directories[name] = item
        else:
            directory._files[name] = item

    def remove(self, names: Sequence[str]) -> None:
        """Remove what is at the path `names`, if anything is. Its parents stay."""
        parent = self.find(names[:-1])
        if isinstance(parent, Directory) and parent.directories.pop(names[-1], None) is None:
            parent._remove_file(names[-1])

    def copy(self) -> Directory:
        """Return a directory with the same content, independent of this one."""
        copied = Directory()
        left = [(self, copied)]
        while left:
            source, target = left.pop()
            target._line, target._blocks = source._line, source._blocks
            target._tokens, target._files = dict(source._tokens), dict(source._files)
            for name, directory in source.directories.items():
                target.directories[name] = Directory()
                left.append((directory, target.directories[name]))
        return copied

    def line(self, path: str) -> str:
        """Return the line of the stream, whose escaped path is `path`; empty if it has no files.

        As it was if nobody has looked at it; else in the normal form: files in the order of their
        names, each block once, in the order of its first use.
        """
        if self._line is None:
            stream = self._stream()
            return stream and f"{path} {stream}"
        if self._line.startswith(path) and self._line[len(path)] == " ":
            return self._line
        return f"{path} {self.unparsed}"

    def _stream(self) -> str:
        """Return the line of the stream in the normal form, without its name; empty if no files."""
        names = sorted((*self._tokens, *self._files))
        is_plain = not _TO_ESCAPE.search("".join(names))
        layout = _Layout()
        # The block of the file before: from where to where it was, and how far it moves.
        low = high = shift = 0
        for name in names:
            escaped = name if is_plain else _escaped(name)
            token = self._tokens.get(name)
            if token is None:
                layout.add(self._files[name], escaped)
                continue
            position, size = int(token[0]), int(token[1])
            if low <= position and position + size <= high and size:
                layout.tokens.append(f"{position + shift}:{size}:{escaped}")
                continue
            segments = self._blocks.content(token)
            layout.add(segments, escaped)
            if len(segments) == 1:
                low = position - segments[0].offset
                high = low + segments[0].size
                shift = layout.starts[segments[0].locator] - low
        return layout.line() if names else ""

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

    def content(self, token: _Token) -> File:
        """Return the parts of blocks that a file token stands for. Raises TreeInvalid."""
        size = int(token[1])
        if not size:
            return ()
        position = int(token[0])
        starts = self._starts
        end = position + size
        if end > starts[-1]:
            raise TreeInvalid(f"a file ends at {end}, but its stream has {starts[-1]} bytes")
        index = bisect_right(starts, position) - 1
        if end <= starts[index + 1]:
            return (Segment(self._locators[index], position - starts[index], size),)
        found = []
        while position < end:
            length = min(end, starts[index + 1]) - position
            if length:
                found.append(Segment(self._locators[index], position - starts[index], length))
            position += length
            index += 1
        return tuple(found)


def parse(lines: Iterable[str]) -> Directory:
    """Return the tree of a manifest that follows the grammar, without signatures.

    Raises TreeInvalid.
    """
    root = Directory()
    for line in lines:
        stream = line[: line.index(" ")]
        directory = root
        # A file of the same name shows when the files are parsed; that can be never.
        for name in _unescaped(stream).split("/")[1:]:
            following = directory.directories.get(name)
            if following is None:
                following = directory.directories[name] = Directory()
            directory = following
        directory.add_line(line)
    return root


def write(root: Directory) -> list[str]:
    """Return the lines of the manifest of a tree. Raises TreeInvalid."""
    lines = []
    for path, directory in root.walk():
        line = directory.line(path)
        if line:
            lines.append(line)
        elif directory is not root and directory.is_empty:
            lines.append(f"{path} {_PLACEHOLDER}")
    return lines


class _Layout:
    """A stream that is being put together: each block once, in the order of its first use.

    starts: where in the stream each block begins
    """

    def __init__(self) -> None:
        self.starts: dict[str, int] = {}
        self.tokens: list[str] = []
        self._size = 0

    def add(self, segments: File, name: str) -> None:
        """Add a file with an escaped name."""
        position = length = 0
        for locator, offset, more in segments:
            start = self.starts.get(locator)
            if start is None:
                start = self.starts[locator] = self._size
                self._size += _size(locator)
            if length and start + offset == position + length:
                length += more
                continue
            if length:
                self.tokens.append(f"{position}:{length}:{name}")
            position, length = start + offset, more
        self.tokens.append(f"{position}:{length}:{name}")

    def line(self) -> str:
        """Return the line, without the name of the stream."""
        return " ".join([*(self.starts or (f"{EMPTY_HASH}+0",)), *self.tokens])


def _split(line: str) -> tuple[_Blocks, list[_Token]]:
    """Return the blocks and the file tokens of a line."""
    boundary = _FIRST_FILE_TOKEN.search(line)
    assert boundary is not None, "the manifest has not been checked"
    blocks = _Blocks(line[: boundary.start()].split(" ")[1:])
    return blocks, _FILE_TOKEN.findall(line, boundary.start())


def _whole(parts: Iterable[Segment]) -> File:
    """Return the content that has these parts; what follows in the same block is one part."""
    found: list[Segment] = []
    for part in parts:
        if found:
            locator, offset, length = found[-1]
            if locator == part.locator and offset + length == part.offset:
                found[-1] = Segment(locator, offset, length + part.length)
                continue
        found.append(part)
    return tuple(found)


def _size(locator: str) -> int:
    return int(locator.split("+", 2)[1])


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    raw = _ESCAPE.sub(lambda escape: bytes([int(escape[1], 8)]), text.encode())
    return raw.decode("utf-8", "surrogateescape")


def _escaped(name: str) -> str:
    return _TO_ESCAPE.sub(lambda one: f"\\{ord(one[0]) & 0xFF:03o}", name)
