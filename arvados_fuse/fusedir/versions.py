"""`.arvados#versions`: the stored versions of a collection, each a directory of its own.

The directory is found by name and never listed, so that programs that walk a collection do not
walk through its past. (Arvados documentation, "Collection versioning".)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from arvados_fuse.fusedir.listed import Entry, ListedDirectory

if TYPE_CHECKING:
    from collections.abc import Callable

    from arvados_fuse.fusedir.directory import Directory

__all__ = ["VERSIONS", "VersionsDirectory"]

VERSIONS = ".arvados#versions"
"""The name of the directory in each collection."""


class VersionsDirectory(ListedDirectory):
    """The numbers of all versions of a collection, the current one included.

    make_version: makes the directory of the version of a number
    """

    __slots__ = ("_make_version", "_uuid")

    def __init__(
        self,
        parent: Directory,
        key: str,
        uuid: str,
        make_version: Callable[[VersionsDirectory, int], Directory],
    ) -> None:
        super().__init__(parent.around, parent, key, VERSIONS)
        self._uuid = uuid
        self._make_version = make_version

    @property
    def watches(self) -> tuple[str, ...]:
        """The collection's own events."""
        return (self._uuid,)

    def fetch(self) -> list[Entry]:
        """Ask the cluster which versions there are. Raises the errors of `api.Cluster`."""
        numbers = self.around.cluster.versions(self._uuid)
        return [Entry(str(number), str(number)) for number in numbers]

    def make(self, name: str, entry: Entry) -> Directory:
        """Make the directory of a version."""
        return self._make_version(self, int(entry.key))
