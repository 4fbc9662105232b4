"""A collection's content as a tree of directories, read from a manifest.

The tree of directories is made at once, from the stream names alone. The files of a directory are
parsed when they are asked for, and can be forgotten and parsed again. All directories share the
manifest's text and remember where their lines are in it.

Values are immutable from outside. There are no locks: when two threads ask for the same files at
the same time, both parse, the results are equal, and either may be kept.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from sys import getsizeof
from types import MappingProxyType

from arvados_fuse.collection.blocks import BlockTable
from arvados_fuse.collection.builder import Excerpt, FileTableBuilder
from arvados_fuse.collection.manifest import (
    Line,
    has_path,
    lines,
    path_components,
    path_tokens,
    split_line,
    stream_components,
)
from arvados_fuse.collection.table import FileTable, Segment, allocated
from arvados_fuse.errors import ManifestError

__all__ = ["FileTable", "Segment", "Tree", "TreeDirectory"]

# A locator: its block's name and size.
_BLOCK = re.compile(r"(?<= )([0-9a-f]{32}\+([0-9]{1,19}))(?=[+ ])")

# Memory of a Line, or of an Excerpt without what it shares with others.
_LINE_BYTES = allocated(getsizeof(Line(1, 1, 1))) + 3 * allocated(getsizeof(1 << 31))


class TreeDirectory:
    """A directory of a collection: its subdirectories, and its files when asked for.

    Nothing that the tree's users see ever changes; ``drop_files`` only gives memory back.
    """

    __slots__ = ("_failure", "_lines", "_lines_bytes", "_subdirectories", "_table", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._subdirectories: dict[str, TreeDirectory] = {}
        # What of the manifest describes the files, in order of appearance.
        self._lines: list[Line | Excerpt] = []
        self._lines_bytes = 0
        self._table: FileTable | None = None
        self._failure: str | None = None  # why the files cannot be parsed, once that is known

    @property
    def subdirectories(self) -> Mapping[str, "TreeDirectory"]:
        """The directories in this one, by true name, in order of first appearance."""
        return MappingProxyType(self._subdirectories)

    @property
    def loaded(self) -> bool:
        """Whether the files are parsed and in memory."""
        return self._table is not None

    def files(self) -> FileTable:
        """The files, parsed now if they are not in memory.

        Raises ManifestError if a line of this directory is damaged, or if a name is both a file's
        and a directory's.
        """
        table = self._table
        if table is None:
            if self._failure is not None:
                raise ManifestError(self._failure)
            try:
                table = self._parse()
            except ManifestError as error:
                self._failure = str(error)
                raise
            self._table = table
        return table

    def drop_files(self) -> None:
        """Forget the files; ``files`` gives them again in the same order, so with the same indexes.

        Tables that were handed out stay good.
        """
        self._table = None

    def footprint(self) -> int:
        """Bytes of memory that this directory holds itself, without its subdirectories.

        Its share of the manifest's text is included, though the text as a whole is kept as long as
        any directory or table of the tree is.
        """
        table = self._table
        return (
            getsizeof(self)
            + getsizeof(self._lines)
            + self._lines_bytes
            + getsizeof(self._subdirectories)
            + (table.footprint if table is not None else 0)
        )

    def _parse(self) -> FileTable:
        builder = FileTableBuilder(self._text)
        for line in self._lines:
            if isinstance(line, Line):
                builder.add_line(line)
            else:
                builder.add_excerpt(line)
        table = builder.finish()
        for name in self._subdirectories:
            if table.index(name) is not None:
                raise ManifestError(
                    f"The manifest is damaged: {name!r} is both a file and a directory."
                )
        return table

    def _descend(self, names: Iterable[str]) -> "TreeDirectory":
        """The directory at the end of a path, made if it is not there."""
        directory = self
        for name in names:
            found = directory._subdirectories.get(name)
            if found is None:
                found = directory._subdirectories[name] = TreeDirectory(self._text)
                directory._lines_bytes += allocated(getsizeof(name))
            directory = found
        return directory

    def _add_line(self, line: Line, text_bytes: int) -> None:
        """Add a line that describes files of this directory only."""
        self._lines.append(line)
        self._lines_bytes += _LINE_BYTES + text_bytes

    def _add_path_line(self, line: Line, text_bytes: int) -> None:
        """Add a line that has directories in its file tokens: each gets its part of the line."""
        parts = split_line(self._text, line)
        blocks = BlockTable(self._text)
        blocks.append_line(parts.locators_start, parts.locators_end, line.number)
        self._lines_bytes += text_bytes + blocks.footprint
        tokens_of: dict[tuple[str, ...], list[str]] = {}
        spellings: dict[str, list[str]] = {}  # the same lists; one path has many spellings
        for path, token in path_tokens(
            self._text, parts.tokens_start, parts.tokens_end, line.number
        ):
            tokens = spellings.get(path)
            if tokens is None:
                names = tuple(path_components(path, line.number)) if path else ()
                tokens = spellings[path] = tokens_of.setdefault(names, [])
            tokens.append(token)
        for names, tokens in tokens_of.items():
            excerpt = Excerpt(line.number, blocks, " ".join(tokens))
            directory = self._descend(names)
            directory._lines.append(excerpt)
            directory._lines_bytes += _LINE_BYTES + getsizeof(excerpt.tokens)


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """The whole content of one version of a collection; immutable."""

    root: TreeDirectory

    def locator(self, block: str) -> str | None:
        """The locator, signature included, of a block; None if no file has any of it.

        block: its hash and size. Searches the manifest's text: a millisecond for some megabytes.
        """
        text = self.root._text
        # A space is in front of locators and file tokens, and those begin with a position.
        start = text.find(f" {block}")
        while start >= 0:
            end = start + 1 + len(block)
            if text[end : end + 1] in ("+", " "):
                return text[start + 1 : text.index(" ", end)]
            start = text.find(f" {block}", end)
        return None

    def small_blocks(self, limit: int) -> set[str]:
        """Hash and size of all blocks that have some bytes, and fewer than ``limit``.

        Searches the manifest's text: a second for some ten megabytes.
        """
        return {match[1] for match in _BLOCK.finditer(self.root._text) if 0 < int(match[2]) < limit}

    def footprint(self) -> int:
        """Bytes of memory that all directories hold now: the sum of theirs."""
        total = 0
        waiting = [self.root]
        while waiting:
            directory = waiting.pop()
            total += directory.footprint()
            waiting += directory.subdirectories.values()
        return total

    @classmethod
    def from_manifest(cls, text: str) -> "Tree":
        """The tree that a manifest describes; "" is the empty tree.

        Looks at stream names, and at lines whose file tokens hold paths; all else is checked when
        a directory's files are asked for. Raises ManifestError if what it looks at breaks the
        grammar; so does a last line without a line feed, which tells a text that was cut off.
        """
        root = TreeDirectory(text)
        character_bytes = getsizeof(text) / max(1, len(text))
        for stream, line in lines(text):
            directory = root._descend(stream_components(stream, line.number))
            text_bytes = round((len(stream) + line.end - line.start + 1) * character_bytes)
            if has_path(text, line):
                directory._add_path_line(line, text_bytes)
            else:
                directory._add_line(line, text_bytes)
        return cls(root)
