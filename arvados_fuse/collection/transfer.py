"""Moving a file or directory from one draft to another, by reference: no data moves.

    parcel = pack(source, "tree")                   # what it holds
    unpack(parcel, target, "tree")                  # in the other draft
    ...                                             # commit that one
    if pack(source, "tree") == parcel: remove(source, "tree")

The other draft gets files of its own, since its cluster has nothing of them in its collection. It
takes the time of the number of files, twice. The lock is that of the drafts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from arvados_fuse.collection.draft import DraftDirectory, DraftFile
from arvados_fuse.collection.extents import ExtentMap
from arvados_fuse.collection.locator import block_name
from arvados_fuse.collection.quote import quote
from arvados_fuse.collection.table import Segment
from arvados_fuse.collection.tree import TreeDirectory
from arvados_fuse.errors import Busy, NoSuchEntry

__all__ = ["Parcel", "bases", "pack", "remove", "unpack"]


class Parcel(NamedTuple):
    """A file, or a directory with all that is in it. Paths are those below it; "" is itself.

    directories: their paths, each before those that are in it; none if it is a file
    files: the content of each by its path
    """

    directories: tuple[str, ...]
    files: dict[str, tuple[Segment, ...]]

    @property
    def levels(self) -> int:
        """How many directories are inside of each other."""
        return max((path.count("/") + 1 + bool(path) for path in self.directories), default=0)

    def has_same_content(self, other: Parcel) -> bool:
        """Whether both have the same names and bytes, whatever the signatures of the blocks."""
        return (
            self.files.keys() == other.files.keys()
            and set(self.directories) == set(other.directories)
            and all(_are_alike(s, other.files[p]) for p, s in self.files.items())
        )


def pack(directory: DraftDirectory, name: str) -> Parcel:
    """What there is under a name.

    Raises Busy if not all of it is in Keep, or is being written to; NoSuchEntry, ManifestError.
    """
    parcel = Parcel((), {})
    found = directory.find(name)
    if isinstance(found, (DraftDirectory, TreeDirectory)):
        directories: list[str] = []
        _pack_directory(found, "", directories, parcel.files)
        return parcel._replace(directories=tuple(directories))
    if isinstance(found, DraftFile):
        parcel.files[""] = _segments(found)
    elif found is not None:
        assert directory.base is not None, "it has the file"
        parcel.files[""] = directory.base.files().segments(found)
    else:
        raise NoSuchEntry(f"There is no {quote(name)} in {quote(directory.path())}.")
    return parcel


def unpack(parcel: Parcel, directory: DraftDirectory, name: str) -> None:
    """Put what a parcel holds under a name, in the place of what is there."""
    if directory.has(name):
        remove(directory, name)
    places: dict[str, DraftDirectory] = {}
    for path in parcel.directories:
        parent, _, last = path.rpartition("/")
        places[path] = places[parent].mkdir(last) if path else directory.mkdir(name)
    for path, segments in parcel.files.items():
        parent, _, last = path.rpartition("/")
        file = places[parent].create(last) if path else directory.create(name)
        file.write_all(ExtentMap.from_segments(segments))


def remove(directory: DraftDirectory, name: str) -> None:
    """Remove what is under a name, with all that is in it. Raises NoSuchEntry, ManifestError."""
    if isinstance(directory.find(name), (DraftDirectory, TreeDirectory)):
        inside = directory.directory(name)
        for each in list(inside.directory_names()):
            remove(inside, each)
        files = [*(n for _, n in inside.base_files()), *(n for n, _ in inside.own_files())]
        for each in files:
            inside.detach(each)
        directory.rmdir(name)
    else:
        directory.unlink(name)


def bases(directory: DraftDirectory, name: str) -> Iterator[TreeDirectory]:
    """Yield the directories of the base of which something shows under a name."""
    found = directory.find(name)
    if isinstance(found, TreeDirectory):
        yield from _all(found)
    elif isinstance(found, DraftDirectory):
        if found.base is not None:
            yield found.base
        for each in found.directory_names():
            yield from bases(found, each)


def _all(directory: TreeDirectory) -> Iterator[TreeDirectory]:
    yield directory
    for each in directory.subdirectories.values():
        yield from _all(each)


def _pack_directory(
    directory: DraftDirectory | TreeDirectory,
    path: str,
    directories: list[str],
    files: dict[str, tuple[Segment, ...]],
) -> None:
    directories.append(path)
    prefix = f"{path}/" if path else ""
    if isinstance(directory, TreeDirectory):
        table = directory.files()
        for index, name in enumerate(table.names):
            files[prefix + name] = table.segments(index)
        for name, below in directory.subdirectories.items():
            _pack_directory(below, prefix + name, directories, files)
        return
    if directory.base is not None:
        table = directory.base.files()
        for index, name in directory.base_files():
            files[prefix + name] = table.segments(index)
    for name, file in directory.own_files():
        files[prefix + name] = _segments(file)
    for name in directory.directory_names():
        found = directory.find(name)
        assert isinstance(found, (DraftDirectory, TreeDirectory)), "it is one"
        _pack_directory(found, prefix + name, directories, files)


def _segments(file: DraftFile) -> tuple[Segment, ...]:
    if file.pins or file.extents.pending_chunks() or file.extents.has_holes():
        raise Busy(f"{quote(file.path())} is being written to.")
    return file.extents.segments()


def _are_alike(segments: tuple[Segment, ...], others: tuple[Segment, ...]) -> bool:
    return segments == others or _unsigned(segments) == _unsigned(others)


def _unsigned(segments: tuple[Segment, ...]) -> list[tuple[str, int, int]]:
    return [(block_name(locator), offset, size) for locator, offset, size in segments]
