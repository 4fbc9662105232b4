"""`--recover list` and `--recover discard`: what mounts that did not end well have left.

Neither needs a cluster or a token.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from arvados_fuse.command import owners
from arvados_fuse.command.problem import CommandError
from arvados_fuse.command.units import size_text
from arvados_fuse.commit.session import SCRATCH_PREFIX
from arvados_fuse.errors import FileSystemError
from arvados_fuse.journal.recovery import Orphan, take_lock
from arvados_fuse.journal.survey import survey

if TYPE_CHECKING:
    from pathlib import Path

    from arvados_fuse.journal.survey import LeftOver, LeftOverCollection

__all__ = ["discard_journal", "list_journals"]


def list_journals(root: Path) -> str:
    """Describe the journals below `root`, of all clusters and users. Raises CommandError."""
    try:
        found = survey(root)
    except FileSystemError as error:
        raise CommandError(f"{error}{owners.remark(error, root)}.") from None
    if not found:
        return f"There are no journals in {root}."
    return "\n".join(line for each in found for line in _description(each))


def discard_journal(root: Path, name: str) -> str:
    """Remove the journal called `name`, with all that was not committed, and say so.

    That it has to be named is the question whether it is meant. Raises CommandError.
    """
    directory = root / name
    try:
        if name not in os.listdir(root):
            raise FileNotFoundError
    except (FileNotFoundError, NotADirectoryError):
        raise CommandError(
            f"There is no journal {name} in {root}; see arv-mount --recover list."
        ) from None
    except OSError as error:
        raise CommandError(
            f"{root} cannot be read: {error.strerror}{owners.remark(error, root)}."
        ) from None
    try:
        lock = take_lock(directory)
        if lock is None:
            raise CommandError(f"The journal {name} is not discarded: its mount lives.")
        orphan = Orphan(directory, lock)
        uuids = orphan.collections()
        for uuid in uuids:
            orphan.discard(uuid)
        orphan.close()
    except FileSystemError as error:
        raise CommandError(f"{error}{owners.remark(error, directory)}.") from None
    return f"Discarded {name}: changes of {', '.join(uuids) or 'nothing'}."


def _description(journal: LeftOver) -> list[str]:
    if journal.refusal:
        owner = owners.name(journal.directory.lstat().st_uid)
        return [
            journal.directory.name,
            f"  cannot be looked into: {journal.refusal}; it belongs to {owner}",
        ]
    about = journal.about
    lines = [
        journal.directory.name,
        f"  cluster {about.host or '?'}, user {about.user_uuid or '?'},"
        f" mounted on {about.mount_point or '?'} at {about.started or '?'}",
    ]
    if journal.is_alive:
        return [*lines, "  in use by a mount that lives"]
    saved = [each for each in journal.collections if not each.uuid.startswith(SCRATCH_PREFIX)]
    pending = [_pending(each) for each in saved if each.changes or each.damage]
    return lines + (pending or ["  nothing that is not committed"])


def _pending(collection: LeftOverCollection) -> str:
    if collection.damage:
        return f"  {collection.uuid}: {collection.damage}"
    return (
        f"  {collection.uuid}: {collection.changes} changes, {size_text(collection.size)} written"
    )
