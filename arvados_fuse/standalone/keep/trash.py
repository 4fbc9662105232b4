"""Blocks that are to be deleted, but not yet: ``<hash>.trash.<deadline>`` beside the others.

The name is that of keepstore, the deadline is in Unix seconds. Whoever asks for such a block, or
writes it again, gets it back, so a block that turns out to be wanted is not lost. (Arvados
documentation, "Configuration reference", ``BlobTrashLifetime``.)
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["TrashedBlock", "is_at", "rescue", "trash_block", "trashed_blocks"]

_NAME = re.compile(r"([0-9a-f]{32})\.trash\.([0-9]{1,18})")


class TrashedBlock(NamedTuple):
    """A block in the trash. `size` is in bytes; from `deadline_s` on, Unix time, it can go."""

    block_hash: str
    path: Path
    size: int
    deadline_s: int

    @property
    def home(self) -> Path:
        """Where it was."""
        return self.path.with_name(self.block_hash)


def trash_block(path: Path, before_s: float, deadline_s: int) -> bool:
    """Move a block to the trash, unless it was written at or after a Unix time. Say if it is moved.

    The lock keeps a request in another process from taking the block for stored meanwhile.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return False
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not is_at(path, file.fileno()) or os.fstat(file.fileno()).st_mtime >= before_s:
            return False
        path.rename(path.with_name(f"{path.name}.trash.{deadline_s}"))
    return True


def is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one that `path` names now."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def trashed_blocks(directory: Path) -> Iterator[TrashedBlock]:
    """Yield the blocks that are in the trash of the store in `directory`."""
    for path in sorted(directory.glob("???/*.trash.*")):
        found = _NAME.fullmatch(path.name)
        if found is not None:
            with suppress(FileNotFoundError):
                yield TrashedBlock(found[1], path, path.stat().st_size, int(found[2]))


def rescue(path: Path) -> bool:
    """Take the block that belongs at `path` out of the trash. Say whether there is one.

    It counts as written now, so it does not become garbage again for some time.
    """
    for trashed in path.parent.glob(f"{path.name}.trash.*"):
        with suppress(FileNotFoundError):
            os.utime(trashed)
            # Not a rename: that would replace a block that was written a moment ago.
            with suppress(FileExistsError):
                path.hardlink_to(trashed)
            trashed.unlink(missing_ok=True)
            return True
    return False
