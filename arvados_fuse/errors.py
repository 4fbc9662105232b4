"""The only table of errors and their errno.

Every failure that a program can meet in the mount is one class here, with the errno that the
program gets. The message of an instance is one sentence for a person: it names the object and,
where there is one, the remedy. The adapter (``operations.py``) turns an instance into its errno;
nothing else in the package knows errno values.

The errno values are the official driver's where it has one, POSIX's where it has none or answers
a bare EIO for something that has a name (``docs/semantics.md`` has the table, row by row).
"""

import errno

__all__ = [
    "AccessRefused",
    "BadHandle",
    "BlockCorrupt",
    "BlockLost",
    "Busy",
    "ClusterError",
    "ClusterUnreachable",
    "Exists",
    "FileSystemError",
    "FileTooBig",
    "Forbidden",
    "InvalidArgument",
    "IsDirectory",
    "JournalError",
    "ManifestError",
    "NameNotText",
    "NameTooLong",
    "NoSpace",
    "NoSuchEntry",
    "NotDirectory",
    "NotEmpty",
    "NotPermitted",
    "NotSupported",
    "OpenAgain",
    "OtherCollection",
    "ReadOnly",
    "RecordError",
    "Stale",
    "TimedOut",
]


class FileSystemError(Exception):
    """Base of all errors that end a file system request.

    ``errno`` is what the calling program gets. ``expected`` is true for errors that are part of
    everyday use (a name that is not there): they are not worth a line in the log. ``is_logged`` is
    true for what the log has already.
    """

    errno: int = errno.EIO
    expected: bool = False
    is_logged: bool = False

    def again(self) -> "FileSystemError":
        """Return the same error, for the next who meets the same trouble: it is logged once."""
        same = type(self)(*self.args)
        same.is_logged = True
        return same


class NoSuchEntry(FileSystemError):
    """A name that the directory does not have, or an object that cannot be seen."""

    errno = errno.ENOENT
    expected = True


class NotDirectory(FileSystemError):
    """A directory was needed and something else was found."""

    errno = errno.ENOTDIR
    expected = True


class IsDirectory(FileSystemError):
    """A file was needed and a directory was found."""

    errno = errno.EISDIR
    expected = True


class Exists(FileSystemError):
    """A name that was to be made is there already."""

    errno = errno.EEXIST
    expected = True


class NotEmpty(FileSystemError):
    """A directory that was to be removed or replaced has entries."""

    errno = errno.ENOTEMPTY
    expected = True


class InvalidArgument(FileSystemError):
    """What was asked for makes no sense, such as moving a directory into itself."""

    errno = errno.EINVAL
    expected = True


class NameTooLong(FileSystemError):
    """A name of more bytes than a name may have."""

    errno = errno.ENAMETOOLONG
    expected = True


class NameNotText(FileSystemError):
    """A name that is not UTF-8: the cluster's API could not express it."""

    errno = errno.EILSEQ
    expected = True


class FileTooBig(FileSystemError):
    """A file of more bytes than a file may have."""

    errno = errno.EFBIG
    expected = True


class BadHandle(FileSystemError):
    """A file handle that is not open, or not open for this."""

    errno = errno.EBADF
    expected = True


class ReadOnly(FileSystemError):
    """A change on a mount that is read-only as a whole."""

    errno = errno.EROFS
    expected = True


class NotPermitted(FileSystemError):
    """A change of something that cannot be changed, on a mount that can."""

    errno = errno.EPERM
    expected = True


class OtherCollection(FileSystemError):
    """Something is moved to where it can only be copied: what programs do then."""

    errno = errno.EXDEV
    expected = True


class Busy(FileSystemError):
    """Something is being changed by somebody else at the same moment."""

    errno = errno.EBUSY
    expected = True


class NotSupported(FileSystemError):
    """An operation that makes no sense for this kind of object."""

    errno = errno.ENOTSUP
    expected = True


class Stale(FileSystemError):
    """An inode number that the kernel remembers and we no longer can serve."""

    errno = errno.ESTALE


class OpenAgain(Stale):
    """A name leads to another file by now than the kernel has looked up.

    Where it was given a path, Linux then looks the name up again by itself: no program sees it.
    """

    expected = True


class AccessRefused(FileSystemError):
    """The cluster refused the token: expired, revoked, or without the right to do this."""

    errno = errno.EACCES


class Forbidden(AccessRefused):
    """The cluster knows who asks, and does not let them do this."""


class TimedOut(FileSystemError):
    """The cluster did not answer within the configured time."""

    errno = errno.ETIMEDOUT


class ClusterUnreachable(FileSystemError):
    """No connection to the cluster could be made, or it broke."""

    errno = errno.EIO


class ClusterError(FileSystemError):
    """The cluster answered with an error that has no errno of its own."""

    errno = errno.EIO


class RecordError(FileSystemError):
    """The cluster answered with a record that makes no sense."""

    errno = errno.EIO


class ManifestError(FileSystemError):
    """A manifest, or the part of it that is needed now, breaks the grammar."""

    errno = errno.EIO


class BlockLost(FileSystemError):
    """No Keep service has the block."""

    errno = errno.EIO


class BlockCorrupt(FileSystemError):
    """No Keep service has a copy of the block whose content matches its checksum."""

    errno = errno.EIO


class NoSpace(FileSystemError):
    """A local disk that is needed is full."""

    errno = errno.ENOSPC


class JournalError(FileSystemError):
    """The journal on the local disk cannot be written or read."""

    errno = errno.EIO
