"""A collection that is being changed: a thin overlay over the tree that it started from.

    draft = Draft(Tree.from_manifest(text))
    directory = draft.root.directory("a")
    file = directory.create("new")                  # or directory.open_file("old")
    file.write(start, size, Pending(chunk, offset))
    directory.unlink("b"); directory.mkdir("c")     # rename() is in arvados_fuse.collection.rename

Two trees are kept side by side, and both cost memory only where they differ from the base: what is
here now (``overlay``), and what the cluster is known to have (``settled``). An entry knows its
place in both: ``parent`` and ``name`` now, ``settled_at`` in the cluster. So a rename, of a file or
of a whole directory, moves one reference. What differs between the two trees is noted on the way
up from each change (``changed``): a commit looks at nothing else. ``delta`` says what to send to
the cluster, ``settle`` notes that it was done, ``merge`` moves the draft to a newer base.

Names are true names, as ``Tree`` gives them. Everything here must be called under one lock, that
of the file system. A method that looks into a base directory parses its files if they are not in
memory, which can take time: load them (``directory.base.files()``) before the lock is taken.
"""

from __future__ import annotations

from collections.abc import Iterator

from arvados_fuse.collection.extents import ExtentMap, Source
from arvados_fuse.collection.quote import quote
from arvados_fuse.collection.table import Segment
from arvados_fuse.collection.tree import Tree, TreeDirectory
from arvados_fuse.errors import (
    Exists,
    InvalidArgument,
    IsDirectory,
    NameNotText,
    NameTooLong,
    NoSuchEntry,
    NotDirectory,
    NotEmpty,
)

__all__ = ["Draft", "DraftDirectory", "DraftFile", "Entry", "check_name"]

_MAX_NAME = 255  # bytes; what Linux allows

BaseEntry = TreeDirectory | int | None
"""What the base has under a name: a directory, the index of a file, or nothing."""


class Entry:
    """What files and directories have in common: where they are.

    parent, name: where it is now; a parent of None is that of the root, and of what was removed
    settled_at: directory and name under which the cluster has it; None if it does not
    mtime_ns: time of the last change, nanoseconds since 1970; None if the collection's holds
    """

    __slots__ = ("mtime_ns", "name", "parent", "settled_at")

    def __init__(self, parent: DraftDirectory | None, name: str) -> None:
        self.parent = parent
        self.name = name
        self.settled_at: tuple[DraftDirectory, str] | None = None
        self.mtime_ns: int | None = None

    def path(self) -> str:
        """Where it is now, "a/b/name"; "" for the root."""
        names = []
        entry: Entry = self
        while entry.parent is not None:
            names.append(entry.name)
            entry = entry.parent
        return "/".join(reversed(names))

    def settled_path(self) -> str:
        """Where the cluster has it; "" for the root, and for what the cluster does not have."""
        names = []
        place = self.settled_at
        while place is not None:
            names.append(place[1])
            place = place[0].settled_at
        return "/".join(reversed(names))

    @property
    def in_place(self) -> bool:
        """Whether it is where the cluster has it, as far as its parent and its name say."""
        place = self.settled_at
        return place is not None and place[0] is self.parent and place[1] == self.name


class DraftFile(Entry):
    """A file that is, or may be, changed. It goes on without a parent when it is unlinked.

    extents: its bytes; change them through the methods of the file, which keep count
    revision: raised by each change of the bytes
    settled_revision: the revision whose bytes the cluster has; -1 if it has none
    settled: the bytes that the cluster has; None likewise
    pins: how many handles are open for writing. A file with pins stays in the overlay when the
        draft is merged, so that what they write later is not lost. Kept by whoever opens them.
    """

    __slots__ = ("__weakref__", "extents", "pins", "revision", "settled", "settled_revision")

    def __init__(self, parent: DraftDirectory | None, name: str, extents: ExtentMap) -> None:
        super().__init__(parent, name)
        self.extents = extents
        self.revision = 1
        self.settled_revision = -1
        self.settled: tuple[Segment, ...] | None = None
        self.pins = 0

    @property
    def size(self) -> int:
        """In bytes."""
        return self.extents.size

    @property
    def is_dirty(self) -> bool:
        """Whether the cluster has other bytes, or none."""
        return self.revision != self.settled_revision

    def write(self, start: int, size: int, source: Source) -> None:
        """Let ``size`` bytes from ``start`` on come from ``source``; see ExtentMap.write."""
        if size > 0:
            self.extents.write(start, size, source)
            self._count()

    def write_all(self, extents: ExtentMap) -> None:
        """Let the whole content be that of these extents."""
        self.extents = extents.copy()
        self._count()

    def truncate(self, size: int) -> None:
        """Cut off or lengthen by a hole."""
        if size != self.extents.size:
            self.extents.truncate(size)
            self._count()

    def _count(self) -> None:
        was_dirty = self.is_dirty
        self.revision += 1
        if not was_dirty and self.parent is not None:
            self.parent.note(self.name)


class DraftDirectory(Entry):
    """A directory of a draft. It stays the same object when it is renamed.

    draft: that it belongs to
    base: the directory of the base that it shows where the overlay says nothing; None if it is new
    overlay: entries that are not simply the base's: made, moved or opened ones by name, and None
        for names of the base that are gone
    settled: what the cluster has, where that is not simply the base's, or where the base's entry
        has become an object: the entry by name, None for what the cluster no longer has. A name
        that is here is in the overlay as well.
    changed: names under which there is something else than in the cluster, or a directory in which
        there is
    """

    __slots__ = ("base", "changed", "draft", "overlay", "settled")

    def __init__(
        self, draft: Draft, parent: DraftDirectory | None, name: str, base: TreeDirectory | None
    ) -> None:
        super().__init__(parent, name)
        self.draft = draft
        self.base = base
        self.overlay: dict[str, DraftFile | DraftDirectory | None] = {}
        self.settled: dict[str, DraftFile | DraftDirectory | None] = {}
        self.changed: set[str] = set()

    @property
    def is_dirty(self) -> bool:
        """Whether anything inside is not as the cluster has it."""
        return bool(self.changed)

    @property
    def is_removed(self) -> bool:
        """Whether no path leads here any more. Nothing can be made in such a directory."""
        top = self
        while top.parent is not None:
            top = top.parent
        return top is not self.draft.root

    def path_of(self, name: str) -> str:
        """Where an entry of that name is, "a/b/name"."""
        path = self.path()
        return f"{path}/{name}" if path else name

    # -- looking ----------------------------------------------------------------------------

    def find(self, name: str) -> DraftFile | DraftDirectory | BaseEntry:
        """What is under a name: an object, or the base's directory or index of a file, or None."""
        if name in self.overlay:
            return self.overlay[name]
        return self.in_base(name)

    def in_base(self, name: str) -> BaseEntry:
        """What the base has under a name, whether it still shows or not."""
        if self.base is None:
            return None
        directory = self.base.subdirectories.get(name)
        return self.base.files().index(name) if directory is None else directory

    def has(self, name: str) -> bool:
        """Whether there is a file or directory of that name."""
        return self.find(name) is not None

    def cluster_has(self, name: str) -> bool:
        """Whether the cluster is known to have something under a name."""
        if name in self.settled:
            return self.settled[name] is not None
        return self.in_base(name) is not None

    def own_files(self) -> Iterator[tuple[str, DraftFile]]:
        """The files that are objects."""
        for name, entry in self.overlay.items():
            if isinstance(entry, DraftFile):
                yield name, entry

    def base_files(self) -> Iterator[tuple[int, str]]:
        """Index and name of the base's files that show, in the base's order."""
        if self.base is None:
            return
        names = enumerate(self.base.files().names)
        overlay = self.overlay
        yield from ((at, name) for at, name in names if name not in overlay) if overlay else names

    def directory_names(self) -> Iterator[str]:
        """Names of all directories in this one."""
        if self.base is not None:
            yield from (name for name in self.base.subdirectories if name not in self.overlay)
        for name, entry in self.overlay.items():
            if isinstance(entry, DraftDirectory):
                yield name

    @property
    def is_empty(self) -> bool:
        """Whether it has no entry."""
        nothing = object()
        return (
            all(entry is None for entry in self.overlay.values())
            and next(self.directory_names(), nothing) is nothing
            and next(self.base_files(), nothing) is nothing
        )

    # -- becoming objects -------------------------------------------------------------------

    def directory(self, name: str) -> DraftDirectory:
        """The directory of that name as an object. Raises NoSuchEntry, NotDirectory."""
        found = self.find(name)
        if isinstance(found, DraftDirectory):
            return found
        if isinstance(found, TreeDirectory):
            directory = DraftDirectory(self.draft, self, name, found)
            self._take_from_base(directory)
            return directory
        if found is None:
            raise self._no_such_entry(name)
        raise NotDirectory(f"{quote(name)} is not a directory.")

    def open_file(self, name: str) -> DraftFile:
        """The file of that name as an object that can be changed.

        Raises NoSuchEntry, IsDirectory, ManifestError.
        """
        found = self.find(name)
        if isinstance(found, DraftFile):
            return found
        if isinstance(found, int):
            segments = self._base_segments(found)
            assert segments is not None, "the index is one of the base"
            file = DraftFile(self, name, ExtentMap.from_segments(segments))
            file.revision = file.settled_revision = 0
            file.settled = segments
            self._take_from_base(file)
            return file
        if found is None:
            raise self._no_such_entry(name)
        raise IsDirectory(f"{quote(name)} is a directory.")

    def forget(self, name: str) -> bool:
        """Let go of the object of that name if the base alone says the same; tells whether.

        For a file or directory that nobody uses as an object any more.
        """
        entry = self.overlay.get(name)
        base = self.in_base(name)
        if entry is None or base is None or entry.is_dirty or not entry.in_place:
            return False
        if isinstance(entry, DraftDirectory):
            forgettable = not entry.overlay and entry.base is base
        else:
            forgettable = not entry.pins and self._base_segments(base) == entry.settled
        if forgettable:
            del self.overlay[name], self.settled[name]
        return forgettable

    def _base_segments(self, found: BaseEntry) -> tuple[Segment, ...] | None:
        """The content of a file of the base; None if it is no file."""
        if self.base is None or not isinstance(found, int):
            return None
        return self.base.files().segments(found)

    def _take_from_base(self, entry: DraftFile | DraftDirectory) -> None:
        entry.settled_at = (self, entry.name)
        self.overlay[entry.name] = self.settled[entry.name] = entry

    # -- changing ---------------------------------------------------------------------------

    def create(self, name: str) -> DraftFile:
        """A new, empty file.

        Raises Exists, NoSuchEntry in a removed directory, and what ``check_name`` does.
        """
        file = DraftFile(None, name, ExtentMap())
        self._add(name, file)
        return file

    def mkdir(self, name: str) -> DraftDirectory:
        """A new directory; raises as ``create`` does."""
        directory = DraftDirectory(self.draft, None, name, None)
        self._add(name, directory)
        return directory

    def unlink(self, name: str) -> DraftFile | None:
        """Remove a file; returns its object if it was one. Raises NoSuchEntry, IsDirectory."""
        found = self.find(name)
        if found is None:
            raise self._no_such_entry(name)
        if isinstance(found, (DraftDirectory, TreeDirectory)):
            raise IsDirectory(f"{quote(name)} is a directory: rmdir removes it.")
        self.detach(name)
        return found if isinstance(found, DraftFile) else None

    def rmdir(self, name: str) -> DraftDirectory:
        """Remove an empty directory. Raises NoSuchEntry, NotDirectory, NotEmpty."""
        self.check_rmdir(name)
        directory = self.directory(name)
        self.detach(name)
        return directory

    def check_rmdir(self, name: str) -> None:
        """Raise what ``rmdir`` would raise."""
        if not self.directory(name).is_empty:
            raise NotEmpty(f"The directory {quote(name)} is not empty.")

    def attach(self, name: str, entry: DraftFile | DraftDirectory) -> None:
        """Put an entry that has no parent under a name that is free."""
        entry.parent, entry.name = self, name
        self.overlay[name] = entry
        self.note(name)

    def detach(self, name: str) -> None:
        """Take away whatever is under a name. If it is an object, it is without a parent then."""
        entry = self.overlay.pop(name, None)
        if entry is not None:
            entry.parent = None
        if name in self.settled or self.in_base(name) is not None:
            self.overlay[name] = None
        self.note(name)

    def note(self, name: str) -> None:
        """Note, as far up as it matters, whether the entry is still what the cluster has."""
        directory = self
        while True:
            changed = directory.changed
            was_dirty = bool(changed)
            if directory.differs(name):
                changed.add(name)
            else:
                changed.discard(name)
            if was_dirty == bool(changed) or directory.parent is None:
                return
            directory, name = directory.parent, directory.name

    def differs(self, name: str) -> bool:
        """Whether there is something else than in the cluster under a name, or in what is there."""
        if name not in self.overlay:
            return False
        entry = self.overlay[name]
        if entry is None:
            return self.cluster_has(name)
        return entry.is_dirty or not entry.in_place

    def check_new(self, name: str) -> None:
        """Raise what ``create`` and ``mkdir`` would raise."""
        check_name(name)
        if self.is_removed:
            raise NoSuchEntry(f"The directory {quote(self.name)} has been removed.")
        if self.has(name):
            raise Exists(f"{quote(name)} is there already.")

    def _add(self, name: str, entry: DraftFile | DraftDirectory) -> None:
        self.check_new(name)
        self.attach(name, entry)

    def _no_such_entry(self, name: str) -> NoSuchEntry:
        return NoSuchEntry(f"There is no {quote(name)} in the directory {quote(self.path())}.")


class Draft:
    """A collection with its changes.

    base: the tree that it started from, or was moved to
    root: its top directory
    """

    __slots__ = ("base", "root")

    def __init__(self, base: Tree) -> None:
        self.base = base
        self.root = DraftDirectory(self, None, "", base.root)

    @property
    def is_dirty(self) -> bool:
        """Whether there is anything that the cluster does not have."""
        return self.root.is_dirty

    def locate(self, path: str) -> tuple[DraftDirectory, str]:
        """The directory that a path, "a/b/name", leads through last, and the name in it.

        Raises NoSuchEntry, NotDirectory.
        """
        *directories, name = path.split("/")
        directory = self.root
        for step in directories:
            directory = directory.directory(step)
        return directory, name


def check_name(name: str) -> None:
    """Raise InvalidArgument, NameTooLong or NameNotText if no file can be called that."""
    if not name or name in (".", "..") or "/" in name:
        raise InvalidArgument(f"{quote(name)} cannot be the name of a file.")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise NameNotText(f"The name {quote(name)} is not UTF-8: choose another.") from None
    if size > _MAX_NAME:
        raise NameTooLong(f"The name {quote(name)} is longer than {_MAX_NAME} bytes.")
