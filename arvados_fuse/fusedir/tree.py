"""The directories of a collection's content: what they show of a `Tree`.

The content is a `Tree`, an immutable value made from the manifest. Directory objects are made
when the kernel asks for them, file objects likewise, and inode numbers are set aside a whole
directory at a time, so that listing a million files makes a million numbers and no object.

When the cluster has a newer version, each directory object moves on to the new tree: files whose
content is the same keep their number and object, the others get a new number, so that whatever
has the old one open or mapped keeps reading the version that it opened.
"""

from __future__ import annotations

import sys
from array import array
from contextlib import suppress
from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol

from arvados_fuse.errors import ManifestError
from arvados_fuse.fusedir.directory import DIRECTORY_FOOTPRINT, Directory, Surroundings
from arvados_fuse.fusedir.listing import Listing
from arvados_fuse.fusefile import CollectionFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from arvados_fuse.collection.repacking import Moves
    from arvados_fuse.collection.tree import FileTable, Segment, TreeDirectory
    from arvados_fuse.fresh import FreshBase

__all__ = ["TopDirectory", "TreeBacked"]

MOST_FORGOTTEN = 1000
"""New names that the kernel is told about, of one directory and one version."""

NAME_FOOTPRINT = 110
"""Bytes that the name and number of a subdirectory cost."""


class TopDirectory(Protocol):
    """The directory at the top of a collection, as those inside it need it."""

    @property
    def content_ns(self) -> int:
        """Time of the last change that was not made here, nanoseconds since 1970."""

    def content_lifetime(self, now: float) -> float:
        """For how many seconds after `now` the entries may be trusted."""

    def file_lifetime(self, now: float) -> float:
        """For how many seconds after `now` the kernel may keep a file's entry and attributes."""

    @property
    def moves(self) -> Moves:
        """Where in Keep bytes were moved to while the content stayed the same."""

    @property
    def version(self) -> str:
        """The portable data hash of the content that is loaded; "" while none is."""

    def signed_anew(self, segments: Sequence[Segment], version: str) -> Sequence[Segment] | None:
        """Return `segments` of the content of `version`, with new block signatures."""

    def refresh(self) -> None:
        """Ask the cluster if the collection is too old. May give the lock up."""

    def invalidate(self) -> None:
        """Distrust the collection: the next use asks for it again."""


class TreeBacked(Directory):
    """A directory whose entries are those of a tree directory.

    node: the tree directory of the current version
    _subdirectory_inodes: the number of each subdirectory by its true name; None before any was
        needed
    _file_inodes: the number of each file by its index in the file table; None likewise
    _odd: true names of entries that are shown under another, by the name shown
    """

    __slots__ = ("_file_inodes", "_odd", "_subdirectory_inodes", "node")

    def __init__(
        self,
        around: Surroundings,
        parent: Directory | None,
        key: str,
        name: str,
    ) -> None:
        super().__init__(around, parent, key, name)
        self.node: TreeDirectory | None = None
        self._subdirectory_inodes: dict[str, int] | None = None
        self._file_inodes: Sequence[int] | None = None
        self._odd: dict[str, str] = {}

    @property
    def collection(self) -> TopDirectory:
        """The directory at the top of the collection."""
        raise NotImplementedError

    def make_subdirectory(self, key: str, name: str) -> TreeBacked:
        """Make the object of a directory in this one."""
        raise NotImplementedError

    def make_file(self, index: int, key: str, name: str, size: int) -> CollectionFile:
        """Make the object of a file of this directory."""
        raise NotImplementedError

    def content_lifetime(self, now: float) -> float:
        """For how many seconds after `now` the entries may be trusted."""
        return self.collection.content_lifetime(now)

    def file_lifetime(self, now: float) -> float:
        """For how many seconds after `now` the kernel may keep a file's entry and attributes."""
        return self.collection.file_lifetime(now)

    def negative_lifetime(self, now: float) -> float:
        """As long as the entries."""
        return self.content_lifetime(now)

    @property
    def mtime_ns(self) -> int:
        """Time of the collection's last change, nanoseconds since 1970."""
        return self.collection.content_ns

    def footprint(self) -> int:
        """Bytes of memory that the loaded content takes."""
        size = DIRECTORY_FOOTPRINT
        if self.node is not None and self.node.loaded:
            size += self.node.files().footprint
        if isinstance(self._file_inodes, array):
            size += sys.getsizeof(self._file_inodes)
        if self._subdirectory_inodes is not None:
            size += NAME_FOOTPRINT * len(self._subdirectory_inodes)
        return size

    # -- entries ----------------------------------------------------------------------------

    def listing(self) -> Listing:
        """Return all entries. Raises ManifestError if the directory's part of it is bad."""
        self.collection.refresh()
        table, file_inodes = self._files()
        subdirectories = self._subdirectories()
        return Listing(
            self._shown(list(subdirectories)),
            list(subdirectories.values()),
            self._shown(table.names),
            file_inodes,
        )

    def child(self, name: str) -> FreshBase:
        """Return the file or directory called `name`. Raises NoSuchEntry, ManifestError."""
        self.collection.refresh()
        found = self._shown_child(name)
        if found is None:
            raise self.no_such_entry(name)
        return found

    def _shown_child(self, name: str) -> FreshBase | None:
        """Return what is shown as `name`; None if nothing is. May give the lock up."""
        found = self._child(name)
        if found is None:
            self._subdirectories()  # notes those that are shown under another name
            if name in self._odd:
                found = self._child(self._odd[name])
        return found

    def _child(self, name: str) -> FreshBase | None:
        if name in self._node().subdirectories:
            return self._subdirectory(name)
        table, file_inodes = self._files()
        index = table.index(name)
        if index is None:
            return None
        file = self.around.inodes.find(file_inodes[index])
        if isinstance(file, CollectionFile) and file.is_doubtful:
            file = None
            file_inodes = self._renumber(index, file_inodes)
        if file is None:
            shown = self._shown([name])[0] if self._odd else name
            file = self.make_file(index, name, shown, table.size(index))
            self.around.inodes.add(file, file_inodes[index])
        return file

    def _renumber(self, index: int, file_inodes: Sequence[int]) -> Sequence[int]:
        """Give a file another number; returns the numbers of all files."""
        numbers = array("Q", file_inodes)
        numbers[index] = self.around.inodes.reserve(1)
        self._file_inodes = numbers
        self.resized()
        return numbers

    def _node(self) -> TreeDirectory:
        assert self.node is not None, "refresh() loads the tree"
        return self.node

    def _subdirectory(self, name: str) -> FreshBase:
        child = self.children.get(name)
        if child is None:
            self._subdirectories()  # notes it if it is shown under another name
            shown = self._shown([name])[0]
            child = self.make_subdirectory(name, shown)
            child.node = self._node().subdirectories[name]
            self.adopt(name, child, self._subdirectories()[name])
        return child

    def _subdirectories(self) -> dict[str, int]:
        """Return the inode number of each subdirectory by its true name."""
        if self._subdirectory_inodes is None:
            names = self._node().subdirectories
            first = self.around.inodes.reserve(len(names))
            self._subdirectory_inodes = dict(
                zip(names, range(first, first + len(names)), strict=True)
            )
            self._note_odd(list(names))
            self.resized()
        return self._subdirectory_inodes

    def _files(self) -> tuple[FileTable, Sequence[int]]:
        """Return the file table and the inode number of each file. May give the lock up."""
        node = self._node()
        while not node.loaded:
            self.load(node)
            node = self._node()  # may be that of another version by now
        table = node.files()
        if self._file_inodes is None:
            first = self.around.inodes.reserve(len(table))
            self._file_inodes = range(first, first + len(table))
            self._note_odd(table.names)
        return table, self._file_inodes

    def load(self, node: TreeDirectory) -> FileTable:
        """Return the files of `node`, a version of this directory. May give the lock up."""
        while not node.loaded:
            self.once(f"parse {id(node)}", node.files, self._files_landed)
        return node.files()

    @property
    def version(self) -> str:
        """The portable data hash of the collection's content."""
        return self.collection.version

    def signed_anew(self, segments: Sequence[Segment], version: str) -> Sequence[Segment] | None:
        """Return `segments` of the content of `version`, with new block signatures."""
        return self.collection.signed_anew(segments, version)

    def is_same_content(self, before: Sequence[Segment], after: Sequence[Segment]) -> bool:
        """Whether both are the same bytes of Keep, wherever those are now."""
        return self.collection.moves.is_same(before, after)

    def _files_landed(self, table: FileTable) -> None:
        del table  # the node keeps it
        self.resized()

    def _note_odd(self, names: Sequence[str]) -> None:
        """Note the names that are shown as others, each as one that no other entry has."""
        if self.around.names.all_plain(names):
            return
        rules = self.around.names
        true_names, noted = set(names), set(self._odd.values())
        for name in names:
            shown = rules.present(name)
            if shown == name or name in noted:
                continue
            while shown in true_names or self._odd.get(shown, name) != name:
                shown = rules.marked(shown, name)
            self._odd[shown] = name

    def _shown(self, names: Sequence[str]) -> Sequence[str]:
        if not self._odd:
            return names
        shown = {name: other for other, name in self._odd.items()}
        return [shown.get(name, name) for name in names]

    # -- what the kernel holds --------------------------------------------------------------

    def retract(self) -> None:
        """Have the kernel forget the files of this directory and those below."""
        for file in self._live_files():
            self.around.kernel.invalidate_entry(self.inode, file.name)
        for child in self.children.values():
            if isinstance(child, TreeBacked):
                child.retract()

    def forget_attributes(self) -> None:
        """Have the kernel ask again for the attributes of this directory and all below."""
        if self.inode:
            self.around.kernel.invalidate_attributes(self.inode)
        for file in self._live_files():
            self.around.kernel.invalidate_attributes(file.inode)
        for child in self.children.values():
            if isinstance(child, TreeBacked):
                child.forget_attributes()

    def _live_files(self) -> Iterator[CollectionFile]:
        """Yield the files that are in the inode table, in the version shown now."""
        if self.live <= len(self.children):
            return
        for number in self._file_inodes or ():
            file = self.around.inodes.find(number)
            if isinstance(file, CollectionFile):
                yield file

    # -- the next version -------------------------------------------------------------------

    def move_to(self, node: TreeDirectory) -> None:
        """Show `node`, the same directory in another version, from now on."""
        old, self.node = self.node, node
        self._odd = {}
        self._carry_subdirectories(node)
        self._carry_files(old, node, {})
        self.resized()

    def _carry_subdirectories(self, node: TreeDirectory) -> None:
        for name, child in list(self.children.items()):
            if not isinstance(child, TreeBacked):
                continue  # what is there without being part of the content
            subnode = node.subdirectories.get(name)
            if subnode is None:
                # Whoever is inside it goes on seeing it as it was; no path leads there any more.
                del self.children[name]
                self._forget_entry(name)
            else:
                child.move_to(subnode)
        known = self._subdirectory_inodes
        if known is not None:
            self._forget_new(name for name in node.subdirectories if name not in known)
            reserve = self.around.inodes.reserve
            self._subdirectory_inodes = {
                name: known[name] if name in known else reserve(1) for name in node.subdirectories
            }
            self._note_odd(list(node.subdirectories))

    def _carry_files(
        self, old: TreeDirectory | None, node: TreeDirectory, kept: Mapping[str, CollectionFile]
    ) -> None:
        """Give the files of the new version their numbers.

        kept: objects that are files of the new version already, by the true name there
        """
        known = self._file_inodes
        if (old is None or known is None) and not kept:
            return
        live = {file.inode: file for file in self._live_files()}
        self._file_inodes = None
        with suppress(ManifestError):  # of the new version; it shows when the files are asked for
            after = node.files()
            first = self.around.inodes.reserve(len(after))
            numbers = array("Q", range(first, first + len(after)))
            before = old.files() if old is not None and known is not None else None
            if before is not None and known is not None:
                same = before.unchanged(after)
                for mine, theirs in chain(same, self._moved_in_keep(before, after, numbers, first)):
                    numbers[theirs] = known[mine]
                    file = live.pop(known[mine], None)
                    if file is not None:
                        file.node, file.index = node, theirs
            for name, file in kept.items():
                live.pop(file.inode, None)
                index = after.index(name)
                assert index is not None, "it is a file of the new version"
                numbers[index] = file.inode
                file.node, file.index = node, index
            self._file_inodes = numbers
            self._note_odd(after.names)
            if before is not None:
                changed = (n for n, i in zip(after.names, numbers, strict=True) if i >= first)
                self._forget_new(name for name in changed if before.index(name) is None)
        for file in live.values():  # gone, or with other content, which has another number
            self.around.kernel.invalidate_entry(self.inode, file.name)

    def _moved_in_keep(
        self, before: FileTable, after: FileTable, numbers: Sequence[int], first: int
    ) -> Iterator[tuple[int, int]]:
        """Yield the files of both tables whose bytes are the same in other blocks.

        numbers, first: of the files in the table after; those that have a new one are looked at
        """
        moves = self.collection.moves
        if not moves:
            return
        for theirs, name in enumerate(after.names):
            mine = before.index(name) if numbers[theirs] >= first else None
            if mine is not None:
                with suppress(ManifestError):
                    if moves.is_same(before.segments(mine), after.segments(theirs)):
                        yield mine, theirs

    def _forget_new(self, names: Iterable[str]) -> None:
        """Have the kernel forget that there was nothing of these names."""
        # It remembers that for the refresh time at most; where there are many, that has to do.
        for name in islice(names, MOST_FORGOTTEN):
            self._forget_entry(name)

    def _forget_entry(self, name: str) -> None:
        self.around.kernel.invalidate_entry(self.inode, self.around.names.present(name))
