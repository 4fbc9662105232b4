"""The command ``arv-standalone DIR gc``: blocks that nothing refers to any more.

A block is garbage if no collection refers to it, be it an old version or in the trash, and if it
was written for the last time before the lifetime of a signature: until then, somebody may still
put it into a collection. Garbage is not deleted at once, but goes to a trash of its own. It does
not matter whether the cluster runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from arvados_fuse.standalone import directory, manifest_text
from arvados_fuse.standalone.keep.blocks import StoredBlock, stored_blocks
from arvados_fuse.standalone.keep.trash import TrashedBlock, rescue, trash_block, trashed_blocks
from arvados_fuse.standalone.limits import Limits
from arvados_fuse.standalone.records import sql
from arvados_fuse.standalone.records.conditions import ALWAYS
from arvados_fuse.standalone.records.database import Database
from arvados_fuse.standalone.records.tables import COLLECTIONS

__all__ = ["collect", "list_garbage", "untrash"]


class _Findings(NamedTuple):
    """What is in the stores of a cluster.

    garbage: old blocks that nothing refers to
    wanted: blocks in the trash that something refers to, after all
    trashed: the other blocks in the trash
    """

    garbage: list[StoredBlock]
    wanted: list[TrashedBlock]
    trashed: list[TrashedBlock]


def _findings(place: Path, before_s: float) -> _Findings:
    """Look at the cluster on `place`. Garbage was last written before a Unix time.

    Raises DirectoryUnusable, DatabaseUnusable, OSError.
    """
    if not (place / directory.DATABASE).exists():
        raise directory.DirectoryUnusable(
            f"{place} is not the directory of a cluster: it has no {directory.DATABASE}"
        )
    directory.refuse_another_owner(place)
    # Blocks first: what is written from now on is new, so it does not matter if we do not see it.
    stores = directory.block_stores(place)
    old = [b for store in stores for b in stored_blocks(store) if b.mtime_s < before_s]
    in_trash = [block for store in stores for block in trashed_blocks(store)]
    used = _used(place)

    def is_used(block: StoredBlock | TrashedBlock) -> bool:
        return bytes.fromhex(block.block_hash) in used

    return _Findings(
        garbage=[block for block in old if not is_used(block)],
        wanted=[block for block in in_trash if is_used(block)],
        trashed=[block for block in in_trash if not is_used(block)],
    )


def _used(place: Path) -> set[bytes]:
    """Return the hashes of all blocks that collections refer to."""
    used = {bytes.fromhex(manifest_text.EMPTY_HASH)}
    with closing(Database(place / directory.DATABASE)) as database, database.read() as db:
        for (text,) in sql.select(db, ["manifest_text"], COLLECTIONS.name, ALWAYS):
            used.update(bytes.fromhex(locator[:32]) for locator in manifest_text.locators(text))
    return used


class _Total:
    """How many blocks something was done with, and how large they are."""

    def __init__(self) -> None:
        self._count = 0
        self._size = 0

    def add(self, block: StoredBlock | TrashedBlock) -> str:
        """Count a block, and return the line about it."""
        self._count += 1
        self._size += block.size
        return f"{block.block_hash}+{block.size} {block.path}"

    def __str__(self) -> str:
        return f"{self._count} {'block' if self._count == 1 else 'blocks'} of {self._size} bytes"


def list_garbage(place: Path) -> Iterator[str]:
    """Yield a line for each block that is garbage, and one that sums up. Raises as `collect`."""
    found = _findings(place, time.time() - Limits().blob_signing_ttl_s)
    total = _Total()
    for block in found.garbage:
        yield total.add(block)
    yield f"{total} could go to the trash, with gc --delete"


def collect(place: Path) -> Iterator[str]:
    """Move garbage to the trash, and delete what has been there for its time.

    Yields a line for each block that is moved, and one that sums up. Raises DirectoryUnusable,
    DatabaseUnusable, OSError.
    """
    limits = Limits()
    now_s = time.time()
    before_s = now_s - limits.blob_signing_ttl_s
    found = _findings(place, before_s)
    for block in found.wanted:
        rescue(block.home)
    moved, deleted = _Total(), _Total()
    for garbage in found.garbage:
        if trash_block(garbage.path, before_s, int(now_s) + limits.blob_trash_lifetime_s):
            yield moved.add(garbage)
    for block in found.trashed:
        if block.deadline_s <= now_s:
            block.path.unlink(missing_ok=True)
            deleted.add(block)
    yield f"{moved} moved to the trash, {deleted} deleted for good"


def untrash(place: Path) -> Iterator[str]:
    """Take all blocks out of the trash.

    Yields a line for each, and one that sums up. Raises as `collect`.
    """
    found = _findings(place, 0.0)
    total = _Total()
    for block in (*found.wanted, *found.trashed):
        if rescue(block.home):
            yield total.add(block)
    yield f"{total} taken out of the trash"
