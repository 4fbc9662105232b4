"""Renaming in a draft, and moving from one draft to another, by the rules of POSIX.

Within a draft one reference moves, whatever the size of a directory. To another draft a file takes
its extents along, and a directory all its files: each becomes an object in the other draft, since
that one's cluster has nothing of them. Handles that are open on them go on.

The lock is that of ``draft``; both drafts must be under the same one.
"""

from __future__ import annotations

from collections.abc import Iterator

from arvados_fuse.collection.depth import MAX_DEPTH
from arvados_fuse.collection.draft import Draft, DraftDirectory, DraftFile, check_name
from arvados_fuse.collection.extents import ExtentMap
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

__all__ = ["check_depth", "rename"]


def rename(
    old_directory: DraftDirectory, old_name: str, new_directory: DraftDirectory, new_name: str
) -> DraftFile | DraftDirectory | None:
    """Move an entry; a file or an empty directory of the new name is replaced.

    Returns the object that was replaced; None if there was none, or if it was the base's and never
    became one. Raises NoSuchEntry, IsDirectory, NotDirectory, NotEmpty, InvalidArgument, and what
    ``check_name`` and ``check_depth`` do.
    """
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
    replaced = _replaceable(entry, new_directory, new_name)
    moved = [] if new_directory.draft is old_directory.draft else list(_everything(entry))
    if new_directory.has(new_name):
        new_directory.detach(new_name)
    old_directory.detach(old_name)
    if moved:
        _leave(moved, old_directory.draft, new_directory.draft)
    new_directory.attach(new_name, entry)
    return replaced


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


# -- from draft to draft --------------------------------------------------------------------


def _everything(entry: DraftFile | DraftDirectory) -> Iterator[DraftFile | DraftDirectory]:
    """The entry and all that is in it, everything as objects. Raises ManifestError."""
    yield entry
    if isinstance(entry, DraftDirectory):
        for name in list(entry.directory_names()):
            yield from _everything(entry.directory(name))
        for _index, name in list(entry.base_files()):
            entry.open_file(name)
        yield from (file for _name, file in entry.own_files())


def _leave(moved: list[DraftFile | DraftDirectory], old: Draft, new: Draft) -> None:
    """Make the entries, all that is in a file or directory and itself, new ones of another draft.

    The old draft still has to know what its cluster has of them. So they leave stand-ins behind,
    which are in their places in the cluster, and nowhere as far as a user sees.
    """
    stand_ins = {entry: _stand_in(entry) for entry in moved}
    for entry, stand_in in stand_ins.items():
        if entry.settled_at is not None:
            directory, name = entry.settled_at
            owner = stand_ins.get(directory, directory)
            assert isinstance(owner, DraftDirectory), "it has entries"
            _settle_at(owner, name, stand_in)
        if isinstance(entry, DraftDirectory) and isinstance(stand_in, DraftDirectory):
            for name, other in entry.settled.items():
                if other is None:
                    stand_in.settled[name] = None
                elif other not in stand_ins:
                    _settle_at(stand_in, name, other)
    for entry, stand_in in stand_ins.items():
        if isinstance(stand_in, DraftDirectory):
            _empty(stand_in)
        _start_anew(entry, new)
    old.stand_ins.update(stand_ins)


def _stand_in(entry: DraftFile | DraftDirectory) -> DraftFile | DraftDirectory:
    if isinstance(entry, DraftDirectory):
        return DraftDirectory(entry.draft, None, entry.name, entry.base)
    file = DraftFile(None, entry.name, ExtentMap())
    file.settled = entry.settled
    return file


def _settle_at(directory: DraftDirectory, name: str, entry: DraftFile | DraftDirectory) -> None:
    directory.settled[name] = entry
    entry.settled_at = (directory, name)


def _empty(directory: DraftDirectory) -> None:
    """Let nothing show of what the base and the cluster have."""
    names = set(directory.settled)
    if directory.base is not None:
        names.update(directory.base.subdirectories, directory.base.files().names)
    directory.overlay = dict.fromkeys(names)
    directory.changed = {name for name in names if directory.cluster_has(name)}


def _start_anew(entry: DraftFile | DraftDirectory, draft: Draft) -> None:
    """Make an entry one that no cluster has."""
    entry.settled_at = None
    if isinstance(entry, DraftFile):
        entry.settled, entry.settled_revision = None, -1
    else:
        entry.draft, entry.base, entry.settled = draft, None, {}
        entry.overlay = {name: kept for name, kept in entry.overlay.items() if kept is not None}
        entry.changed = set(entry.overlay)
