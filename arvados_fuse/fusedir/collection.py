"""A collection: its record, how fresh its content is, and the directory at its top.

What the directories show of the content is in `tree.py`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from arvados_fuse.api import CollectionContent, collection_content
from arvados_fuse.collection.signing import signed_as_in
from arvados_fuse.collection.tree import Tree
from arvados_fuse.errors import Forbidden, NoSuchEntry, NotPermitted, ReadOnly
from arvados_fuse.fresh import FOREVER
from arvados_fuse.fusedir.directory import Directory, Surroundings
from arvados_fuse.fusedir.record import COLLECTION_RECORD, COMMIT, RecordFile
from arvados_fuse.fusedir.versions import VERSIONS, VersionsDirectory
from arvados_fuse.fusedir.writable import WritableCollection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arvados_fuse.api import Desired, Item, Record
    from arvados_fuse.collection.tree import Segment
    from arvados_fuse.commit.committer import Committer
    from arvados_fuse.commit.session import Session
    from arvados_fuse.events import Event
    from arvados_fuse.fresh import FreshBase

__all__ = ["CollectionDirectory"]

_VERSIONS_KEY = "/versions"
"""A key that no subdirectory can have."""


class _Fetched(NamedTuple):
    """What a refresh brings: the record, and the tree if it is not the one that we have.

    tree_bytes: memory that the tree takes while none of its files are parsed
    manifest_size: characters of the manifest
    commits: commits of our own that had been made when the cluster was asked
    """

    item: Item
    tree: Tree | None = None
    tree_bytes: int = 0
    manifest_size: int = 0
    commits: int = 0


class CollectionDirectory(WritableCollection):
    """A collection, known by its uuid or its portable data hash.

    Two things become too old separately: the record, which gives the directory its name and
    time (`valid_until`), and the content (`_content_until`). A collection that is only listed
    in its project never fetches its manifest.

    ident: uuid or portable data hash
    _tree: the content that is loaded; None while none is
    _may_change: whether the user may change it; None while that is not known
    _content_ns: time of the last change that was not made here
    _desired: copies and storage classes that it wants; None while that is not known
    _portable_data_hash: of the content that is loaded; "" while none is
    _tree_bytes: memory that the loaded tree takes without parsed files, of all its directories
    _asked_in_vain: whether the last answer of the cluster was of no use, because it was overtaken
        by a commit of ours, so that it has to be asked again when that is over
    _signed_until: time up to which the block signatures in the manifest are used, by a clock that
        always runs (`Trust.clock`). Half of their lifetime (Arvados documentation, discovery
        document: `blobSignatureTtl`), so that a file opened just before has the other half to be
        read.
    """

    __slots__ = (
        "_asked_in_vain",
        "_content_ns",
        "_content_until",
        "_desired",
        "_manifest_size",
        "_may_change",
        "_modified_ns",
        "_portable_data_hash",
        "_signed_until",
        "_tree",
        "_tree_bytes",
        "ident",
    )

    def __init__(
        self, around: Surroundings, parent: Directory | None, ident: str, name: str
    ) -> None:
        super().__init__(around, parent, ident, name)
        self.ident = ident
        self._tree: Tree | None = None
        self._may_change: bool | None = None
        self._desired: Desired | None = None
        self._modified_ns = self._content_ns = around.started_ns
        self._portable_data_hash = ""
        self._tree_bytes = self._manifest_size = 0
        self._content_until = 0.0
        self._signed_until = 0.0
        self._asked_in_vain = False

    @property
    def collection(self) -> CollectionDirectory:
        """The directory itself."""
        return self

    @property
    def mtime_ns(self) -> int:
        """Time of the last change made here; else the record's, nanoseconds since 1970."""
        kept = self.kept
        if kept is not None and kept.mtime_ns is not None:
            return kept.mtime_ns
        return self._modified_ns

    @property
    def content_ns(self) -> int:
        """Time of the last change that was not made here, nanoseconds since 1970."""
        return self._content_ns

    @property
    def immutable(self) -> bool:
        """Whether the content can never change: it was asked for by its hash."""
        return "+" in self.ident

    @property
    def stale(self) -> bool:
        """Whether the cluster has to be asked before the content is used."""
        if self._asked_in_vain and not (self.session is not None and self.session.is_overtaking):
            return True
        trust = self.around.trust
        return trust.now() >= self._content_until or trust.clock() >= self._signed_until

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
        # In one go: it is asked for with every lookup.
        trust = self.around.trust
        lifetime_s = self._content_until - now
        if not self._asked_in_vain:
            lifetime_s = trust.promise(lifetime_s)
        signed_for_s = self._signed_until - trust.clock()
        if signed_for_s < lifetime_s:
            lifetime_s = signed_for_s
        return lifetime_s if lifetime_s > 0 else 0.0

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
        commits = self.session.commits if self.session is not None else 0
        if self._portable_data_hash and self._signed_for_s > 0:
            item = self.around.cluster.collection_state(self.ident)
            if item.portable_data_hash == self._portable_data_hash:
                return _Fetched(item, commits=commits)
        content = self.around.cluster.collection(self.ident)
        tree = Tree.from_manifest(content.manifest_text)
        size = len(content.manifest_text)
        return _Fetched(content.item, tree, tree.footprint(), size, commits)

    def landed(self, fetched: _Fetched) -> None:
        """Take over the record, and the tree if there is a new one."""
        session = self.session
        if session is not None and (session.is_overtaking or session.commits != fetched.commits):
            # What was asked for before a commit of ours, or during one, says nothing about now.
            self.valid_until = self._content_until = self.around.clock() + 1.0
            self._asked_in_vain = True
            return
        self._asked_in_vain = False
        if session is not None:
            session.desired = fetched.item.desired
        if fetched.tree is not None:
            self._loaded(fetched)
            if session is None:
                self.move_to(fetched.tree.root)
            else:
                assert self.around.writing is not None, "there is a session"
                self.around.writing.committer.rebase(
                    session, fetched.item, fetched.tree, fetched.manifest_size
                )
        # Asking again by hash could only bring new signatures.
        trusted_s = FOREVER if self.immutable else self.around.refresh_time_s
        self.confirm(fetched.item, self.around.clock() + trusted_s)

    def _loaded(self, fetched: _Fetched) -> None:
        """Note what there is to know of a tree that is going to be shown."""
        signed_for_s = self.around.cluster.signature_ttl_s / 2
        self._signed_until = self.around.trust.clock() + signed_for_s
        self._portable_data_hash = fetched.item.portable_data_hash
        self._tree = fetched.tree
        self._tree_bytes = fetched.tree_bytes
        self._manifest_size = fetched.manifest_size

    def confirm(self, item: Item, valid_until: float) -> None:
        """Note that the record was seen to be `item`, which holds until `valid_until`."""
        modified_ns = item.modified_ns or self.around.started_ns
        if modified_ns != self._modified_ns:
            self._modified_ns = self._content_ns = modified_ns
            self.forget_attributes()
        self.valid_until = valid_until
        self._desired = item.desired or self._desired
        if item.portable_data_hash == self._portable_data_hash:
            self._content_until = valid_until
        else:
            self._content_until = 0.0
            if self.live > 0:
                self.around.background.refresh(self)

    @property
    def version(self) -> str:
        """The portable data hash of the content that is loaded; "" while none is."""
        return self._portable_data_hash

    def signed_anew(self, segments: Sequence[Segment], version: str) -> Sequence[Segment] | None:
        """Return `segments` of the content of `version`, with new block signatures.

        None if the cluster has no collection with that content any more. May give the lock up;
        raises what asking the cluster does.
        """
        signed: list[Segment] = []

        def landed(content: CollectionContent) -> None:
            signed.extend(signed_as_in(content.manifest_text, segments) or ())

        with suppress(NoSuchEntry):
            cluster = self.around.cluster
            # Each reader asks by itself: what it gets is for its segments.
            self.once(f"sign {id(signed)}", lambda: cluster.collection(version), landed)
        return signed or None

    # -- what is found by name and not listed -------------------------------------------------

    def child(self, name: str) -> FreshBase:
        """Return the file or directory called `name`, or what is there without being listed.

        Raises NoSuchEntry, ManifestError; for records and versions, the errors of `api.Cluster`.
        """
        if name == COLLECTION_RECORD or (name == COMMIT and self.writable):
            # Who asks for the record gets one that has all that was written.
            self.commit()
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
        self.node = self._subdirectory_inodes = self._file_inodes = self._tree = None
        self._odd = {}
        self._portable_data_hash = ""
        self._tree_bytes = 0
        self._content_until = 0.0

    # -- changes ----------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """Whether, as far as is known, the collection can be changed."""
        return (
            self.around.writing is not None and not self.immutable and self._may_change is not False
        )

    def check_writable(self) -> None:
        """Raise ReadOnly or NotPermitted if the collection must not be changed.

        May give the lock up; raises what asking the cluster does.
        """
        writing = self.around.writing
        if writing is None:
            raise ReadOnly("The mount is read-only.")
        if self.immutable:
            raise NotPermitted("What is shown by its portable data hash cannot change.")
        if self.session is not None:
            if isinstance(self.session.error, Forbidden):
                raise NotPermitted(f"The collection {self.ident} cannot be changed any more.")
            return
        if not self._may_change:
            cluster = writing.cluster
            self.once("right", lambda: cluster.may_change_collection(self.ident), self._asked)
        if not self._may_change:
            raise NotPermitted(f"You may read the collection {self.ident}, and not change it.")

    def _asked(self, may_change: bool) -> None:
        self._may_change = may_change

    @property
    def journal_name(self) -> str:
        """What the journal calls the collection."""
        return self.ident

    def make_session(self, committer: Committer) -> Session:
        """Begin to change the collection, which is loaded. Raises NoSpace or JournalError."""
        assert self._tree is not None, "it is loaded"
        session = committer.begin(
            self.ident,
            self._tree,
            self._portable_data_hash,
            self,
            manifest_size=self._manifest_size,
        )
        session.desired = self._desired
        return session

    # What the session asks and says. With the lock held.

    @property
    def signatures_hold(self) -> bool:
        """Whether the block signatures of the loaded content can be used."""
        return self._signed_for_s > 0

    def committed(self, item: Item) -> None:
        """The cluster has what was changed; `item` is the record now."""
        self._portable_data_hash = item.portable_data_hash
        self._modified_ns = item.modified_ns
        self._desired = item.desired
        self.valid_until = self.around.clock() + self.around.refresh_time_s
        self._content_until = self.valid_until

    def rebased(self, item: Item, tree: Tree, manifest_size: int) -> None:
        """The draft is on top of `tree` now, the content of `item`."""
        self._desired = item.desired
        self._loaded(_Fetched(item, tree, tree.footprint(), manifest_size))
        self.move_to(tree.root)


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

    @property
    def writable(self) -> bool:
        """No: a version stays as it is."""
        return False

    def check_writable(self) -> None:
        """Raise ReadOnly or NotPermitted."""
        if self.around.writing is None:
            super().check_writable()
        raise NotPermitted("A version of a collection cannot be changed.")

    def record(self) -> Record:
        """Ask for the version's record. Runs without the lock."""
        return self.around.cluster.version(self.ident, self._number)

    def fetch(self) -> _Fetched:
        """Ask for the version. Raises NoSuchEntry if it cannot be seen, ManifestError."""
        return _with_tree(collection_content(self.record()))


def _with_tree(content: CollectionContent) -> _Fetched:
    tree = Tree.from_manifest(content.manifest_text)
    return _Fetched(content.item, tree, tree.footprint(), len(content.manifest_text))
