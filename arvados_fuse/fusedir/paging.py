"""The listing of a project, page by page: its first entries are there before its last are known."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol

from arvados_fuse.errors import FileSystemError
from arvados_fuse.fresh import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from arvados_fuse.api import Item
    from arvados_fuse.fusedir.names import NameRules

__all__ = ["PAGE_SIZE", "PagedListing", "Shown", "shown_items"]

PAGE_SIZE = 1000
"""Entries that are shown at a time: as many as one answer of the cluster brings."""

Shown = tuple[str, "Item"]
"""An item, and the name under which it is shown."""


class Project(Protocol):
    """Whose listing it is. With the lock held."""

    def once(
        self, what: str, work: Callable[[], list[Shown]], landed: Callable[[list[Shown]], None]
    ) -> None:
        """Do slow `work` without the lock, once for all who need it."""

    def page_landed(self, listing: PagedListing, page: list[Shown]) -> None:
        """Take over a page, the last one if it is not full, and `add` what is shown of it."""


class PagedListing:
    """A listing that grows as it is read. All readers share it; entries keep their places.

    directories, directory_inodes: as of a `Listing`; what there is so far
    files, file_inodes: none
    is_complete: whether there is no more to come
    known: the inode numbers that items had before, by uuid
    valid_until: as long as what there is so far may be trusted, by the clock of the directory
    """

    files: tuple[str, ...] = ()
    file_inodes: tuple[int, ...] = ()

    def __init__(self, project: Project, items: Iterator[Shown], known: Mapping[str, int]) -> None:
        self._project = project
        self._items = items
        self._error: FileSystemError | None = None
        self.directories: list[str] = []
        self.directory_inodes: list[int] = []
        self.is_complete = False
        self.known = known
        self.valid_until = FOREVER

    def more(self) -> bool:
        """Let there be more entries; false if there are none. May give the lock up.

        Raises what asking the cluster does; then there will never be more.
        """
        count = len(self.directories)
        while not self.is_complete and len(self.directories) == count:
            if self._error is not None:
                raise self._error.again()
            self._project.once(f"list {id(self)}", self._next_page, self._landed)
        return len(self.directories) > count

    def add(self, name: str, inode: int) -> None:
        """Add an entry at the end."""
        self.directories.append(name)
        self.directory_inodes.append(inode)

    def _next_page(self) -> list[Shown]:
        try:
            return list(islice(self._items, PAGE_SIZE))
        except FileSystemError as error:
            self._error, self.valid_until = error, 0.0
            raise

    def _landed(self, page: list[Shown]) -> None:
        self.is_complete = len(page) < PAGE_SIZE
        self._project.page_landed(self, page)


def shown_items(items: Iterable[Item], names: NameRules) -> Iterator[Shown]:
    """Yield the items that have a name, with the name under which each is shown, each another.

    items: projects first, both kinds sorted by uuid; nothing is asked of them before it is needed

    Of several that would be shown alike the first has the name. Those whose names had to be changed
    are the last of their kind, so that none of them has the name of one that comes on a later page.
    """
    taken: set[str] = set()
    for item in _unchanged_first((item for item in items if item.name), names):
        name = names.unique(item.name, item.uuid, taken)
        taken.add(name)
        yield name, item


def _unchanged_first(items: Iterator[Item], names: NameRules) -> Iterator[Item]:
    """Yield items in the order in which they have a right to their names."""
    for is_project in (True, False):
        changed = []
        for item in items:
            if item.is_project != is_project:
                items = chain([item], items)
                break
            if names.present(item.name) == item.name:
                yield item
            else:
                changed.append(item)
        yield from changed
