"""What others share with the user: their projects, grouped by owner.

A project whose owner can be seen is found in a directory with the owner's name, which shows all
that the owner's home or project shows to the user. The others stand beside those directories.
"""

from __future__ import annotations

from arvados_fuse.fusedir.directory import Directory
from arvados_fuse.fusedir.idents import GROUP, LINK, is_project_id
from arvados_fuse.fusedir.listed import Entry, ListedDirectory
from arvados_fuse.fusedir.project import HomeDirectory, project_directory

__all__ = ["SharedDirectory"]


class SharedDirectory(ListedDirectory):
    """The owners of what is shared, and shared projects whose owner cannot be seen."""

    __slots__ = ()

    @property
    def watches(self) -> tuple[str, ...]:
        """Events of all projects and permissions: any may change what is shared."""
        return (GROUP, LINK)

    def fetch(self) -> list[Entry]:
        """Ask the cluster what is shared. Raises the errors of `api.Cluster`."""
        projects, owners = self.around.cluster.shared()
        seen = {owner.uuid for owner in owners}
        items = owners + [item for item, owner_uuid in projects if owner_uuid not in seen]
        entries = [Entry(item.uuid, item.name, item) for item in items if item.name]
        return sorted(entries, key=lambda entry: entry.key)

    def make(self, name: str, entry: Entry) -> Directory:
        """Make the directory of a project, or of a user's home."""
        assert entry.item is not None, "`fetch` gives it"
        if is_project_id(entry.key):
            return project_directory(self.around, self, entry.item, name)
        return HomeDirectory(self.around, self, entry.key, name)
