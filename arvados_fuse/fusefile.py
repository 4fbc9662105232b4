"""Files: what the file system shows under a name that is not a directory.

A file knows its size, its times and how to get at its content; what an open file descriptor does
with that is in `handles.py`. Everything here is called with the file system's lock held.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from arvados_fuse.errors import NotPermitted, OpenAgain
from arvados_fuse.fresh import FOREVER, FreshBase, Parent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arvados_fuse.collection.draft import DraftFile
    from arvados_fuse.collection.tree import FileTable, Segment, TreeDirectory

__all__ = [
    "AttributeChange",
    "CollectionFile",
    "CollectionParent",
    "File",
    "Kept",
    "StringFile",
    "kept_with",
]


class Kept(NamedTuple):
    """Attributes that were set here. The cluster has no place for them: they last until the end.

    mtime_ns: time of the last change, nanoseconds since 1970; None as the collection's
    mode: permission bits; None as the file system's
    uid, gid: numbers of the owner and the group; None as those of the mount
    ctime_ns: time of the last change of content or attributes, nanoseconds since 1970; None as
        mtime_ns
    """

    mtime_ns: int | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    ctime_ns: int | None = None


AttributeChange = Kept
"""What is to be set; None stays as it is."""


def kept_with(kept: Kept | None, change: AttributeChange) -> Kept:
    """Return what is kept after a change that is made now."""
    change = change._replace(ctime_ns=time.time_ns())
    if kept is None:
        return change
    return Kept(*(new if new is not None else old for old, new in zip(kept, change, strict=True)))


class File(FreshBase):
    """Base of all files.

    executable: whether programs may run it (files of collections can be anything)
    draft: its content if it was changed here, as far as that can be; else None
    is_unlinked: whether its name was removed here
    is_doubtful: whether the kernel may hold bytes of it that turned out to be wrong
    kept: attributes that were set here; None if none were
    """

    __slots__ = ()

    executable = False
    is_unlinked = False
    is_doubtful = False
    kept: Kept | None = None
    draft: DraftFile | None = None

    @property
    def writable(self) -> bool:
        """Whether, as far as is known, it can be changed."""
        return False

    @property
    def name(self) -> str:
        """The name under which the file was looked up."""
        raise NotImplementedError

    def path(self) -> str:
        """Return the path from the root of the mount, for log lines."""
        directory = self.parent.path() if self.parent is not None else ""
        return f"{directory.rstrip('/')}/{self.name}"

    @property
    def size(self) -> int:
        """Length of the content in bytes."""
        raise NotImplementedError

    @property
    def mtime_ns(self) -> int:
        """Time of the last change, in nanoseconds since 1970."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Make sure that the content can be had, before it is opened. May give the lock up."""

    def content(self) -> bytes | Sequence[Segment]:
        """All bytes of the file, or where in Keep they are. Raises ManifestError.

        May give the lock up.
        """
        raise NotImplementedError

    @property
    def version(self) -> str:
        """What tells the version of the content that the cluster has now; "" if there is none."""
        return ""

    def signed_anew(self, segments: Sequence[Segment], version: str) -> Sequence[Segment] | None:
        """Return `segments` of the content of `version`, with new block signatures.

        None if there are none to be had. May give the lock up; raises what asking the cluster does.
        """
        return None

    def doubt(self) -> None:
        """Bytes of the file that were passed on turned out to be wrong. Any thread."""

    def sign_changes_anew(self) -> None:
        """Get new block signatures for the draft, as far as there are. May give the lock up.

        Raises what asking the cluster and a commit do.
        """

    # What changes a file may give the lock up.

    def check_writable(self) -> None:
        """Raise NotPermitted, or what asking the cluster does, if the file must not be changed."""
        raise NotPermitted(f"{self.path()} cannot be changed.")

    def write(self, offset: int, data: bytes) -> None:
        """Write `data` at `offset`. Raises as `check_writable`, NoSpace, JournalError."""
        self.check_writable()

    def truncate(self, size: int) -> None:
        """Cut the file off at `size` bytes, or lengthen it by zeros. Raises as `write`."""
        self.check_writable()

    def change_attributes(self, change: AttributeChange) -> None:
        """Set attributes. What cannot keep them does as if: programs that copy must go on."""

    def closed(self) -> None:
        """Do what the close of a handle asks for that may have written. Raises as `commit`."""

    def commit(self) -> None:
        """Bring what was written to the cluster. Raises what that raises."""

    def released(self) -> None:
        """A handle is about to go."""


class StringFile(File):
    """A file whose content is a text made here, such as a README."""

    __slots__ = ("_content", "_mtime_ns", "_name")

    def __init__(self, parent: Parent, name: str, text: str, mtime_ns: int) -> None:
        super().__init__(parent)
        self._name = name
        self._content = text.encode()
        self._mtime_ns = mtime_ns
        self.valid_until = FOREVER

    @property
    def name(self) -> str:
        """The file's name."""
        return self._name

    @property
    def size(self) -> int:
        """Length of the content in bytes."""
        return len(self._content)

    @property
    def mtime_ns(self) -> int:
        """Time at which the text was made, in nanoseconds since 1970."""
        return self._mtime_ns

    def content(self) -> bytes:
        """Return the text, encoded."""
        return self._content


class CollectionParent(Parent, Protocol):
    """The directory of a collection file: its collection's times, freshness, content, changes."""

    @property
    def writable(self) -> bool:
        """Whether, as far as is known, its entries can be changed."""

    def content_mtime_ns(self) -> int:
        """Time of the last change of files that were not changed here, nanoseconds since 1970."""

    def file_lifetime(self, now: float) -> float:
        """For how many seconds after `now` the kernel may keep a file's entry and attributes."""

    def invalidate(self) -> None:
        """Distrust the collection: the next use asks for it again, signatures included."""

    def refresh(self) -> None:
        """Ask the cluster if the collection is too old. May give the lock up."""

    @property
    def version(self) -> str:
        """The portable data hash of the collection as it is now."""

    def signed_anew(self, segments: Sequence[Segment], version: str) -> Sequence[Segment] | None:
        """Return `segments` of the content of `version`, with new block signatures.

        None if there are none to be had. May give the lock up.
        """

    def is_same_content(self, before: Sequence[Segment], after: Sequence[Segment]) -> bool:
        """Whether both are the same bytes of Keep, wherever those are now."""

    def load(self, node: TreeDirectory) -> FileTable:
        """Return the files of `node`, a version of this directory. Raises ManifestError.

        May give the lock up: they may have to be parsed again.
        """

    def check_writable(self) -> None:
        """Raise NotPermitted if the collection must not be changed. May give the lock up."""

    def write_file(self, file: CollectionFile, offset: int, data: bytes) -> None:
        """Write into `file`. May give the lock up."""

    def truncate_file(self, file: CollectionFile, size: int) -> None:
        """Cut `file` off, or lengthen it by zeros. May give the lock up."""

    def change_file_attributes(self, file: CollectionFile, change: AttributeChange) -> None:
        """Keep attributes of `file`. May give the lock up."""

    def file_closed(self) -> None:
        """A handle of a file that is not saved is closed. May give the lock up."""

    def file_released(self, file: CollectionFile) -> None:
        """A handle of `file` is about to go while the file has a draft."""

    def commit(self) -> None:
        """Commit the collection. May give the lock up."""

    def sign_changes_anew(self) -> None:
        """Get new block signatures for what was changed. May give the lock up."""


class CollectionFile(File):
    """A file of a collection, made when the kernel asks for it and dropped when it forgets it.

    It pins one version of the file: `node` is the tree directory of the version in which it was
    looked up, `index` its position there. When a newer version has other content under the same
    name, that content gets another object and another inode number. What is changed here stays the
    same object: its content is that of `draft` then.

    It holds its name and size and not the file table, so that a file that the kernel remembers
    does not keep the parsed names of a whole directory in memory.

    key: its true name
    draft: its content if it is new or was changed here; else None
    is_unlinked: whether its name was removed here
    """

    __slots__ = (
        "_directory",
        "_name",
        "_size",
        "draft",
        "index",
        "is_doubtful",
        "is_unlinked",
        "kept",
        "key",
        "node",
    )

    transient = True
    executable = True

    def __init__(
        self,
        directory: CollectionParent,
        node: TreeDirectory,
        index: int,
        *,
        key: str,
        name: str,
        size: int,
    ) -> None:
        super().__init__(directory)
        self._directory = directory
        self._name = name
        self._size = size
        self.key = key
        self.node = node
        self.index = index
        self.draft: DraftFile | None = None
        self.is_doubtful = self.is_unlinked = False
        self.kept: Kept | None = None

    def moved(self, directory: CollectionParent, key: str, name: str) -> None:
        """Note that the file is in `directory` now, called `key` and shown as `name`."""
        self._directory = directory
        self.renamed(key, name)

    def renamed(self, key: str, name: str) -> None:
        """Note that the file is called `key` now, and shown as `name`."""
        self.key, self._name = key, name

    @property
    def name(self) -> str:
        """The name under which its directory shows it."""
        return self._name

    @property
    def size(self) -> int:
        """Length of the content in bytes."""
        return self._size if self.draft is None else self.draft.size

    def take_size(self, size: int) -> None:
        """Note the size of the version that the file is of now."""
        self._size = size

    @property
    def writable(self) -> bool:
        """As its directory is."""
        return self._directory.writable

    @property
    def mtime_ns(self) -> int:
        """Time of the last change, as far as it was made here; else the collection's."""
        kept = self.kept
        if kept is not None and kept.mtime_ns is not None:
            return kept.mtime_ns
        return self._directory.content_mtime_ns()

    def invalidate(self) -> None:
        """Distrust the collection: the next use asks for it again, signatures included."""
        self._directory.invalidate()

    def lifetime(self, now: float) -> float:
        """As long as the directory says."""
        return self._directory.file_lifetime(now)

    def refresh(self) -> None:
        """Get new block signatures if the collection is distrusted. May give the lock up."""
        self._directory.refresh()

    def check_writable(self) -> None:
        """Raise ReadOnly or NotPermitted if the collection must not be changed.

        Raises OpenAgain if the file was removed before anybody had opened it: the kernel, which had
        found it before, looks its name up once more.
        """
        self._directory.check_writable()
        if self.is_unlinked and self.draft is None:
            raise OpenAgain(f"{self.path()} was removed while it was being opened.")

    def write(self, offset: int, data: bytes) -> None:
        """Write `data` at `offset`."""
        self._directory.write_file(self, offset, data)

    def truncate(self, size: int) -> None:
        """Cut the file off at `size` bytes, or lengthen it by zeros."""
        self._directory.truncate_file(self, size)

    def change_attributes(self, change: AttributeChange) -> None:
        """Keep attributes for as long as the mount lives."""
        self._directory.change_file_attributes(self, change)

    def closed(self) -> None:
        """Commit as is fit if anything is not saved.

        An empty file can wait: a shell closes one of two descriptors before a command writes to
        the other.
        """
        draft = self.draft
        if draft is not None and draft.is_dirty and draft.size > 0 and not self.is_unlinked:
            self._directory.file_closed()

    def commit(self) -> None:
        """Commit the collection."""
        self._directory.commit()

    def released(self) -> None:
        """A handle is about to go."""
        if self.draft is not None:
            self._directory.file_released(self)

    def content(self) -> Sequence[Segment]:
        """Return the file's segments. Raises ManifestError if they lie beyond their stream.

        May give the lock up. Of a file with a draft there is nothing to be had but from that.
        """
        if self.draft is not None:
            return ()
        # Both belong to one version; they may be those of the next when the lock is had again.
        node, index = self.node, self.index
        return self._directory.load(node).segments(index)

    @property
    def version(self) -> str:
        """The portable data hash of the collection as it is now."""
        return self._directory.version

    def signed_anew(self, segments: Sequence[Segment], version: str) -> Sequence[Segment] | None:
        """Return `segments` of the content of `version`, with new block signatures."""
        fresh = self.content()
        if fresh == segments:  # else somebody has been here before
            self.invalidate()
            self.refresh()
            fresh = self.content()
        if self._directory.is_same_content(segments, fresh):
            return fresh
        return self._directory.signed_anew(segments, version)

    def doubt(self) -> None:
        """Let who opens the file look it up again; it has another number then."""
        self.is_doubtful = self.draft is None  # what is changed here keeps its number

    def sign_changes_anew(self) -> None:
        """Get new block signatures for the draft, as far as there are."""
        self._directory.sign_changes_anew()
