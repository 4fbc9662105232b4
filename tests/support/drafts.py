"""Drafts beside a plain model of the same collection, and a cluster that is a dict.

The content of a collection is a dict: path as a tuple of names -> bytes of a file, None of a
directory. The root is not in it. Where it matters in which blocks the bytes are, there are segments
instead of bytes.
"""

from __future__ import annotations

import hashlib
from typing import Any

from arvados_fuse.collection import extents
from arvados_fuse.collection.draft import Draft, DraftDirectory, DraftFile
from arvados_fuse.collection.escape import escape
from arvados_fuse.collection.extents import Pending, Spot, Stored
from arvados_fuse.collection.table import Segment
from arvados_fuse.collection.tree import Tree, TreeDirectory
from arvados_fuse.errors import (
    Exists,
    FileSystemError,
    InvalidArgument,
    IsDirectory,
    NoSuchEntry,
    NotDirectory,
    NotEmpty,
)

Names = tuple[str, ...]
Content = dict[Names, Any]

EMPTY_BLOCK = "d41d8cd98f00b204e9800998ecf8427e+0"


class Chunk:
    """A chunk of a journal, in memory."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.data = b""

    def append(self, data: bytes) -> Pending:
        """Where the data is."""
        self.data += data
        return Pending(self, len(self.data) - len(data))

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of it."""
        return self.data[offset : offset + size]


class Blocks:
    """Keep, in memory; a signature is a number that grows, so that no two are alike."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {EMPTY_BLOCK: b""}
        self.signatures = 0

    def put(self, data: bytes) -> str:
        """The signed locator of a block."""
        locator = f"{hashlib.md5(data).hexdigest()}+{len(data)}"
        self.contents[locator] = data
        self.signatures += 1
        return f"{locator}+A{self.signatures:040x}@7fffffff"

    def get(self, locator: str) -> bytes:
        """The content of a block."""
        return self.contents["+".join(locator.split("+")[:2])]

    def zeros(self, size: int) -> str:
        """The locator of a block of zeros."""
        assert 0 < size <= extents.MAX_BLOCK
        return self.put(bytes(size))

    def read(self, source: extents.Source, size: int) -> bytes:
        """The bytes at a place."""
        if source is None:
            return bytes(size)
        if isinstance(source, Stored):
            data = self.get(source.locator)[source.offset : source.offset + size]
        else:
            data = source.chunk.read(source.offset, size)
        assert len(data) == size, "an extent beyond the end of its block or chunk"
        return data

    def read_map(self, extent_map: extents.ExtentMap) -> bytes:
        """The bytes of a whole file; checks that the map is sound."""
        end, parts = 0, []
        for start, size, source in extent_map.extents():
            assert start == end
            assert size > 0
            parts.append(self.read(source, size))
            end += size
        assert end == extent_map.size
        return b"".join(parts)

    def join(self, segments: tuple[Segment, ...]) -> bytes:
        """The bytes of a file."""
        return b"".join(self.read(Stored(at, offset), size) for at, offset, size in segments)

    def bytes_of(self, stored: Content) -> Content:
        """A content of segments as one of bytes."""
        return {p: held if held is None else self.join(held) for p, held in stored.items()}

    def stored(self, content: Content) -> Content:
        """A content of bytes as one of segments: a new block for each file."""
        return {
            path: None if held is None else (Segment(self.put(held), 0, len(held)),) if held else ()
            for path, held in content.items()
        }

    def draft_content(self, draft: Draft) -> Content:
        """What a user sees; makes no objects."""
        content: Content = {}
        self._add_directory(content, (), draft.root)
        return content

    def _add_directory(self, content: Content, path: Names, directory: DraftDirectory) -> None:
        for name, file in directory.own_files():
            content[(*path, name)] = self.read_map(file.extents)
        base = directory.base
        for index, name in directory.base_files():
            content[(*path, name)] = self.join(base.files().segments(index))
        for name in directory.directory_names():
            content[(*path, name)] = None
            found = directory.find(name)
            if isinstance(found, DraftDirectory):
                self._add_directory(content, (*path, name), found)
            else:
                below = self.bytes_of(tree_segments(found))
                content |= {(*path, name, *inside): held for inside, held in below.items()}


def tree_segments(directory: TreeDirectory) -> Content:
    """The content of a directory of a tree, as segments."""
    table = directory.files()
    content: Content = {(name,): table.segments(at) for at, name in enumerate(table.names)}
    for name, subdirectory in directory.subdirectories.items():
        content[(name,)] = None
        below = tree_segments(subdirectory)
        content |= {(name, *path): held for path, held in below.items()}
    return content


def tree_of(stored: Content) -> Tree:
    """A tree of a content of segments."""
    return Tree.from_manifest(manifest_text(stored))


def manifest_text(stored: Content) -> str:
    """A manifest of a content of segments."""
    text = ""
    for path, segments in sorted(stored.items()):
        if segments is None:
            text += f"./{escape('/'.join(path))} {EMPTY_BLOCK} 0:0:\\056\n"
            continue
        locators, tokens, end = [EMPTY_BLOCK], [], 0
        for locator, offset, size in segments:
            locators.append(locator)
            tokens.append(f"{end + offset}:{size}:{escape(path[-1])}")
            end += int(locator.split("+")[1])
        tokens = tokens or [f"0:0:{escape(path[-1])}"]
        text += " ".join(["/".join([".", *map(escape, path[:-1])]), *locators, *tokens]) + "\n"
    return text


def replace_files(content: Content, sources: dict[str, str], supplied: Content) -> Content:
    """What the cluster makes of a request, by the documentation of `replace_files`."""
    targets = {names_of(target): source for target, source in sources.items()}
    for target in targets:
        inside = [targets.get(target[:depth]) for depth in range(len(target))]
        assert not any(inside), f"{target} is inside another target that is not a deletion"
    copies: dict[Names, Content] = {}
    for target, source in targets.items():
        if source:
            kind, _, path = source.partition("/")
            held = {"current": content, "manifest_text": supplied}[kind]
            names = names_of(f"/{path}")
            assert names in held, f"{source} is nowhere"
            copies[target] = below(held, names)
    assert not supplied or any(source.startswith("manifest_text/") for source in sources.values())
    after = {
        path: data
        for path, data in content.items()
        if not any(path[: len(target)] == target for target in targets)
    }
    after |= {path[:d]: None for path in content for d in range(1, len(path))
              if not any(path[:d][: len(target)] == target for target in targets)}  # fmt: skip
    for target, copied in copies.items():
        for depth in range(1, len(target)):
            assert after.setdefault(target[:depth], None) is None, "a file is on the way"
        after |= {target + path: data for path, data in copied.items()}
    return after


def names_of(path: str) -> Names:
    """The names in "/a/b"."""
    assert path.startswith("/")
    names = tuple(path[1:].split("/"))
    assert "" not in names
    return names


def below(content: Content, top: Names) -> Content:
    """What is at `top` and inside, by path from there."""
    return {p[len(top) :]: data for p, data in content.items() if p[: len(top)] == top}


class Model:
    """A file system of a few lines: what a draft has to do, error for error."""

    def __init__(self, content: Content) -> None:
        self.content = dict(content)

    def _parent(self, path: Names) -> None:
        for depth in range(1, len(path)):
            if path[:depth] not in self.content:
                raise NoSuchEntry
            if self.content[path[:depth]] is not None:
                raise NotDirectory

    def _names_in(self, path: Names) -> bool:
        return any(p[: len(path)] == path and p != path for p in self.content)

    def create(self, path: Names) -> None:
        self._parent(path)
        if path in self.content:
            raise Exists
        self.content[path] = b""

    def mkdir(self, path: Names) -> None:
        self.create(path)
        self.content[path] = None

    def unlink(self, path: Names) -> None:
        self.file(path)
        del self.content[path]

    def rmdir(self, path: Names) -> None:
        self._parent(path)
        if path not in self.content:
            raise NoSuchEntry
        if self.content[path] is not None:
            raise NotDirectory
        if self._names_in(path):
            raise NotEmpty
        del self.content[path]

    def file(self, path: Names) -> bytes:
        self._parent(path)
        if path not in self.content:
            raise NoSuchEntry
        data = self.content[path]
        if data is None:
            raise IsDirectory
        return data

    def write(self, path: Names, start: int, data: bytes) -> None:
        self.content[path] = written(self.file(path), start, data)

    def truncate(self, path: Names, size: int) -> None:
        self.content[path] = self.file(path)[:size].ljust(size, b"\0")

    def rename(self, old: Names, new: Names, other: Model | None = None) -> None:
        other = other or self
        self._parent(old)
        other._parent(new)
        if old not in self.content:
            raise NoSuchEntry
        if old == new and other is self:
            return
        is_directory = self.content[old] is None
        if is_directory and other is self and new[: len(old)] == old:
            raise InvalidArgument
        if new in other.content:
            if other.content[new] is None and not is_directory:
                raise IsDirectory
            if other.content[new] is not None and is_directory:
                raise NotDirectory
            if other._names_in(new):
                raise NotEmpty
            del other.content[new]
        moved = below(self.content, old)
        for path in moved:
            del self.content[old + path]
        other.content |= {new + path: data for path, data in moved.items()}


def written(data: bytes, start: int, new: bytes) -> bytes:
    """`data` with `new` at `start`."""
    return (data.ljust(start, b"\0")[:start] + new + data[start + len(new) :]) if new else data


def outcome(action: Any, *arguments: Any) -> Any:
    """What an action returns, or the class of the error that it raises."""
    try:
        return action(*arguments)
    except FileSystemError as error:
        return type(error)


def upload(taken: Any, blocks: Blocks) -> None:
    """Do with a snapshot what the uploader does: each chunk in two blocks."""
    for chunk in sorted(taken.pending_chunks(), key=lambda chunk: chunk.number):
        half = len(chunk.data) // 2
        spots = [
            Spot(start, end - start, Stored(blocks.put(chunk.data[start:end]), 0))
            for start, end in ((0, half), (half, len(chunk.data)))
        ]
        taken.place(chunk, spots)
    taken.fill_holes(blocks.zeros)


def check_sound(draft: Draft) -> None:
    """The invariants of a draft, as its classes describe them."""
    waiting = [draft.root]
    while waiting:
        directory = waiting.pop()
        assert directory.draft is draft
        assert directory.settled.keys() <= directory.overlay.keys()
        assert directory.changed == {n for n in directory.overlay if directory.differs(n)}
        for name, entry in directory.settled.items():
            assert entry is None or entry.settled_at == (directory, name)
        for name, entry in directory.overlay.items():
            assert entry is None or (entry.parent, entry.name) == (directory, name)
            assert not isinstance(entry, DraftFile) or entry.is_dirty == (
                entry.revision != entry.settled_revision
            )
            if isinstance(entry, DraftDirectory):
                assert entry.base is None or entry.settled_at is not None
                waiting.append(entry)
