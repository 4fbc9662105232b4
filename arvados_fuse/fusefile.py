"""Files: what the file system shows under a name that is not a directory.

A file knows its size, its times and how to get at its content; what an open file descriptor does
with that is in `handles.py`. Everything here is called with the file system's lock held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from arvados_fuse.fresh import FOREVER, FreshBase, Parent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arvados_fuse.collection.tree import FileTable, Segment, TreeDirectory

__all__ = ["CollectionFile", "CollectionParent", "File", "StringFile"]


class File(FreshBase):
    """Base of all files.

    executable: whether programs may run it (files of collections can be anything)
    """

    __slots__ = ()

    executable = False

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
    """The directory of a collection file: its collection's times, freshness and content."""

    @property
    def mtime_ns(self) -> int:
        """Time of the collection's last change, nanoseconds since 1970."""

    def file_lifetime(self, now: float) -> float:
        """For how many seconds after `now` the kernel may keep a file's entry and attributes."""

    def invalidate(self) -> None:
        """Distrust the collection: the next use asks for it again, signatures included."""

    def refresh(self) -> None:
        """Ask the cluster if the collection is too old. May give the lock up."""

    def load(self, node: TreeDirectory) -> FileTable:
        """Return the files of `node`, a version of this directory. Raises ManifestError.

        May give the lock up: they may have to be parsed again.
        """


class CollectionFile(File):
    """A file of a collection, made when the kernel asks for it and dropped when it forgets it.

    It pins one version of the file: `node` is the tree directory of the version in which it was
    looked up, `index` its position there. When a newer version has other content under the same
    name, that content gets another object and another inode number.

    It holds its name and size and not the file table, so that a file that the kernel remembers
    does not keep the parsed names of a whole directory in memory.
    """

    __slots__ = ("_directory", "_name", "_size", "index", "node")

    transient = True
    executable = True

    def __init__(
        self, directory: CollectionParent, node: TreeDirectory, index: int, name: str, size: int
    ) -> None:
        super().__init__(directory)
        self._directory = directory
        self._name = name
        self._size = size
        self.node = node
        self.index = index

    @property
    def name(self) -> str:
        """The name under which its directory shows it."""
        return self._name

    @property
    def size(self) -> int:
        """Length of the content in bytes."""
        return self._size

    @property
    def mtime_ns(self) -> int:
        """Time of the collection's last change: Keep has none for single files."""
        return self._directory.mtime_ns

    def invalidate(self) -> None:
        """Distrust the collection: the next use asks for it again, signatures included."""
        self._directory.invalidate()

    def lifetime(self, now: float) -> float:
        """As long as the directory says."""
        return self._directory.file_lifetime(now)

    def refresh(self) -> None:
        """Get new block signatures if the collection is distrusted. May give the lock up."""
        self._directory.refresh()

    def content(self) -> Sequence[Segment]:
        """Return the file's segments. Raises ManifestError if they lie beyond their stream.

        May give the lock up.
        """
        # Both belong to one version; they may be those of the next when the lock is had again.
        node, index = self.node, self.index
        return self._directory.load(node).segments(index)
