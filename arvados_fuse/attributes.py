"""What a program sees of a file or directory: modes, sizes, times, owners, and until when.

And of the file system as a whole: how much room there is.

The objects that llfuse wants are filled here and made by `operations.py`; this module does not
know llfuse. Called with the file system's lock held.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any, NamedTuple

from arvados_fuse.fusedir.names import NAME_MAX
from arvados_fuse.fusefile import AttributeChange, File

if TYPE_CHECKING:
    from arvados_fuse.fusedir.directory import Directory
    from arvados_fuse.fusefile import Kept

__all__ = [
    "DIRECTORY_MODE",
    "FILE_MODE",
    "MAX_LIFETIME_S",
    "MountOwner",
    "fill_attributes",
    "fill_statistics",
    "requested_change",
]

BLOCK_SIZE = 65536
"""st_blksize: the amount in which programs like to read. Larger would make small random reads
through buffered I/O fetch more than they need; smaller costs requests."""

MAX_LIFETIME_S = 7 * 24 * 3600.0
"""How long the kernel may keep what never changes."""

DIRECTORY_MODE = stat.S_IFDIR | 0o555
FILE_MODE = stat.S_IFREG | 0o444
EXECUTABLE_MODE = stat.S_IFREG | 0o555
"""Modes as the official driver has them: all may read, files of collections may be run."""

WRITE_BITS = 0o222
"""Also as there: what can be changed can be changed by all whom the kernel lets in."""

STATFS_BLOCK_SIZE = 128 * 1024
FREE_BLOCKS = FREE_INODES = 1 << 30
"""What statfs says is free where something can be written: 128 TiB. Nobody knows how much Keep
still takes, but programs that look first would not even try to write where nothing is free. More
would be too much for programs that count blocks in 32 bits."""


class MountOwner(NamedTuple):
    """What all objects of a mount share. writable: whether anything can be changed at all."""

    uid: int
    gid: int
    writable: bool


def fill_attributes(
    attributes: Any, thing: File | Directory, owner: MountOwner, now: float
) -> None:
    """Describe `thing` in an llfuse.EntryAttributes whose fields have not been set yet.

    now: time by the clock of freshness, in seconds
    """
    attributes.st_ino = thing.inode
    if isinstance(thing, File):
        size = thing.size
        mode = EXECUTABLE_MODE if thing.executable else FILE_MODE
        attributes.st_size = size
        attributes.st_blocks = (size + 511) // 512
    else:
        mode = DIRECTORY_MODE
    if thing.is_unlinked:
        attributes.st_nlink = 0
    attributes.st_mode = mode | WRITE_BITS if owner.writable and thing.writable else mode
    attributes.st_uid = owner.uid
    attributes.st_gid = owner.gid
    attributes.st_blksize = BLOCK_SIZE
    mtime_ns = changed_ns = thing.mtime_ns
    kept = thing.kept
    if kept is not None:
        _show_kept(attributes, kept)
        if kept.ctime_ns is not None:
            changed_ns = kept.ctime_ns
    attributes.st_atime_ns = mtime_ns
    attributes.st_mtime_ns = mtime_ns
    attributes.st_ctime_ns = changed_ns
    lifetime = min(thing.lifetime(now), MAX_LIFETIME_S)
    attributes.attr_timeout = lifetime
    attributes.entry_timeout = lifetime


def _show_kept(attributes: Any, kept: Kept) -> None:
    if kept.mode is not None:
        attributes.st_mode = stat.S_IFMT(attributes.st_mode) | kept.mode
    if kept.uid is not None:
        attributes.st_uid = kept.uid
    if kept.gid is not None:
        attributes.st_gid = kept.gid


def requested_change(attributes: Any, fields: Any) -> AttributeChange:
    """Return what a setattr request wants to be kept.

    attributes, fields: llfuse.EntryAttributes and llfuse.SetattrFields of the request
    """
    return AttributeChange(
        mtime_ns=attributes.st_mtime_ns if fields.update_mtime else None,
        mode=stat.S_IMODE(attributes.st_mode) if fields.update_mode else None,
        uid=attributes.st_uid if fields.update_uid else None,
        gid=attributes.st_gid if fields.update_gid else None,
    )


def fill_statistics(data: Any, owner: MountOwner, objects: int) -> None:
    """Describe the file system in an llfuse.StatvfsData. Keep has no total that could be told.

    objects: how many inodes there are
    """
    free_blocks, free_inodes = (FREE_BLOCKS, FREE_INODES) if owner.writable else (0, 0)
    data.f_bsize = data.f_frsize = STATFS_BLOCK_SIZE
    data.f_blocks = data.f_bfree = data.f_bavail = free_blocks
    data.f_files = objects + free_inodes
    data.f_ffree = data.f_favail = free_inodes
    data.f_namemax = NAME_MAX
