"""Tags: a directory for each, with the collections that have it, by uuid.

A tag is a link of class "tag" whose name is the tag and whose head is what is tagged.
(Arvados documentation, "Links".)
"""

from __future__ import annotations

from arvados_fuse.fusedir.collection import CollectionDirectory
from arvados_fuse.fusedir.directory import Directory
from arvados_fuse.fusedir.idents import LINK
from arvados_fuse.fusedir.listed import Entry, ListedDirectory

__all__ = ["TagDirectory", "TagsDirectory"]


class TagsDirectory(ListedDirectory):
    """`by_tag`: all tags."""

    __slots__ = ()

    @property
    def watches(self) -> tuple[str, ...]:
        """Events of all links."""
        return (LINK,)

    def fetch(self) -> list[Entry]:
        """Ask the cluster for all tags. Raises the errors of `api.Cluster`."""
        return [Entry(tag, tag) for tag in self.around.cluster.tags()]

    def make(self, name: str, entry: Entry) -> Directory:
        """Make the directory of a tag."""
        return TagDirectory(self.around, self, entry.key, name)


class TagDirectory(ListedDirectory):
    """The collections that have one tag, which is the directory's key."""

    __slots__ = ()

    @property
    def watches(self) -> tuple[str, ...]:
        """Events of all links."""
        return (LINK,)

    def fetch(self) -> list[Entry]:
        """Ask the cluster for the tagged collections. Raises the errors of `api.Cluster`."""
        items = self.around.cluster.tagged(self.key)
        return [Entry(item.uuid, item.uuid, item) for item in items]

    def make(self, name: str, entry: Entry) -> Directory:
        """Make the directory of a collection."""
        return CollectionDirectory(self.around, self, entry.key, name)
