"""Renaming in a draft, by the rules of POSIX.

One reference moves, whatever the size of a directory. What goes from one draft to another is in
``transfer``. The lock is that of the draft.
"""

from __future__ import annotations

from collections.abc import Iterator

from arvados_fuse.collection.depth import MAX_DEPTH
from arvados_fuse.collection.draft import DraftDirectory, DraftFile, check_name
from arvados_fuse.collection.quote import quote
from arvados_fuse.collection.tree import TreeDirectory
from arvados_fuse.errors import (
    InvalidArgument,
    IsDirectory,
    NameTooLong,
    NoSuchEntry,
    NotDirectory,
    NotEmpty,
)

__all__ = ["check_depth", "check_rename", "rename"]


def rename(
    old_directory: DraftDirectory, old_name: str, new_directory: DraftDirectory, new_name: str
) -> DraftFile | DraftDirectory | None:
    """Move an entry; a file or an empty directory of the new name is replaced.

    Returns the object that was replaced; None if there was none, or if it was the base's and never
    became one. Raises NoSuchEntry, IsDirectory, NotDirectory, NotEmpty, InvalidArgument, and what
    ``check_name`` and ``check_depth`` do.
    """
    replaced = check_rename(old_directory, old_name, new_directory, new_name)
    if old_directory is new_directory and old_name == new_name:
        return None
    entry = _entry(old_directory, old_name)
    if new_directory.has(new_name):
        new_directory.detach(new_name)
    old_directory.detach(old_name)
    new_directory.attach(new_name, entry)
    return replaced


def check_rename(
    old_directory: DraftDirectory, old_name: str, new_directory: DraftDirectory, new_name: str
) -> DraftFile | DraftDirectory | None:
    """Raise what ``rename`` would raise, or return what it would."""
    check_name(new_name)
    if new_directory.is_removed:
        raise NoSuchEntry(f"The directory {quote(new_directory.name)} has been removed.")
    entry = _entry(old_directory, old_name)
    if old_directory is new_directory and old_name == new_name:
        return None
    if isinstance(entry, DraftDirectory) and _is_inside(new_directory, entry):
        raise InvalidArgument(f"The directory {quote(old_name)} cannot be moved into itself.")
    if isinstance(entry, DraftDirectory):
        check_depth(new_directory, _height(entry))
    return _replaceable(entry, new_directory, new_name)


def _entry(directory: DraftDirectory, name: str) -> DraftFile | DraftDirectory:
    found = directory.find(name)
    if found is None:
        raise NoSuchEntry(f"There is no {quote(name)} in {quote(directory.path())}.")
    if isinstance(found, (DraftDirectory, TreeDirectory)):
        return directory.directory(name)
    return directory.open_file(name)


def _is_inside(directory: DraftDirectory, other: DraftDirectory) -> bool:
    inside: DraftDirectory | None = directory
    while inside is not None and inside is not other:
        inside = inside.parent
    return inside is not None


def _replaceable(
    entry: DraftFile | DraftDirectory, directory: DraftDirectory, name: str
) -> DraftFile | DraftDirectory | None:
    """What is under a name, if ``entry`` may replace it."""
    found = directory.find(name)
    if isinstance(found, (DraftDirectory, TreeDirectory)):
        if isinstance(entry, DraftFile):
            raise IsDirectory(f"{quote(name)} is a directory: a file cannot replace it.")
        replaced = directory.directory(name)
        if not replaced.is_empty:
            raise NotEmpty(f"The directory {quote(name)} is not empty.")
        return replaced
    if found is not None and isinstance(entry, DraftDirectory):
        raise NotDirectory(f"{quote(name)} is a file: a directory cannot replace it.")
    return found if isinstance(found, DraftFile) else None


def check_depth(parent: DraftDirectory, levels: int = 1) -> None:
    """Raise NameTooLong if `levels` of directories inside of `parent` would be too deep."""
    depth = 0
    above = parent.parent
    while above is not None:
        depth += 1
        above = above.parent
    if depth + levels > MAX_DEPTH:
        raise NameTooLong(f"The directories of a collection are nested {MAX_DEPTH} deep at most.")


def _height(directory: DraftDirectory) -> int:
    """How many levels of directories there are, with this one."""
    levels = 0
    level: list[DraftDirectory | TreeDirectory] = [directory]
    while level:
        levels += 1
        level = [inner for outer in level for inner in _subdirectories(outer)]
    return levels


def _subdirectories(
    directory: DraftDirectory | TreeDirectory,
) -> Iterator[DraftDirectory | TreeDirectory]:
    if isinstance(directory, TreeDirectory):
        yield from directory.subdirectories.values()
        return
    for name in directory.directory_names():
        found = directory.find(name)
        assert isinstance(found, (DraftDirectory, TreeDirectory)), "it has the name of a directory"
        yield found
