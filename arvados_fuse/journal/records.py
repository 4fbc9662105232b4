"""What a line of a log says.

Paths are those in the manifest, without a leading slash: "data/a.txt". A file has an identifier, a
number that means one file object as long as the mount lives, whatever happens to its name. An
operation on an identifier that the reader does not know is about a file that is gone.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

__all__ = [
    "Attach",
    "Based",
    "Closed",
    "Content",
    "Create",
    "Mkdir",
    "NameChange",
    "Operation",
    "Receive",
    "Record",
    "Remove",
    "Rename",
    "Rmdir",
    "Synced",
    "Times",
    "Truncate",
    "Unlink",
    "Write",
    "decode",
    "encode",
]


Content = tuple[tuple[str, int, int], ...]
"""What a file had in Keep: runs of bytes, each as locator, offset in the block, and size. The
locators are signed."""


class Create(NamedTuple):
    """A new, empty file, in the place of what has the name."""

    id: int
    path: str


class Attach(NamedTuple):
    """From now on the identifier means the file that is at this path.

    content: what it had then, so that it can be changed again even if its version is gone; None if
        that is not known
    """

    id: int
    path: str
    content: Content | None = None


class Write(NamedTuple):
    """Bytes of a file at `start` are now `size` bytes of a chunk from `offset` on.

    chunk: its number
    """

    id: int
    start: int
    size: int
    chunk: int
    offset: int


class Truncate(NamedTuple):
    """A file has now `size` bytes; new ones are zeros."""

    id: int
    size: int


class Mkdir(NamedTuple):
    """A new, empty directory."""

    path: str


class Unlink(NamedTuple):
    """The name of a file is gone."""

    path: str


class Rmdir(NamedTuple):
    """An empty directory is gone."""

    path: str


class Rename(NamedTuple):
    """A file or directory has a new path, and what was there is gone."""

    old: str
    new: str


class Receive(NamedTuple):
    """What another collection has is here too, in the place of what has the name.

    source: the uuid of the other collection
    directories, files: all that there is, by the path below `path`; "" is itself. A directory is
        before those in it
    """

    path: str
    source: str
    directories: tuple[str, ...]
    files: Mapping[str, Content]


class Remove(NamedTuple):
    """What is at the path is gone, with all that was in it: another collection has it."""

    path: str


class Times(NamedTuple):
    """The modification time of a file or directory, in nanoseconds since 1970."""

    path: str
    mtime_ns: int


class Based(NamedTuple):
    """The operations of this log, from its beginning, are on top of this version.

    portable_data_hash: the version's; "" for a collection that has none yet
    attached: identifiers that mean, at the beginning of this log, the file at a path of the version
    contents: what those files had, by the identifiers, as far as that is known
    """

    portable_data_hash: str
    attached: Mapping[int, str]
    contents: Mapping[int, Content] = MappingProxyType({})


class Synced(NamedTuple):
    """All logs before this one, this one up to `size` bytes, and their chunks are on the disk."""

    size: int


class Closed(NamedTuple):
    """No operation follows in this log: the next ones are in the next log."""


NameChange = Mkdir | Unlink | Rmdir | Rename | Receive | Remove
"""What says itself all that it changes."""

Operation = Create | Attach | Write | Truncate | Times | NameChange
Record = Operation | Based | Synced | Closed

_KINDS: dict[str, type[Any]] = {
    kind.__name__.lower(): kind
    for kind in (
        Create,
        Attach,
        Write,
        Truncate,
        Mkdir,
        Unlink,
        Rmdir,
        Remove,
        Rename,
        Times,
        Synced,
        Closed,
    )
}


def _content(fields: list[tuple[str, int, int]]) -> Content:
    return tuple((locator, offset, size) for locator, offset, size in fields)


def encode(record: Record) -> bytes:
    """A record as one line of JSON, without the line feed."""
    if type(record) is Write:  # most records, and the only ones on the way of bytes
        return b'["write",%d,%d,%d,%d,%d]' % record
    if isinstance(record, Based):
        attached = {str(number): path for number, path in record.attached.items()}
        contents = {str(number): content for number, content in record.contents.items()}
        fields: list[Any] = ["based", record.portable_data_hash, attached, contents]
    else:
        fields = [type(record).__name__.lower(), *record]
    return json.dumps(fields, separators=(",", ":")).encode("ascii")


def decode(line: bytes) -> Record:
    """The record of a line. Raises ValueError when it is none that this version writes."""
    try:
        kind, *fields = json.loads(line)
        if kind == "based":
            portable_data_hash, attached, contents = fields
            return Based(
                portable_data_hash,
                {int(number): path for number, path in attached.items()},
                {int(number): _content(content) for number, content in contents.items()},
            )
        if kind == "attach":
            number, path, content = fields
            return Attach(number, path, None if content is None else _content(content))
        if kind == "receive":
            path, source, directories, files = fields
            contents = {below: _content(content) for below, content in files.items()}
            return Receive(path, source, tuple(directories), contents)
        record: Record = _KINDS[kind](*fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"the journal has a record that is not known: {line[:80]!r}") from error
    return record
