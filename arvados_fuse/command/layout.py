"""What the root of a mount is, and what is always in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arvados_fuse.command.arguments import Mode, Settings
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


def plant_root(settings: Settings, around: Surroundings) -> None:
    """Put the root of the mount, and what is always there, into the inode table.

    Called with the file system's lock held, though nobody else is there yet. Raises CommandError
    if the object to be mounted is not there, and the errors of `api.Cluster`.
    """
    root = _root(settings, around)
    root.plant()
    try:
        root.refresh()
    except NoSuchEntry:
        raise CommandError(
            f"There is no {settings.mode.value} {settings.target} that you can read."
        ) from None
    if isinstance(root, FixedDirectory):
        _furnish(settings, around, root)


def _root(settings: Settings, around: Surroundings) -> Directory:
    if settings.mode is Mode.COLLECTION:
        return CollectionDirectory(around, None, settings.target, "")
    if settings.mode is Mode.PROJECT:
        return ProjectDirectory(around, None, settings.target, "")
    if settings.mode is Mode.HOME:
        return HomeDirectory(around, None, around.cluster.user_uuid(), "")
    if settings.mode is Mode.BY_ID:
        return MagicDirectory(around, None, "")
    return FixedDirectory(around, None, "")


def _furnish(settings: Settings, around: Surroundings, root: FixedDirectory) -> None:
    by_id = MagicDirectory(around, root, "by_id")
    if settings.mode is Mode.BY_ID:
        # With a by_id of its own, as in the official driver: by_id/ID is a path in both modes.
        root.put_text("README", BY_ID_README)
    else:
        root.put_text("README", ROOT_README)
        root.put("home", HomeDirectory(around, root, around.cluster.user_uuid(), "home"))
    root.put("by_id", by_id)
    by_id.put_text("README", BY_ID_README)
