"""A collection and the directories inside it.

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
from typing import TYPE_CHECKING, NamedTuple

from arvados_fuse.collection.tree import Tree
from arvados_fuse.errors import ManifestError
from arvados_fuse.fusedir.directory import DIRECTORY_FOOTPRINT, Directory, Surroundings
from arvados_fuse.fusedir.listing import Listing
from arvados_fuse.fusefile import CollectionFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arvados_fuse.api import Item
    from arvados_fuse.collection.tree import FileTable, TreeDirectory
    from arvados_fuse.fresh import FreshBase

__all__ = ["CollectionDirectory", "CollectionSubdirectory"]

NAME_FOOTPRINT = 110
"""Bytes that the name and number of a subdirectory cost."""


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
    def collection(self) -> CollectionDirectory:
        """The directory at the top of the collection."""
        raise NotImplementedError

    def content_lifetime(self, now: float) -> float:
        """For how many seconds after `now` the entries may be trusted."""
        return self.collection.content_lifetime(now)

    def negative_lifetime(self, now: float) -> float:
        """As long as the entries."""
        return self.content_lifetime(now)

    @property
    def mtime_ns(self) -> int:
        """Time of the collection's last change, nanoseconds since 1970."""
        return self.collection.mtime_ns

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
        found = self._child(name)
        if found is None:
            self._subdirectories()  # notes those that are shown under another name
            if name in self._odd:
                found = self._child(self._odd[name])
        if found is None:
            raise self.no_such_entry(name)
        return found

    def _child(self, name: str) -> FreshBase | None:
        if name in self._node().subdirectories:
            return self._subdirectory(name)
        table, file_inodes = self._files()
        index = table.index(name)
        if index is None:
            return None
        file = self.around.inodes.find(file_inodes[index])
        if file is None:
            shown = self.around.names.present(name) if self._odd else name
            file = CollectionFile(self, self._node(), index, shown, table.size(index))
            self.around.inodes.add(file, file_inodes[index])
        return file

    def _node(self) -> TreeDirectory:
        assert self.node is not None, "refresh() loads the tree"
        return self.node

    def _subdirectory(self, name: str) -> FreshBase:
        child = self.children.get(name)
        if child is None:
            shown = self.around.names.present(name)
            child = CollectionSubdirectory(self.around, self, name, shown)
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
        while not self._node().loaded:
            self.load(self._node())
        table = self._node().files()
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

    def _files_landed(self, table: FileTable) -> None:
        del table  # the node keeps it
        self.resized()

    def _note_odd(self, names: Sequence[str]) -> None:
        if not self.around.names.all_plain(names):
            present = self.around.names.present
            self._odd.update({present(n): n for n in names if present(n) != n})

    def _shown(self, names: Sequence[str]) -> Sequence[str]:
        return [self.around.names.present(n) for n in names] if self._odd else names

    # -- the next version -------------------------------------------------------------------

    def move_to(self, node: TreeDirectory) -> None:
        """Show `node`, the same directory in another version, from now on."""
        old, self.node = self.node, node
        self._odd = {}
        self._carry_subdirectories(node)
        self._carry_files(old, node)
        self.resized()

    def _carry_subdirectories(self, node: TreeDirectory) -> None:
        for name, child in list(self.children.items()):
            subnode = node.subdirectories.get(name)
            if subnode is None:
                # Whoever is inside it goes on seeing it as it was; no path leads there any more.
                del self.children[name]
            elif isinstance(child, TreeBacked):
                child.move_to(subnode)
        known = self._subdirectory_inodes
        if known is not None:
            reserve = self.around.inodes.reserve
            self._subdirectory_inodes = {
                name: known[name] if name in known else reserve(1) for name in node.subdirectories
            }
            self._note_odd(list(node.subdirectories))

    def _carry_files(self, old: TreeDirectory | None, node: TreeDirectory) -> None:
        known, self._file_inodes = self._file_inodes, None
        if old is None or known is None:
            return
        try:
            before, after = old.files(), node.files()
        except ManifestError:
            return  # the new version's error shows when its files are asked for
        first = self.around.inodes.reserve(len(after))
        numbers = array("Q", range(first, first + len(after)))
        for mine, theirs in before.unchanged(after):
            numbers[theirs] = known[mine]
            file = self.around.inodes.find(known[mine])
            if isinstance(file, CollectionFile):
                file.node, file.index = node, theirs
        self._file_inodes = numbers
        self._note_odd(after.names)


class CollectionSubdirectory(TreeBacked):
    """A directory inside a collection. It is as fresh as its collection."""

    __slots__ = ()

    parent: TreeBacked

    @property
    def collection(self) -> CollectionDirectory:
        """The directory at the top of the collection."""
        return self.parent.collection

    def lifetime(self, now: float) -> float:
        """As long as its collection's content."""
        return self.content_lifetime(now)

    def refresh(self) -> None:
        """Ask the cluster if the collection is too old. May give the lock up."""
        self.collection.refresh()

    def invalidate(self) -> None:
        """Distrust the collection."""
        self.collection.invalidate()

    def shrink(self) -> None:
        """Forget the parsed files; they can be parsed again to the same numbers."""
        self._node().drop_files()


class _Fetched(NamedTuple):
    """What a refresh brings: the record, and the tree if it is not the one that we have.

    tree_bytes: memory that the tree takes while none of its files are parsed
    """

    item: Item
    tree: Tree | None
    tree_bytes: int


class CollectionDirectory(TreeBacked):
    """A collection, known by its uuid or its portable data hash.

    Two things become too old separately: the record, which gives the directory its name and
    time (`valid_until`), and the content (`_content_until`). A collection that is only listed
    in its project never fetches its manifest.

    ident: uuid or portable data hash
    _portable_data_hash: of the content that is loaded; "" while none is
    _tree_bytes: memory that the loaded tree takes without parsed files, of all its directories
    _signed_until: clock time up to which the block signatures in the manifest are used. Half of
        their lifetime (Arvados documentation, discovery document: `blobSignatureTtl`), so that a
        file opened just before has the other half to be read.
    """

    __slots__ = (
        "_content_until",
        "_modified_ns",
        "_portable_data_hash",
        "_signed_until",
        "_tree_bytes",
        "ident",
    )

    def __init__(
        self, around: Surroundings, parent: Directory | None, ident: str, name: str
    ) -> None:
        super().__init__(around, parent, ident, name)
        self.ident = ident
        self._modified_ns = around.started_ns
        self._portable_data_hash = ""
        self._tree_bytes = 0
        self._content_until = 0.0
        self._signed_until = 0.0
        self._tree_bytes = 0

    @property
    def collection(self) -> CollectionDirectory:
        """The directory itself."""
        return self

    @property
    def mtime_ns(self) -> int:
        """Time of the record's last change, nanoseconds since 1970."""
        return self._modified_ns

    @property
    def immutable(self) -> bool:
        """Whether the content can never change: it was asked for by its hash."""
        return "+" in self.ident

    @property
    def stale(self) -> bool:
        """Whether the cluster has to be asked before the content is used."""
        return self.around.clock() >= self._content_until

    def content_lifetime(self, now: float) -> float:
        """For how many seconds after `now` the entries may be trusted."""
        return max(0.0, self._content_until - now)

    def footprint(self) -> int:
        """Bytes of memory that the loaded content takes, the tree's directories included."""
        return super().footprint() + self._tree_bytes

    def invalidate(self) -> None:
        """Distrust record, content and signatures: the next use asks for all of them again."""
        super().invalidate()
        self._content_until = self._signed_until = 0.0

    def fetch(self) -> _Fetched:
        """Ask for the record, and for the content only if it is not the one that we have.

        Raises NoSuchEntry if the collection cannot be seen, ManifestError if it makes no sense.
        """
        if self._portable_data_hash and self.around.clock() < self._signed_until:
            item = self.around.cluster.collection_state(self.ident)
            if item.portable_data_hash == self._portable_data_hash:
                return _Fetched(item, None, 0)
        content = self.around.cluster.collection(self.ident)
        tree = Tree.from_manifest(content.manifest_text)
        return _Fetched(content.item, tree, tree.footprint())

    def landed(self, fetched: _Fetched) -> None:
        """Take over the record, and the tree if there is a new one."""
        now = self.around.clock()
        if fetched.tree is not None:
            self._signed_until = now + self.around.cluster.signature_ttl_s / 2
            self._portable_data_hash = fetched.item.portable_data_hash
            self._tree_bytes = fetched.tree_bytes
            self.move_to(fetched.tree.root)
        # Asking again by hash could only bring new signatures.
        trusted_until = self._signed_until if self.immutable else now + self.around.refresh_time_s
        self.confirm(fetched.item, trusted_until)

    def confirm(self, item: Item, valid_until: float) -> None:
        """Note that the record was seen to be `item`, which holds until `valid_until`."""
        self._modified_ns = item.modified_ns or self.around.started_ns
        self.valid_until = valid_until
        if item.portable_data_hash == self._portable_data_hash:
            self._content_until = min(valid_until, self._signed_until)
        else:
            self._content_until = 0.0

    def shrink(self) -> None:
        """Forget the parsed files, or the whole content if no object depends on it."""
        if self.live > 0:
            if self.node is not None:
                self.node.drop_files()
            return
        self.node = self._subdirectory_inodes = self._file_inodes = None
        self._odd = {}
        self._portable_data_hash = ""
        self._tree_bytes = 0
        self._content_until = 0.0
