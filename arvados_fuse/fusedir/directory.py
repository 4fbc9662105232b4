"""The base of all directories, and the surroundings that those of one mount share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from arvados_fuse.errors import (
    Busy,
    Exists,
    FileSystemError,
    IsDirectory,
    NoSuchEntry,
    NotPermitted,
)
from arvados_fuse.fresh import FreshBase
from arvados_fuse.fusedir.status import MOUNT_RECORD, StatusFile
from arvados_fuse.fusefile import File

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arvados_fuse.api import Cluster, Item, Record
    from arvados_fuse.commit.writing import Writing
    from arvados_fuse.events import Event
    from arvados_fuse.fresh import KernelNotifier, SingleFlight
    from arvados_fuse.fusedir.listing import Listing
    from arvados_fuse.fusedir.names import NameRules
    from arvados_fuse.fusedir.paging import PagedListing
    from arvados_fuse.fusefile import AttributeChange, Kept
    from arvados_fuse.inodes import Inodes
    from arvados_fuse.trust import Trust

__all__ = ["DIRECTORY_FOOTPRINT", "Background", "Directory", "Surroundings"]

DIRECTORY_FOOTPRINT = 700
"""Bytes that a directory object costs by itself, with its entry in the inode table."""

MOST_TRIES = 10
"""How often it is tried to make or find a file that others make and remove."""

T = TypeVar("T")


class Background(Protocol):
    """Who refreshes directories when no request needs that."""

    def refresh(self, directory: Directory) -> None:
        """Have `directory` refreshed soon, by another thread. Called with the lock held."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all directories of one mount share.

    cluster: the REST API
    inodes: the inode table
    flights: slow work, once for all who wait for it
    kernel: tells the kernel to forget
    names: how names of the cluster are shown
    trust: until when what the cluster said may be trusted
    background: has a directory refreshed without a request that waits for it
    started_ns: when the mount was made, nanoseconds since 1970; the time of what has none
    status: returns what the mount says of itself; called with the lock held
    writing: what changes need; None if the mount is read-only
    """

    cluster: Cluster
    inodes: Inodes
    flights: SingleFlight
    kernel: KernelNotifier
    names: NameRules
    trust: Trust
    background: Background
    started_ns: int
    status: Callable[[], Record]
    writing: Writing | None = None

    @property
    def clock(self) -> Callable[[], float]:
        """The clock by which content grows old; it does not run while we are told of changes."""
        return self.trust.now

    @property
    def refresh_time_s(self) -> float:
        """For how long on that clock what the cluster said is trusted."""
        return self.trust.refresh_time_s


class Directory(FreshBase):
    """Base of all directories.

    key: what its parent knows it by; never changes
    name: the name under which its parent shows it, for log lines and the kernel
    children: its entries that are objects in the inode table and stay there, by their key
    live: how many of its entries are in the inode table, transient ones included
    accounted: bytes that the inode cache has booked for it

    A kind of directory implements `listing`, `child` and, if it holds much, `footprint` and
    `shrink`; if its content can become too old, `fetch` and `landed`.
    """

    __slots__ = ("accounted", "around", "children", "key", "live", "name")

    parent: Directory | None
    is_unlinked = False
    kept: Kept | None = None

    def __init__(self, around: Surroundings, parent: Directory | None, key: str, name: str) -> None:
        super().__init__(parent)
        self.around = around
        self.key = key
        self.name = name
        self.children: dict[str, FreshBase] = {}
        self.live = 0
        self.accounted = 0

    # -- what a kind of directory implements ------------------------------------------------

    def fetch(self) -> Any:
        """Ask the cluster what the directory is now. Runs without the lock.

        Raises the errors of `api.Cluster`; NoSuchEntry when the object is gone.
        """
        raise NotImplementedError

    def landed(self, fetched: Any) -> None:
        """Take over what `fetch` returned."""
        raise NotImplementedError

    def confirm(self, item: Item, valid_until: float) -> None:
        """Note that the record was seen to be `item`, which holds until `valid_until`."""
        raise NotImplementedError

    def listing(self) -> Listing:
        """Return all entries. May give the lock up."""
        raise NotImplementedError

    def open_listing(self) -> Listing | PagedListing:
        """Return all entries, or a listing that brings them as it is read."""
        return self.listing()

    def child(self, name: str) -> FreshBase:
        """Return the object called `name`, in the inode table. May give the lock up.

        Raises NoSuchEntry if there is none.
        """
        raise NotImplementedError

    def footprint(self) -> int:
        """Bytes of memory that the loaded content takes."""
        return DIRECTORY_FOOTPRINT

    def shrink(self) -> None:
        """Give back memory whose content can be had again without changing an inode number."""

    @property
    def mtime_ns(self) -> int:
        """Time of the last change, nanoseconds since 1970."""
        return self.around.started_ns

    @property
    def writable(self) -> bool:
        """Whether, as far as is known, entries can be changed."""
        return False

    def change_attributes(self, change: AttributeChange) -> None:
        """Set attributes. What cannot keep them does as if: programs that copy must go on."""

    def create(self, name: str) -> File:
        """Make a file called `name`. May give the lock up."""
        raise self.not_permitted()

    def find_or_create(self, name: str, *, exclusive: bool) -> tuple[File, bool]:
        """Return the file called `name`, and whether it was made for that.

        May give the lock up, but not after the file was found or made. Raises as `create`; Exists
        only if `exclusive`, IsDirectory if that is what there is.
        """
        for _ in range(MOST_TRIES):
            try:
                return self.create(name), True
            except Exists:
                if exclusive:
                    raise
            with suppress(NoSuchEntry):  # it is gone again
                found = self.find(name)
                if not isinstance(found, File):
                    raise IsDirectory(f"{name!r} is a directory.")
                return found, False
        raise Busy(f"{name!r} comes and goes.")

    def mkdir(self, name: str) -> Directory:
        """Make a directory called `name`. May give the lock up."""
        raise self.not_permitted()

    def unlink(self, name: str) -> None:
        """Remove the file called `name`. May give the lock up."""
        raise self.not_permitted()

    def rmdir(self, name: str) -> None:
        """Remove the empty directory called `name`. May give the lock up."""
        raise self.not_permitted()

    def move(self, name: str, target: Directory, new_name: str) -> None:
        """Move an entry into `target`, or give it another name. May give the lock up."""
        raise self.not_permitted()

    def commit(self) -> None:
        """Commit what was changed in here. May give the lock up."""

    def not_permitted(self) -> NotPermitted:
        """Return the error for a change that no right would allow."""
        return NotPermitted(f"Nothing can be changed in {self.path()}.")

    def not_taken(self, is_directory: bool) -> FileSystemError:
        """Return the error for what comes from a collection, to be an entry here."""
        del is_directory
        return self.not_permitted()

    def negative_lifetime(self, now: float) -> float:
        """For how many seconds after `now` the kernel may trust that a name is not there."""
        return self.lifetime(now)

    def changed(self, event: Event) -> bool:
        """Take notice of an event that has one of the keys that the directory `watches`.

        Distrusts what the event may have changed, and has the kernel forget it. Returns whether the
        kernel may hold more, that only the next refresh can find, so that it should be soon.
        """
        self.invalidate()
        return False

    def retract(self) -> None:
        """Have the kernel forget what it was told to keep until further notice."""

    # -- what all directories do ------------------------------------------------------------

    @property
    def pinned(self) -> bool:
        """Whether the directory has to stay in the inode table."""
        return self.kernel_refs > 0 or self.uses > 0 or self.live > 0 or self.parent is None

    @property
    def stale(self) -> bool:
        """Whether the cluster has to be asked before the content is used."""
        return self.around.trust.now() >= self.valid_until

    def path(self) -> str:
        """Return the path from the root of the mount, for log lines."""
        names = []
        directory: Directory = self
        while directory.parent is not None:
            names.append(directory.name)
            directory = directory.parent
        return "/" + "/".join(reversed(names))

    def no_such_entry(self, name: str) -> NoSuchEntry:
        """Return the error for a name that is not here."""
        return NoSuchEntry(f"There is no {name!r} in {self.path()}.")

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the directory in the inode table while the lock is given up."""
        self.uses += 1
        try:
            yield
        finally:
            self.around.inodes.release(self)

    def refresh(self) -> None:
        """Ask the cluster if the content is too old. May give the lock up; raises as `fetch`."""
        if self.stale:
            self.once("refresh", self.fetch, self.landed)

    def once(
        self,
        what: str,
        work: Callable[[], T],
        landed: Callable[[T], None],
        concerns: Directory | None = None,
    ) -> None:
        """Do slow `work` without the lock, once for all who need it; see SingleFlight.run.

        While `landed` takes the answer over, the clock shows when it was asked for: that, and not
        the present, is what the answer is as old as. An answer that an event has overtaken counts
        as too old at once; the events are those of this directory, and of the one that the answer
        `concerns` if that is another.
        """
        trust = self.around.trust
        question = trust.ask()
        keys = self.watches if concerns is None else (*self.watches, *concerns.watches)

        def take_over(answer: T) -> None:
            with trust.taking_over(question, keys):
                landed(answer)

        with self.in_use():
            self.around.flights.run((self, what), work, take_over)

    def find(self, name: str) -> FreshBase:
        """Return the object called `name`, or in the root what tells of the mount. As `child`."""
        if name == MOUNT_RECORD and self.parent is None:
            file = StatusFile(self, self.around.status())
            self.around.inodes.add(file)
            return file
        return self.child(name)

    def plant(self) -> None:
        """Become the root of the mount: the first object in the inode table."""
        self.around.inodes.add(self)
        self.resized()

    def adopt(self, key: str, child: FreshBase, number: int | None = None) -> None:
        """Enter `child` into the inode table and among the children."""
        self.around.inodes.add(child, number)
        self.children[key] = child
        if isinstance(child, Directory):
            self.around.inodes.cache.resized(child)

    def resized(self) -> None:
        """Tell the inode cache that the content was loaded or dropped."""
        # One that had to go meanwhile, as memory is short, is accounted for no more.
        if self.around.inodes.find(self.inode) is self:
            self.around.inodes.cache.resized(self)

    def evict(self) -> None:
        """Give back memory: everything if nobody needs the directory, else what can be spared."""
        if self.parent is not None and not self.pinned:
            self.shrink()
            self.around.inodes.cache.removed(self)
            self.around.inodes.remove(self)
            if self.parent.children.get(self.key) is self:
                del self.parent.children[self.key]
            return
        if self.uses == 0:
            self.shrink()
            if self.parent is not None and self.live == 0:
                # Only the kernel's memory of the name keeps it; the answer is a forget request.
                self.around.kernel.invalidate_entry(self.parent.inode, self.name)
