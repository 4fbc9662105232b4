"""The base of directories that fetch the list of their entries whole: shared, tags, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from arvados_fuse.fusedir.directory import DIRECTORY_FOOTPRINT, Directory, Surroundings
from arvados_fuse.fusedir.listing import Listing

if TYPE_CHECKING:
    from arvados_fuse.api import Item
    from arvados_fuse.events import Event
    from arvados_fuse.fresh import FreshBase

__all__ = ["Entry", "ListedDirectory"]

ENTRY_FOOTPRINT = 620
"""Bytes that one entry costs: its record, strings, inode number."""


class Entry(NamedTuple):
    """One entry as the cluster has it.

    key: what tells it from all others, whatever it is called
    name: its name, before the rules for names are applied
    item: its record, if it is a project or collection
    """

    key: str
    name: str
    item: Item | None = None


class ListedDirectory(Directory):
    """A directory of directories. A kind implements `fetch` and `make`.

    The event bus is silent about some changes of what is listed here: who may not see the owner of
    a link that is deleted is not told. (Arvados documentation, "Websocket event stream".) So the
    entries are asked for again when the refresh time is over, whether there is a bus or not.

    _asked_at: when that was last done, by a clock that always runs (`Trust.clock`)
    _entries: by the name under which each is shown
    _numbers: the inode number of each by its key
    """

    __slots__ = ("_asked_at", "_entries", "_numbers")

    def __init__(self, around: Surroundings, parent: Directory | None, key: str, name: str) -> None:
        super().__init__(around, parent, key, name)
        self._asked_at = 0.0
        self._entries: dict[str, Entry] = {}
        self._numbers: dict[str, int] = {}

    def fetch(self) -> list[Entry]:
        """Ask the cluster for the entries, those first that keep their name if two have one."""
        raise NotImplementedError

    def make(self, name: str, entry: Entry) -> Directory:
        """Make the directory of an entry, shown as `name`."""
        raise NotImplementedError

    def changed(self, event: Event) -> bool:
        """Distrust the entries; if the kernel may know some, they are to be asked for soon."""
        self.invalidate()
        return self.live > 0

    def landed(self, fetched: list[Entry]) -> None:
        """Take over the entries; those that were known keep their inode numbers."""
        before = {name: entry.key for name, entry in self._entries.items()}
        shown = self.around.names.distinct([(entry.name, entry.key) for entry in fetched])
        self._entries = dict(zip(shown, fetched, strict=True))
        after = {name: entry.key for name, entry in self._entries.items()}
        if before:
            for name, _ in before.items() ^ after.items():
                self.around.kernel.invalidate_entry(self.inode, name)
        self._numbers = {entry.key: self._number(entry.key) for entry in fetched}
        self._asked_at = self.around.trust.clock()
        self.valid_until = self.around.clock() + self.around.refresh_time_s
        self.resized()

    @property
    def stale(self) -> bool:
        """Whether the cluster has to be asked before the entries are used."""
        age_s = self.around.trust.clock() - self._asked_at
        return super().stale or age_s >= self.around.refresh_time_s

    def negative_lifetime(self, now: float) -> float:
        """Zero: no event tells the names of what is new here."""
        return 0.0

    def _number(self, key: str) -> int:
        child = self.children.get(key)
        if child is not None:
            return child.inode
        known = self._numbers.get(key)
        return known if known is not None else self.around.inodes.reserve(1)

    def footprint(self) -> int:
        """Bytes of memory that the known entries take."""
        return DIRECTORY_FOOTPRINT + ENTRY_FOOTPRINT * len(self._entries)

    def shrink(self) -> None:
        """Forget the entries, unless objects in the inode table depend on their numbers."""
        if self.live == 0:
            self._entries, self._numbers = {}, {}
            self.valid_until = 0.0

    def listing(self) -> Listing:
        """Return all entries, asking the cluster if what is known is too old."""
        self.refresh()
        numbers = [self._numbers[entry.key] for entry in self._entries.values()]
        return Listing(list(self._entries), numbers, (), ())

    def child(self, name: str) -> FreshBase:
        """Return the directory called `name`. Raises NoSuchEntry; else as `fetch`."""
        self.refresh()
        entry = self._entries.get(name)
        if entry is None:
            raise self.no_such_entry(name)
        child = self.children.get(entry.key)
        if child is None:
            child = self.make(name, entry)
            self.adopt(entry.key, child, self._numbers[entry.key])
        assert isinstance(child, Directory)
        child.name = name
        if entry.item is not None and self.valid_until > child.valid_until:
            child.confirm(entry.item, self.valid_until)
        return child
