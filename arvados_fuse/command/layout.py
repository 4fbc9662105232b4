"""What the root of a mount is, and what is always in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arvados_fuse.command.layout_options import ALL_PLACES, Kind, Place
from arvados_fuse.command.problem import CommandError
from arvados_fuse.errors import NoSuchEntry
from arvados_fuse.fusedir.collection import CollectionDirectory
from arvados_fuse.fusedir.magic import FixedDirectory, HashDirectory, MagicDirectory
from arvados_fuse.fusedir.project import HomeDirectory, project_directory
from arvados_fuse.fusedir.shared import SharedDirectory
from arvados_fuse.fusedir.tags import TagsDirectory
from arvados_fuse.fusedir.tmp import TmpDirectory

if TYPE_CHECKING:
    from collections.abc import Callable

    from arvados_fuse.fusedir.directory import Directory, Surroundings

__all__ = ["plant_root"]

ROOT_README = """\
This is an Arvados cluster, shown as a file system.

  home/    your home project: your collections and projects
  shared/  projects that others share with you, by owner
  by_id/   any collection or project that you can read, by its uuid or portable data hash
  by_tag/  collections by the tags that they have

In each collection and project there is more that is found by name, and not listed:

  .arvados#collection   the record of the collection, as JSON
  .arvados#commit       the same, where it can be changed: reading it saves the collection
  .arvados#versions/    the stored versions of the collection, by number
  .arvados#project      the record of the project, as JSON

In this directory there is .arvados#mount, which tells how the mount is.

To unmount: fusermount -u and the path of this directory.
"""


def plant_root(places: tuple[Place, ...], around: Surroundings) -> None:
    """Put the root of the mount, and what is always there, into the inode table.

    places: one with the path "" for the root itself, or any number of directories in it
    Called with the file system's lock held, though nobody else is there yet. Raises CommandError
    if the object to be mounted is not there, and the errors of `api.Cluster`.
    """
    first = places[0]
    if first.path == "":
        try:
            _plant(_directory(first, around, None))
        except NoSuchEntry:
            raise CommandError(
                f"There is no {first.kind.value} {first.target} that you can read."
            ) from None
        return
    root = FixedDirectory(around, None, "")
    root.plant()
    if places == ALL_PLACES:
        root.put_text("README", ROOT_README)
    for place in places:
        directory = _directory(place, around, root)
        root.put(place.path, directory)
        if isinstance(directory, MagicDirectory):
            directory.put_text("README", directory.readme)


def _plant(root: Directory) -> None:
    root.plant()
    root.refresh()
    if isinstance(root, MagicDirectory):
        # With a by_id of its own, as in the official driver: by_id/ID is a path in both modes.
        by_id = type(root)(root.around, root, "by_id")
        root.put_text("README", root.readme)
        root.put("by_id", by_id)
        by_id.put_text("README", by_id.readme)


def _directory(place: Place, around: Surroundings, parent: Directory | None) -> Directory:
    """Make the directory of `place`, whose parent is `parent`.

    Raises CommandError for what cannot be mounted, and the errors of `api.Cluster`.
    """
    if place.kind in _KINDS:
        return _KINDS[place.kind](around, parent, place.path)
    if place.kind is Kind.HOME:
        return HomeDirectory(around, parent, around.cluster.user_uuid(), place.path)
    if place.kind is Kind.COLLECTION:
        return CollectionDirectory(around, parent, place.target, place.path)
    if place.kind is Kind.PROJECT:
        return project_directory(around, parent, around.cluster.project(place.target), place.path)
    if around.writing is None:
        raise CommandError("A temporary collection needs a mount that is made with --read-write.")
    return TmpDirectory(around, parent, place.path)


_KINDS: dict[Kind, Callable[[Surroundings, Directory | None, str], Directory]] = {
    Kind.BY_ID: MagicDirectory,
    Kind.BY_PDH: HashDirectory,
    Kind.BY_TAG: lambda around, parent, name: TagsDirectory(around, parent, name, name),
    Kind.SHARED: lambda around, parent, name: SharedDirectory(around, parent, name, name),
}
