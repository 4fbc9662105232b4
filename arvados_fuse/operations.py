"""The adapter between llfuse and the file system.

One short method per FUSE request: decode names, find the object, call it, fill attributes, map
errors. No policy of its own. llfuse calls every method with its global lock held; that lock is
the file system's lock. Where something below has to wait, it gives the lock up by itself.

Two traps of llfuse shape this module. An exception that is no FUSEError ends the whole mount, so
every method turns whatever happens into an errno. And the attributes that lookup and getattr
return are read after the lock is released, so they need an object of their own for each answer;
only readdir may use one object again and again.
"""

from __future__ import annotations

import logging
import os
import stat
from itertools import count
from typing import TYPE_CHECKING, NoReturn

import llfuse
from llfuse import FUSEError

from arvados_fuse.attributes import (
    DIRECTORY_MODE,
    FILE_MODE,
    MAX_LIFETIME_S,
    MountOwner,
    fill_attributes,
    fill_statistics,
    requested_change,
)
from arvados_fuse.errors import (
    AccessRefused,
    BadHandle,
    FileSystemError,
    IsDirectory,
    NameTooLong,
    NoSuchEntry,
    NotDirectory,
    NotPermitted,
    NotSupported,
    OpenAgain,
    ReadOnly,
    Stale,
)
from arvados_fuse.fusedir.directory import Directory
from arvados_fuse.fusedir.names import NAME_MAX
from arvados_fuse.fusefile import AttributeChange, File
from arvados_fuse.handles import DirectoryHandle
from arvados_fuse.inodes import ROOT_INODE
from arvados_fuse.open_files import OpenFiles, wants_to_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from arvados_fuse.fresh import FreshBase, KernelNotifier, Unlocked
    from arvados_fuse.handles import FileHandle
    from arvados_fuse.inodes import Inodes
    from arvados_fuse.keep.cache import BlockCache
    from arvados_fuse.metrics import Metrics

__all__ = ["Operations"]

log = logging.getLogger(__name__)

SHOWN = (File, Directory)
"""What has attributes. `File | Directory` would be made anew each time that it is looked at."""


class Operations(llfuse.Operations):
    """The requests of the kernel, answered from one inode table.

    All changes pass `_check_writable`.
    """

    def __init__(
        self,
        *,
        inodes: Inodes,
        blocks: BlockCache,
        kernel: KernelNotifier,
        unlocked: Unlocked,
        clock: Callable[[], float],
        metrics: Metrics,
        writable: bool = False,
        encoding: str = "utf-8",
    ) -> None:
        """Serve what is in `inodes`, which has its root already.

        writable: whether anything can be changed at all
        encoding: of the names that the kernel sends and is sent
        """
        super().__init__()
        self.inodes = inodes
        self._clock = clock
        self._metrics = metrics
        self._writable = writable
        self._encoding = encoding
        self._owner = MountOwner(os.getuid(), os.getgid(), writable)
        self._numbers = count(1)  # of handles, be it of files or of directories
        self._files = OpenFiles(self._numbers, inodes, blocks, kernel, unlocked)
        self._directories: dict[int, DirectoryHandle] = {}

    # -- names and attributes ---------------------------------------------------------------

    def lookup(
        self, parent_inode: int, name: bytes, ctx: llfuse.RequestContext
    ) -> llfuse.EntryAttributes:
        """Find `name` in a directory, and count one more reference of the kernel to it."""
        try:
            parent = self._directory(parent_inode)
            thing = self._child(parent, self._decode(name))
            if thing is None:
                return self._missing(parent)
            attributes = self._attributes(thing)
            thing.kernel_refs += 1
            return attributes
        except Exception as error:
            self._fail("look up", parent_inode, error, name)

    def _child(self, parent: Directory, name: str) -> FreshBase | None:
        if name == ".":
            return parent
        if name == "..":
            return parent.parent or parent
        try:
            return parent.find(name)
        except NoSuchEntry as error:
            log.debug("%s", error)
            return None

    def _missing(self, parent: Directory) -> llfuse.EntryAttributes:
        """Return the answer that lets the kernel remember that the name is not there."""
        lifetime = parent.negative_lifetime(self._clock())
        if lifetime <= 0:
            raise NoSuchEntry("")
        attributes = llfuse.EntryAttributes()
        attributes.st_ino = 0
        attributes.entry_timeout = min(lifetime, MAX_LIFETIME_S)
        return attributes

    def getattr(self, inode: int, ctx: llfuse.RequestContext) -> llfuse.EntryAttributes:
        """Return the attributes of an object."""
        try:
            thing = self.inodes.get(inode)
            if inode == ROOT_INODE and isinstance(thing, Directory):
                # Everything else is looked up again when it is too old; the root never is.
                thing.refresh()
            return self._attributes(thing)
        except Exception as error:
            self._fail("get the attributes of", inode, error)

    def _attributes(self, thing: FreshBase) -> llfuse.EntryAttributes:
        attributes = llfuse.EntryAttributes()
        assert isinstance(thing, SHOWN)
        fill_attributes(attributes, thing, self._owner, self._clock())
        return attributes

    def forget(self, inode_list: list[tuple[int, int]]) -> None:
        """Take back references of the kernel: pairs of inode number and count."""
        for inode, lookups in inode_list:
            self.inodes.forget(inode, lookups)

    def access(self, inode: int, mode: int, ctx: llfuse.RequestContext) -> bool:
        """Whether the caller may; the kernel checks modes itself (default_permissions)."""
        return True

    def statfs(self, ctx: llfuse.RequestContext) -> llfuse.StatvfsData:
        """Describe the file system as a whole."""
        data = llfuse.StatvfsData()
        fill_statistics(data, self._owner, len(self.inodes))
        return data

    # -- directories ------------------------------------------------------------------------

    def opendir(self, inode: int, ctx: llfuse.RequestContext) -> int:
        """Open a directory: its listing stays as it is now until the handle is closed."""
        try:
            directory = self._directory(inode)
            handle = DirectoryHandle(directory)
            directory.uses += 1
            number = next(self._numbers)
            self._directories[number] = handle
            return number
        except Exception as error:
            self._fail("list", inode, error)

    def readdir(self, fh: int, off: int) -> Iterator[tuple[bytes, llfuse.EntryAttributes, int]]:
        """Yield the entries from number `off` on: ".", "..", directories, files."""
        handle = self._directories.get(fh)
        if handle is None:
            self._fail("list", 0, BadHandle(f"Directory handle {fh} is not open."))
        self._read_from(handle, off)
        listing = handle.listing
        encoding = self._encoding
        entry = llfuse.EntryAttributes()
        entry.st_mode = DIRECTORY_MODE
        directory = handle.thing
        if off < 1:
            entry.st_ino = directory.inode
            yield b".", entry, 1
        if off < 2:
            entry.st_ino = getattr(directory.parent, "inode", directory.inode)
            yield b"..", entry, 2
        names, inodes = listing.directories, listing.directory_inodes
        position = start = max(off - 2, 0)
        # What there is so far is an answer: only who has read all of it waits for more.
        while position < len(names) or (
            position == start == len(names) and self._list_more(handle)
        ):
            entry.st_ino = inodes[position]
            yield names[position].encode(encoding, "surrogateescape"), entry, position + 3
            position += 1
        entry.st_mode = FILE_MODE
        before = 2 + len(names)
        names, inodes = listing.files, listing.file_inodes
        for position in range(max(off - before, 0), len(names)):
            entry.st_ino = inodes[position]
            name = names[position].encode(encoding, "surrogateescape")
            yield name, entry, before + position + 1

    def _read_from(self, handle: DirectoryHandle, position: int) -> None:
        try:
            handle.read_from(position)
        except Exception as error:
            self._fail("list", handle.thing.inode, error)

    def _list_more(self, handle: DirectoryHandle) -> bool:
        """Whether there are more entries by now than there were. May give the lock up."""
        try:
            return handle.listing.more()
        except Exception as error:
            self._fail("list", handle.thing.inode, error)

    def releasedir(self, fh: int) -> None:
        """Close a directory."""
        handle = self._directories.pop(fh, None)
        if handle is not None:
            self.inodes.release(handle.thing)

    # -- files ------------------------------------------------------------------------------

    def open(self, inode: int, flags: int, ctx: llfuse.RequestContext) -> int:
        """Open a file."""
        try:
            thing = self.inodes.get(inode)
            if not isinstance(thing, File):
                raise IsDirectory("A directory cannot be opened as a file.")
            if thing.is_doubtful:
                raise OpenAgain(f"{thing.path()} had wrong bytes.")
            if wants_to_write(flags):
                self._check_writable()
            return self._files.open(thing, flags)
        except Exception as error:
            self._fail("open", inode, error)

    def read(self, fh: int, off: int, size: int) -> bytes | memoryview:
        """Read from an open file."""
        handle = self._files.get(fh)
        try:
            if handle is None:
                raise BadHandle(f"File handle {fh} is not open.")
            data = handle.read(off, size)
            self._metrics.read_bytes += len(data)
            return data
        except Exception as error:
            self._fail_read(handle, error)

    def _fail_read(self, handle: FileHandle | None, error: Exception) -> NoReturn:
        inode = 0
        if handle is not None:
            inode = handle.thing.inode
            if isinstance(error, AccessRefused):
                # The block signatures may have run out: the next open gets new ones.
                handle.thing.invalidate()
        self._fail("read", inode, error)

    def flush(self, fh: int) -> None:
        """Save what was written through a handle, as one of its descriptors is closed."""
        handle = self._files.get(fh)
        if handle is not None and handle.writing:
            try:
                handle.thing.closed()
            except Exception as error:
                self._fail("save", handle.thing.inode, error)

    def fsync(self, fh: int, datasync: bool) -> None:
        """Commit the collection that the file is in."""
        handle = self._files.get(fh)
        if handle is not None:
            try:
                handle.thing.commit()
            except Exception as error:
                self._fail("save", handle.thing.inode, error)

    def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Commit what was changed in a directory."""
        handle = self._directories.get(fh)
        if handle is not None and isinstance(handle.thing, Directory):
            try:
                handle.thing.commit()
            except Exception as error:
                self._fail("save", handle.thing.inode, error)

    def release(self, fh: int) -> None:
        """Close a file."""
        self._files.close(fh)

    # -- changes ----------------------------------------------------------------------------

    def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: llfuse.RequestContext
    ) -> tuple[int, llfuse.EntryAttributes]:
        """Make a file, or find what others have made since the kernel asked, and open it."""
        try:
            self._check_writable()
            file, is_new = self._directory(parent_inode).find_or_create(
                self._decode(name), exclusive=bool(flags & os.O_EXCL)
            )
            if is_new:
                self._give(file, ctx)
            handle = self._files.open(file, flags, is_new=is_new)
            file.kernel_refs += 1
            return handle, self._attributes(file)
        except Exception as error:
            self._fail("create", parent_inode, error, name)

    def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: llfuse.RequestContext
    ) -> llfuse.EntryAttributes:
        """Make a file; there are no devices, pipes and sockets."""
        try:
            self._check_writable()
            if not stat.S_ISREG(mode):
                raise NotPermitted("There are files and directories only.")
            file = self._directory(parent_inode).create(self._decode(name))
            self._give(file, ctx)
            file.kernel_refs += 1
            return self._attributes(file)
        except Exception as error:
            self._fail("create", parent_inode, error, name)

    def _give(self, thing: File | Directory, ctx: llfuse.RequestContext) -> None:
        """Let what was made belong to who made it, who else could not set its mode and times."""
        if (ctx.uid, ctx.gid) != self._owner[:2]:
            thing.change_attributes(AttributeChange(uid=ctx.uid, gid=ctx.gid))

    def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: llfuse.RequestContext
    ) -> llfuse.EntryAttributes:
        """Make a directory."""
        try:
            self._check_writable()
            directory = self._directory(parent_inode).mkdir(self._decode(name))
            self._give(directory, ctx)
            directory.kernel_refs += 1
            return self._attributes(directory)
        except Exception as error:
            self._fail("make the directory", parent_inode, error, name)

    def unlink(self, parent_inode: int, name: bytes, ctx: llfuse.RequestContext) -> None:
        """Remove a file."""
        try:
            self._check_writable()
            self._directory(parent_inode).unlink(self._decode(name))
        except Exception as error:
            self._fail("remove", parent_inode, error, name)

    def rmdir(self, parent_inode: int, name: bytes, ctx: llfuse.RequestContext) -> None:
        """Remove an empty directory."""
        try:
            self._check_writable()
            self._directory(parent_inode).rmdir(self._decode(name))
        except Exception as error:
            self._fail("remove", parent_inode, error, name)

    def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        ctx: llfuse.RequestContext,
    ) -> None:
        """Move a file or directory, or give it another name."""
        try:
            self._check_writable()
            source = self._directory(parent_inode_old)
            target = self._directory(parent_inode_new)
            source.move(self._decode(name_old), target, self._decode(name_new))
        except Exception as error:
            self._fail("rename", parent_inode_old, error, name_old)

    def write(self, fh: int, off: int, buf: bytes) -> int:
        """Write to an open file."""
        handle = self._files.get(fh)
        try:
            self._check_writable()
            if handle is None or not handle.writing:
                raise BadHandle(f"File handle {fh} is not open for writing.")
            handle.thing.write(off, buf)
            self._metrics.write_bytes += len(buf)
            return len(buf)
        except Exception as error:
            self._fail("write", handle.thing.inode if handle is not None else 0, error)

    def setattr(
        self,
        inode: int,
        attr: llfuse.EntryAttributes,
        fields: llfuse.SetattrFields,
        fh: int | None,
        ctx: llfuse.RequestContext,
    ) -> llfuse.EntryAttributes:
        """Change the size, or attributes, which last as long as the mount."""
        try:
            self._check_writable()
            thing = self.inodes.get(inode)
            if fields.update_size:
                if not isinstance(thing, File):
                    raise IsDirectory("A directory has no size that could be changed.")
                thing.truncate(attr.st_size)
            change = requested_change(attr, fields)
            if any(value is not None for value in change):
                assert isinstance(thing, SHOWN)
                thing.change_attributes(change)
            return self._attributes(thing)
        except Exception as error:
            # Without a handle Linux looks the path up again by itself, and asks once more.
            again = isinstance(error, Stale) and fh is None
            why = OpenAgain(str(error)) if again else error
            self._fail("change the attributes of", inode, why)

    def _refuse_link(self, *request: object) -> NoReturn:
        """Answer a request for a link: manifests have none."""
        del request
        raise FUSEError((NotPermitted if self._writable else ReadOnly).errno)

    symlink = link = _refuse_link

    def _refuse_attribute(self, *request: object) -> NoReturn:
        """Answer a request to set an extended attribute: there are none."""
        del request
        raise FUSEError((NotSupported if self._writable else ReadOnly).errno)

    setxattr = removexattr = _refuse_attribute

    def _check_writable(self) -> None:
        """Raise ReadOnly if the mount as a whole is."""
        if not self._writable:
            raise ReadOnly("The mount is read-only.")

    # -- errors -----------------------------------------------------------------------------

    def _directory(self, inode: int) -> Directory:
        thing = self.inodes.get(inode)
        if not isinstance(thing, Directory):
            raise NotDirectory("A file has no entries.")
        self.inodes.cache.used(thing)
        return thing

    def _decode(self, name: bytes) -> str:
        if len(name) > NAME_MAX:
            raise NameTooLong(f"A name has up to {NAME_MAX} bytes.")
        return name.decode(self._encoding, "surrogateescape")

    def _fail(self, what: str, inode: int, error: Exception, name: bytes = b"") -> NoReturn:
        """Raise the FUSEError for `error`, and log what is worth a line."""
        if isinstance(error, FileSystemError):
            if not (error.expected or error.is_logged):
                log.error("Cannot %s %s: %s", what, self._path(inode, name), error)
            raise FUSEError(error.errno) from None
        self._metrics.unhandled_errors += 1
        log.exception(
            "Unhandled exception during FUSE operation: cannot %s %s",
            what,
            self._path(inode, name),
        )
        raise FUSEError(FileSystemError.errno) from None

    def _path(self, inode: int, name: bytes) -> str:
        thing = self.inodes.find(inode)
        path = thing.path() if thing is not None else f"inode {inode}"
        if name:
            path = f"{path.rstrip('/')}/{name.decode(self._encoding, 'backslashreplace')}"
        return path
