"""What there is below a directory of journals, whoever it belongs to.

For people who look: nothing is changed, and no lock is held for longer than it takes to see that
it is free, so that a mount that starts at the same time can recover what it finds.
"""

import os
from pathlib import Path
from typing import NamedTuple

from arvados_fuse.errors import JournalError
from arvados_fuse.journal.journal import LOCK, UNFINISHED_PREFIX, UNKNOWN, About
from arvados_fuse.journal.records import Write
from arvados_fuse.journal.recovery import Orphan, take_lock

__all__ = ["LeftOver", "LeftOverCollection", "left_over", "survey"]


class LeftOverCollection(NamedTuple):
    """What a dead mount did to a collection and did not commit.

    changes: how many operations count
    size: bytes that they wrote
    damage: why they cannot be read; "" if they can
    """

    uuid: str
    changes: int
    size: int
    damage: str = ""


class LeftOver(NamedTuple):
    """A journal.

    about: whose it is; fields are empty where that is damaged
    is_alive: whether its mount lives. It is not looked into then
    refusal: why it cannot be looked into, as that of another user of this machine; "" if it can
    """

    directory: Path
    about: About
    is_alive: bool
    collections: tuple[LeftOverCollection, ...]
    refusal: str = ""


def survey(root: Path) -> list[LeftOver]:
    """Return all journals below `root`, of all clusters and users. Raises JournalError."""
    try:
        directories = sorted(each for each in root.iterdir() if each.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise JournalError(f"{root} cannot be read: {error.strerror}") from error
    found = [left_over(each) for each in directories if not each.name.startswith(UNFINISHED_PREFIX)]
    return [each for each in found if each is not None]


def left_over(directory: Path) -> LeftOver | None:
    """Return what there is in one journal; None if it is none, or gone. Raises JournalError."""
    try:
        os.close(os.open(directory / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))
    except FileNotFoundError:
        return None
    except PermissionError as error:
        return LeftOver(directory, UNKNOWN, False, (), str(error.strerror))
    orphan = Orphan(directory, None)
    if take_lock(directory) is None:
        return LeftOver(directory, orphan.about, True, ())
    collections = tuple(_look(orphan, uuid) for uuid in orphan.collections())
    return LeftOver(directory, orphan.about, False, collections)


def _look(orphan: Orphan, uuid: str) -> LeftOverCollection:
    try:
        recovered = orphan.read(uuid)
    except JournalError as error:
        return LeftOverCollection(uuid, 0, 0, str(error))
    changes = size = 0
    if recovered is not None:
        for operation in recovered.operations():
            changes += 1
            if isinstance(operation, Write):
                size += operation.size
    return LeftOverCollection(uuid, changes, size)
