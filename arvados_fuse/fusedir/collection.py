"""A collection: its record, how fresh its content is, and the directory at its top.

What the directories show of the content is in `tree.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from arvados_fuse.api import CollectionContent, collection_content
from arvados_fuse.collection.tree import Tree
from arvados_fuse.fresh import FOREVER
from arvados_fuse.fusedir.directory import Directory, Surroundings
from arvados_fuse.fusedir.record import COLLECTION_RECORD, RecordFile
from arvados_fuse.fusedir.tree import TreeBacked
from arvados_fuse.fusedir.versions import VERSIONS, VersionsDirectory

if TYPE_CHECKING:
    from arvados_fuse.api import Item, Record
    from arvados_fuse.events import Event
    from arvados_fuse.fresh import FreshBase

__all__ = ["CollectionDirectory"]

_VERSIONS_KEY = "/versions"
"""A key that no subdirectory can have."""


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
    _signed_until: time up to which the block signatures in the manifest are used, by a clock that
        always runs (`Trust.clock`). Half of their lifetime (Arvados documentation, discovery
        document: `blobSignatureTtl`), so that a file opened just before has the other half to be
        read.
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
        return self.around.clock() >= self._content_until or self._signed_for_s <= 0

    @property
    def _signed_for_s(self) -> float:
        """For how many seconds from now the block signatures are used."""
        return self._signed_until - self.around.trust.clock()

    @property
    def watches(self) -> tuple[str, ...]:
        """The collection's own events, if it can change."""
        return () if self.immutable else (self.ident,)

    def content_lifetime(self, now: float) -> float:
        """For how many seconds after `now` the entries may be trusted."""
        return max(0.0, min(self._content_until - now, self._signed_for_s))

    def file_lifetime(self, now: float) -> float:
        """For how many seconds after `now` the kernel may keep a file's entry and attributes."""
        promised_s = self.around.trust.promise(self.content_lifetime(now))
        return max(0.0, min(promised_s, self._signed_for_s))

    def footprint(self) -> int:
        """Bytes of memory that the loaded content takes, the tree's directories included."""
        return super().footprint() + self._tree_bytes

    def invalidate(self) -> None:
        """Distrust record, content and signatures: the next use asks for all of them again."""
        super().invalidate()
        self._content_until = self._signed_until = 0.0

    def changed(self, event: Event) -> bool:
        """Distrust record and content, unless the event tells what we know already."""
        if event.is_gone:
            self.valid_until = self._content_until = 0.0
            self.retract()
            if self.parent is not None:
                self.around.kernel.invalidate_entry(self.parent.inode, self.name)
            return False
        assert event.after is not None, "it would be gone"
        known = event.after.portable_data_hash == self._portable_data_hash
        if known and event.at_ns <= self._modified_ns:
            return False  # as after a change of our own
        self.valid_until = self._content_until = 0.0
        self.around.kernel.invalidate_attributes(self.inode)
        return self.live > 0

    def fetch(self) -> _Fetched:
        """Ask for the record, and for the content only if it is not the one that we have.

        Raises NoSuchEntry if the collection cannot be seen, ManifestError if it makes no sense.
        """
        if self._portable_data_hash and self._signed_for_s > 0:
            item = self.around.cluster.collection_state(self.ident)
            if item.portable_data_hash == self._portable_data_hash:
                return _Fetched(item, None, 0)
        return _with_tree(self.around.cluster.collection(self.ident))

    def landed(self, fetched: _Fetched) -> None:
        """Take over the record, and the tree if there is a new one."""
        if fetched.tree is not None:
            signed_for_s = self.around.cluster.signature_ttl_s / 2
            self._signed_until = self.around.trust.clock() + signed_for_s
            self._portable_data_hash = fetched.item.portable_data_hash
            self._tree_bytes = fetched.tree_bytes
            self.move_to(fetched.tree.root)
        # Asking again by hash could only bring new signatures.
        trusted_s = FOREVER if self.immutable else self.around.refresh_time_s
        self.confirm(fetched.item, self.around.clock() + trusted_s)

    def confirm(self, item: Item, valid_until: float) -> None:
        """Note that the record was seen to be `item`, which holds until `valid_until`."""
        modified_ns = item.modified_ns or self.around.started_ns
        if modified_ns != self._modified_ns:
            self._modified_ns = modified_ns
            self.forget_attributes()
        self.valid_until = valid_until
        if item.portable_data_hash == self._portable_data_hash:
            self._content_until = valid_until
        else:
            self._content_until = 0.0
            if self.live > 0:
                self.around.background.refresh(self)

    # -- what is found by name and not listed -------------------------------------------------

    def child(self, name: str) -> FreshBase:
        """Return the file or directory called `name`, or what is there without being listed.

        Raises NoSuchEntry, ManifestError; for records and versions, the errors of `api.Cluster`.
        """
        if name == COLLECTION_RECORD:
            file = RecordFile(self, name, self.record)
            self.around.inodes.add(file)
            return file
        if name == VERSIONS and self.has_versions:
            return self._versions()
        return super().child(name)

    def record(self) -> Record:
        """Ask for the whole record. Runs without the lock; raises the errors of `api.Cluster`."""
        return self.around.cluster.record(self.ident)

    @property
    def has_versions(self) -> bool:
        """Whether the collection has a directory of its versions."""
        return not self.immutable

    def _versions(self) -> FreshBase:
        versions = self.children.get(_VERSIONS_KEY)
        if versions is None:
            versions = VersionsDirectory(self, _VERSIONS_KEY, self.ident, self._version)
            self.adopt(_VERSIONS_KEY, versions)
        return versions

    def _version(self, versions: VersionsDirectory, number: int) -> Directory:
        return VersionDirectory(self.around, versions, self.ident, number)

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


class VersionDirectory(CollectionDirectory):
    """A collection as it was, or is, in the version of one number.

    Its content is fetched by the number each time, so that it stays that of this version also when
    the current version becomes an old one.
    """

    __slots__ = ("_number",)

    def __init__(self, around: Surroundings, parent: Directory, uuid: str, number: int) -> None:
        super().__init__(around, parent, uuid, str(number))
        self.key = str(number)
        self._number = number

    @property
    def has_versions(self) -> bool:
        """No: a version is one itself."""
        return False

    def record(self) -> Record:
        """Ask for the version's record. Runs without the lock."""
        return self.around.cluster.version(self.ident, self._number)

    def fetch(self) -> _Fetched:
        """Ask for the version. Raises NoSuchEntry if it cannot be seen, ManifestError."""
        return _with_tree(collection_content(self.record()))


def _with_tree(content: CollectionContent) -> _Fetched:
    tree = Tree.from_manifest(content.manifest_text)
    return _Fetched(content.item, tree, tree.footprint())
