"""The command ``arv-standalone DIR gc``: blocks that nothing refers to any more.

A block is garbage if no collection refers to it, be it an old version or in the trash, and if it
was written for the last time before the lifetime of a signature: until then, somebody may still
put it into a collection. It does not matter whether the cluster runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from arvados_fuse.standalone import directory, manifest_text
from arvados_fuse.standalone.keep.blocks import StoredBlock, remove_block, stored_blocks
from arvados_fuse.standalone.limits import Limits
from arvados_fuse.standalone.records import sql
from arvados_fuse.standalone.records.conditions import ALWAYS
from arvados_fuse.standalone.records.database import Database
from arvados_fuse.standalone.records.tables import COLLECTIONS

__all__ = ["collect", "garbage"]


def garbage(place: Path, before_s: float) -> Iterator[StoredBlock]:
    """Yield the garbage of the cluster on `place` that was last written before a Unix time.

    Raises DirectoryUnusable, DatabaseUnusable, OSError.
    """
    if not (place / directory.DATABASE).exists():
        raise directory.DirectoryUnusable(
            f"{place} is not the directory of a cluster: it has no {directory.DATABASE}"
        )
    # Blocks first: what is written from now on is new, so it does not matter if we do not see it.
    found = [
        block
        for store in directory.block_stores(place)
        for block in stored_blocks(store)
        if block.mtime_s < before_s
    ]
    used = _used(place)
    return (block for block in found if bytes.fromhex(block.block_hash) not in used)


def _used(place: Path) -> set[bytes]:
    """Return the hashes of all blocks that collections refer to."""
    used = {bytes.fromhex(manifest_text.EMPTY_HASH)}
    with closing(Database(place / directory.DATABASE)) as database, database.read() as db:
        for (text,) in sql.select(db, ["manifest_text"], COLLECTIONS.name, ALWAYS):
            used.update(bytes.fromhex(locator[:32]) for locator in manifest_text.locators(text))
    return used


def collect(place: Path, *, delete: bool) -> Iterator[str]:
    """Yield a line for each block that is garbage, and one that sums up. Delete them if wanted.

    Raises as `garbage`.
    """
    before_s = time.time() - Limits().blob_signing_ttl_s
    count = size = 0
    for block in garbage(place, before_s):
        if delete and not remove_block(block.path, before_s):
            continue
        count += 1
        size += block.size
        yield f"{block.block_hash}+{block.size} {block.path}"
    done = "deleted" if delete else "could be deleted, with gc --delete"
    yield f"{count} {'block' if count == 1 else 'blocks'} of {size} bytes {done}"
