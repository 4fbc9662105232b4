"""What the root of a mount is, and what is always in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arvados_fuse.command.layout_options import ALL_PLACES, Kind, Place
from arvados_fuse.command.problem import CommandError
from arvados_fuse.errors import NoSuchEntry
from arvados_fuse.fusedir.collection import CollectionDirectory
from arvados_fuse.fusedir.magic import BY_ID_README, FixedDirectory, MagicDirectory
from arvados_fuse.fusedir.project import HomeDirectory, ProjectDirectory

if TYPE_CHECKING:
    from arvados_fuse.fusedir.directory import Directory, Surroundings

__all__ = ["plant_root"]

ROOT_README = """\
This is an Arvados cluster, shown as a file system.

  home/    your home project: your collections and projects
  by_id/   any collection or project that you can read, by its uuid or portable data hash

The mount is read-only. To unmount it: fusermount -u and the path of this directory.
"""


def plant_root(places: tuple[Place, ...], around: Surroundings) -> None:
    """Put the root of the mount, and what is always there, into the inode table.

    places: one with the path "" for the root itself, or any number of directories in it
    Called with the file system's lock held, though nobody else is there yet. Raises CommandError
    if the object to be mounted is not there, and the errors of `api.Cluster`.
    """
    first = places[0]
    if first.path == "":
        _plant(_directory(first, around, None), first)
        return
    root = FixedDirectory(around, None, "")
    root.plant()
    if places == ALL_PLACES:
        root.put_text("README", ROOT_README)
    for place in places:
        directory = _directory(place, around, root)
        root.put(place.path, directory)
        if isinstance(directory, MagicDirectory):
            directory.put_text("README", BY_ID_README)


def _plant(root: Directory, place: Place) -> None:
    root.plant()
    try:
        root.refresh()
    except NoSuchEntry:
        raise CommandError(
            f"There is no {place.kind.value} {place.target} that you can read."
        ) from None
    if isinstance(root, MagicDirectory):
        # With a by_id of its own, as in the official driver: by_id/ID is a path in both modes.
        by_id = MagicDirectory(root.around, root, "by_id")
        root.put_text("README", BY_ID_README)
        root.put("by_id", by_id)
        by_id.put_text("README", BY_ID_README)


def _directory(place: Place, around: Surroundings, parent: Directory | None) -> Directory:
    """Make the directory of `place`, whose parent is `parent`."""
    if place.kind is Kind.COLLECTION:
        return CollectionDirectory(around, parent, place.target, place.path)
    if place.kind is Kind.PROJECT:
        return ProjectDirectory(around, parent, place.target, place.path)
    if place.kind is Kind.HOME:
        return HomeDirectory(around, parent, around.cluster.user_uuid(), place.path)
    if place.kind is Kind.BY_ID:
        return MagicDirectory(around, parent, place.path)
    raise CommandError(f"There is no directory of the {place.kind.value} yet.")
