"""The directory that a file system is mounted on: is it fit, and what is mounted there now."""

from __future__ import annotations

import errno
import logging
import os
import re
import subprocess
import threading
from pathlib import Path
from typing import NamedTuple

from arvados_fuse.command.problem import CommandError

__all__ = ["Mounted", "mounted_at", "prepare", "unmount"]

log = logging.getLogger(__name__)

ANSWER_TIME_LIMIT_S = 5.0
"""How long a mounted file system may take to show that it is alive."""

LINKS_MAX = 40
"""How many symbolic links are followed, one after the other; as many as Linux follows."""


class Mounted(NamedTuple):
    """A file system that is mounted.

    kind: its type, such as "fuse" or "ext4"
    source: what is mounted, as the mount table has it
    """

    kind: str
    source: str


def prepare(directory: Path) -> None:
    """See to it that `directory` can be mounted on; clear dead mounts away.

    Raises CommandError if it cannot.
    """
    while (mounted := mounted_at(directory)) is not None:
        if not _is_dead(directory):
            raise CommandError(
                f"{directory} is already a mount point ({mounted.source}, {mounted.kind}). If it"
                f" is not needed: fusermount -u {directory}"
            )
        unmount(directory)
        log.warning("Cleared the dead mount of %s on %s.", mounted.source, directory)
    try:
        with os.scandir(directory) as entries:
            occupied = next(entries, None)
    except FileNotFoundError:
        raise CommandError(
            f"The mount point {directory} does not exist. Make it: mkdir -p {directory}"
        ) from None
    except NotADirectoryError:
        raise CommandError(f"The mount point {directory} is not a directory.") from None
    except OSError as error:
        raise CommandError(
            f"The mount point {directory} cannot be read: {error.strerror}."
        ) from None
    if occupied is not None:
        raise CommandError(
            f"The mount point {directory} is not empty: it holds {occupied.name!r}, which would be"
            " hidden. Choose an empty directory."
        )


def mounted_at(directory: Path) -> Mounted | None:
    """Return what is mounted on `directory`, the last if several are; None if nothing is.

    Reads the kernel's list and does not touch the mount, which may hang.
    """
    found = None
    place = _without_links(directory)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mountinfo:
        for line in mountinfo:
            # 36 35 98:0 /root /mount/point rw shared:1 - type source options: proc(5)
            before, _, after = line.partition(" - ")
            if _unescape(before.split(" ")[4]) == place:
                kind, source, *_ = after.split(" ")
                found = Mounted(kind, _unescape(source))
    return found


def unmount(directory: Path) -> None:
    """Unmount the FUSE file system on `directory`, now or as soon as nothing uses it.

    Raises CommandError if that cannot be done.
    """
    place = _without_links(directory)
    try:
        done = subprocess.run(
            ["fusermount", "-u", "-z", place], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise CommandError(
            f"Cannot unmount {directory}: the program fusermount cannot be run"
            f" ({error.strerror}). It comes with FUSE."
        ) from None
    if done.returncode != 0 and mounted_at(directory) is not None:
        raise CommandError(f"Cannot unmount {directory}: {done.stderr.strip()}")


def _is_dead(directory: Path) -> bool:
    """Whether the file system on `directory` has lost its daemon. A hung one counts as alive."""
    answers: list[int] = []

    def ask() -> None:
        try:
            os.statvfs(directory)
            answers.append(0)
        except OSError as error:
            answers.append(error.errno or 0)

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    asker.join(ANSWER_TIME_LIMIT_S)
    return answers == [errno.ENOTCONN]


def _without_links(directory: Path) -> str:
    """Return where `directory` really is. Does not touch what is mounted there."""
    place = directory
    for _ in range(LINKS_MAX):
        place = Path(os.path.realpath(place.parent), place.name)
        try:
            # Of a mount point the kernel itself answers that it is no link.
            place = place.parent / os.readlink(place)
        except OSError:
            break
    return str(place)


def _unescape(field: str) -> str:
    r"""Decode what the kernel writes as \ooo: space, tab, newline and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), field)
