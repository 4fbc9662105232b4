"""A project, or a user's home project: its subprojects and collections, by name.

A single name is looked up with a single question to the cluster; the whole project is listed
only when somebody lists it. What the cluster said is trusted for `refresh_time_s`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from arvados_fuse.fresh import FOREVER
from arvados_fuse.fusedir.collection import CollectionDirectory
from arvados_fuse.fusedir.directory import DIRECTORY_FOOTPRINT, Directory, Surroundings
from arvados_fuse.fusedir.idents import COLLECTION, GROUP
from arvados_fuse.fusedir.listing import Listing
from arvados_fuse.fusedir.paging import PagedListing, Shown, shown_items
from arvados_fuse.fusedir.project_changes import ChangingProject
from arvados_fuse.fusedir.record import PROJECT_RECORD, RecordFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arvados_fuse.api import Item
    from arvados_fuse.commit.writing import Writing
    from arvados_fuse.events import Event, State
    from arvados_fuse.fresh import FreshBase

__all__ = ["FilterDirectory", "HomeDirectory", "ProjectDirectory", "project_directory"]

ITEM_FOOTPRINT = 560
"""Bytes that one item of a listed project costs: its record, strings, inode number."""


class _Row:
    """One item of a project as last seen: its record, its inode number, and until when."""

    __slots__ = ("inode", "item", "valid_until")

    def __init__(self, item: Item, inode: int, valid_until: float) -> None:
        self.item = item
        self.inode = inode
        self.valid_until = valid_until


class ProjectDirectory(ChangingProject):
    """A project.

    `_rows` holds the items known by the name under which they are shown. After a full listing
    those are all there are, until `_listed_until`. `_growing` is a listing that is under way, of
    which nothing is known to be wrong.
    """

    __slots__ = ("_growing", "_listed_until", "_modified_ns", "_rows")

    def __init__(
        self, around: Surroundings, parent: Directory | None, uuid: str, name: str
    ) -> None:
        super().__init__(around, parent, uuid, name)
        self._modified_ns = around.started_ns
        self._rows: dict[str, _Row] = {}
        self._listed_until = 0.0
        self._growing: PagedListing | None = None

    @property
    def mtime_ns(self) -> int:
        """Time of the record's last change, nanoseconds since 1970."""
        return self._modified_ns

    def footprint(self) -> int:
        """Bytes of memory that the known items take."""
        return DIRECTORY_FOOTPRINT + ITEM_FOOTPRINT * len(self._rows)

    def negative_lifetime(self, now: float) -> float:
        """A name that is not there is known to be missing as long as the listing is fresh."""
        return max(0.0, self._listed_until - now)

    def fetch(self) -> Item:
        """Ask for the project's record. Raises NoSuchEntry if it cannot be seen."""
        return self.around.cluster.project(self.uuid)

    def landed(self, fetched: Item) -> None:
        """Take over the record."""
        self.confirm(fetched, self.around.clock() + self.around.refresh_time_s)
        self.resized()

    def confirm(self, item: Item, valid_until: float) -> None:
        """Note that the record was seen to be `item`, which holds until `valid_until`."""
        self._modified_ns = item.modified_ns
        self.valid_until = valid_until

    def invalidate(self) -> None:
        """Distrust the record and the items: the next use asks for them again."""
        super().invalidate()
        self._may_change = None
        self.distrust_items()

    def distrust_items(self) -> None:
        """Ask again for the items when they are used the next time; they keep their numbers."""
        self._listed_until, self._growing = 0.0, None
        for row in self._rows.values():
            row.valid_until = 0.0

    @property
    def watches(self) -> tuple[str, ...]:
        """The project's own events, and those of what it holds, which name it as the owner."""
        return (self.uuid,)

    def changed(self, event: Event) -> bool:
        """Distrust what the event tells of, unless it tells what we know already."""
        if event.object_uuid == self.uuid:
            self.record_changed(event)
        else:
            self.item_changed(event)
        return False

    def record_changed(self, event: Event) -> None:
        """Distrust the record, unless we have seen it since."""
        if event.is_gone or event.at_ns > self._modified_ns:
            self.valid_until = 0.0
            self._may_change = None
            if event.is_gone and self.parent is not None:
                self.around.kernel.invalidate_entry(self.parent.inode, self.name)
            self.around.kernel.invalidate_attributes(self.inode)

    def item_changed(self, event: Event) -> None:
        """Distrust an item that came, went, or has changed."""
        if event.before is None and event.after is None:
            self.distrust_items()  # the event does not tell what has changed
            return
        before, after = self._shown(event.before), self._shown(event.after)
        known_as = self._known_as(before, event.object_uuid)
        changed = {before, after, known_as} if before != after else set()
        for name in changed - {None}:
            self.around.kernel.invalidate_entry(self.inode, str(name))
        row = self._rows.get(after) if after is not None else None
        if row is not None and row.item.uuid == event.object_uuid:
            # We have seen it under this name; so that it is there is no news.
            if known_as is not None and known_as != after:
                self._rows.pop(known_as, None)
            if event.at_ns > row.item.modified_ns or not self._is_now(row.item, event):
                row.valid_until = 0.0
            return
        for name in {before, after, known_as} - {None}:
            self._listed_until, self._growing = 0.0, None
            if name in self._rows:
                self._rows[name].valid_until = 0.0

    def _known_as(self, name: str | None, uuid: str) -> str | None:
        """Return the name under which the item is shown that was called `name`, if that is known.

        It is another if several items would have that name.
        """
        row = self._rows.get(name) if name is not None else None
        if name is None or (row is not None and row.item.uuid == uuid):
            return name
        return next((n for n, row in self._rows.items() if row.item.uuid == uuid), None)

    def _shown(self, state: State | None) -> str | None:
        """Return the name under which we show an object in this state; None if we do not."""
        if state is None or state.is_trashed or state.owner_uuid != self.uuid:
            return None
        return self.around.names.present(state.name)

    @staticmethod
    def _is_now(item: Item, event: Event) -> bool:
        after = event.after
        return after is not None and (item.name, item.portable_data_hash) == (
            after.name,
            after.portable_data_hash,
        )

    def shrink(self) -> None:
        """Forget the items, unless objects in the inode table depend on their numbers."""
        if self.live == 0:
            self._rows = {}
            self._listed_until, self._growing = 0.0, None

    # -- listing ----------------------------------------------------------------------------

    def listing(self) -> Listing:
        """Return all items, asking the cluster if the last listing is too old."""
        listing = self.open_listing()
        while listing.more():
            pass
        return Listing(listing.directories, listing.directory_inodes, (), ())

    def open_listing(self) -> Listing | PagedListing:
        """Return all items that are known if they are all; else a listing that begins with some."""
        if self.around.clock() < self._listed_until:
            rows = self._rows
            return Listing(list(rows), [row.inode for row in rows.values()], (), ())
        listing = self._growing
        if listing is None or self.around.clock() >= listing.valid_until:
            items = shown_items(self._items(), self.around.names)
            known = {row.item.uuid: row.inode for row in self._rows.values()}
            listing = self._growing = PagedListing(self, items, known)
        if not listing.directories:
            listing.more()
        return listing

    def _items(self) -> Iterator[Item]:
        """Ask for all items, as they are needed. Runs without the lock."""
        yield from self.around.cluster.contents(self.uuid)

    def page_landed(self, listing: PagedListing, page: list[Shown]) -> None:
        """Take over a page of items; those that were known keep their inode numbers."""
        valid_until = self.around.clock() + self.around.refresh_time_s
        listing.valid_until = min(listing.valid_until, valid_until)
        new = self.around.inodes.reserve(len(page))
        for number, (name, item) in enumerate(page, new):
            row = self._rows.get(name)
            known = row.inode if row is not None and row.item.uuid == item.uuid else None
            inode = self._number(item.uuid, known or listing.known.get(item.uuid, number))
            self._rows[name] = _Row(item, inode, valid_until)
            listing.add(name, inode)
        if listing.is_complete:
            self._all_landed(listing)
        self.resized()

    def _all_landed(self, listing: PagedListing) -> None:
        """Forget what was not listed, and, if nothing has changed since, that there is more."""
        before = self._rows
        self._rows = {name: before.pop(name) for name in listing.directories if name in before}
        # What was looked up since may be too new to be listed.
        self._rows.update(
            (name, row) for name, row in before.items() if row.valid_until > listing.valid_until
        )
        if self._growing is listing:
            self._growing = None
            self._listed_until = listing.valid_until

    # -- lookup -----------------------------------------------------------------------------

    def child(self, name: str) -> FreshBase:
        """Return the subproject or collection called `name`, asking for it alone if need be.

        Raises NoSuchEntry; else as `fetch`.
        """
        if name == PROJECT_RECORD:
            file = RecordFile(self, name, lambda: self.around.cluster.record(self.uuid))
            self.around.inodes.add(file)
            return file
        now = self.around.clock()
        row = self._rows.get(name)
        if row is None and now < self._listed_until:
            raise self.no_such_entry(name)
        if row is None or now >= row.valid_until:
            self._ask_for(name)
            row = self._rows.get(name)
            if row is None:
                raise self.no_such_entry(name)
        return self._object(name, row)

    def _ask_for(self, name: str) -> None:
        """Find out whether there is a `name` and what it is. May give the lock up."""
        if self.around.names.is_special(name):
            self.listing()
            return
        self.once(
            f"find {name}",
            lambda: self._find(name),
            lambda item: self._item_landed(name, item),
        )

    def _find(self, name: str) -> Item | None:
        """Ask for what is shown as `name`. Runs without the lock."""
        names = self.around.names
        query = names.query(name)
        if query is None:
            return None
        for projects in (True, False):
            found = self.around.cluster.find(self.uuid, query, projects=projects)
            fits = [item for item in found if names.present(item.name) == name]
            if fits:
                return min(fits, key=lambda item: (item.name != name, item.uuid))
        return None

    def _item_landed(self, name: str, item: Item | None) -> None:
        known = self._rows.pop(name, None)
        if item is not None:
            if known is not None and known.item.uuid != item.uuid:
                known = None  # another item has taken the name over
            number = self._number(item.uuid, known.inode if known is not None else None)
            valid_until = self.around.clock() + self.around.refresh_time_s
            self._rows[name] = _Row(item, number, valid_until)
        self.resized()

    def _number(self, uuid: str, known: int | None) -> int:
        """Return the inode number of the item, the same as before wherever it had one."""
        child = self.children.get(uuid)
        if child is not None:
            return child.inode
        return known if known is not None else self.around.inodes.reserve(1)

    def _object(self, name: str, row: _Row) -> Directory:
        item = row.item
        child = self.children.get(item.uuid)
        if child is None:
            child = self._make(name, item)
            self.adopt(item.uuid, child, row.inode)
        assert isinstance(child, CollectionDirectory | ProjectDirectory)
        child.name = name
        if row.valid_until > child.valid_until:  # else it has asked for its record since
            child.confirm(item, row.valid_until)
        return child

    def came(self, name: str, item: Item) -> Directory:
        """Note that there is an item called `name` now, and return its directory."""
        self._growing = None
        self._item_landed(name, item)
        return self._object(name, self._rows[name])

    def went(self, name: str) -> None:
        """Note that there is nothing called `name` any more."""
        self._growing = None
        row = self._rows.pop(name, None)
        if row is not None:
            self.children.pop(row.item.uuid, None)

    def _make(self, name: str, item: Item) -> Directory:
        if item.is_project:
            return project_directory(self.around, self, item, name)
        return CollectionDirectory(self.around, self, item.uuid, name)


class FilterDirectory(ProjectDirectory):
    """A filter group: what its filters find, wherever it is. It owns nothing.

    (Arvados documentation, "Groups", "Filter groups".)
    """

    __slots__ = ()

    @property
    def writable(self) -> bool:
        """No: it owns nothing."""
        return False

    def check_writable(self) -> Writing:
        """Raise ReadOnly or NotPermitted."""
        if self.around.writing is None:
            return super().check_writable()
        raise self.not_permitted()

    @property
    def watches(self) -> tuple[str, ...]:
        """Events of all projects and collections: any may be found or lost by the filters."""
        return (self.uuid, GROUP, COLLECTION)

    def open_listing(self) -> Listing | PagedListing:
        """Return what the filters find; nothing inside of itself, or there would be no end."""
        return Listing((), (), (), ()) if self._is_inside_itself else super().open_listing()

    @property
    def _is_inside_itself(self) -> bool:
        above = self.parent
        while above is not None:
            if isinstance(above, FilterDirectory) and above.uuid == self.uuid:
                return True
            above = above.parent
        return False

    def item_changed(self, event: Event) -> None:
        """Distrust all items: the event does not tell what the filters make of it."""
        if self._listed_until > 0:
            self.distrust_items()

    def negative_lifetime(self, now: float) -> float:
        """Zero: nobody will tell which names the filters begin to find."""
        return 0.0

    def _ask_for(self, name: str) -> None:
        """Find out what the filters find; there is no request for one name of it."""
        self.listing()


def project_directory(
    around: Surroundings, parent: Directory | None, item: Item, name: str
) -> ProjectDirectory:
    """Make the directory of the project or filter group of this record."""
    kind = FilterDirectory if item.is_filter else ProjectDirectory
    return kind(around, parent, item.uuid, name)


class HomeDirectory(ProjectDirectory):
    """The home project of a user: what they own directly. It is always there."""

    __slots__ = ()

    def __init__(
        self, around: Surroundings, parent: Directory | None, uuid: str, name: str
    ) -> None:
        super().__init__(around, parent, uuid, name)
        self.valid_until = FOREVER

    def record_changed(self, event: Event) -> None:
        """Nothing: there is no record that is shown."""

    def invalidate(self) -> None:
        """Distrust the items. There is no record to be asked for."""
        self._may_change = None
        self.distrust_items()
