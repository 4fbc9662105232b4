"""The directory that a file system is mounted on: is it fit, and what is mounted there now."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import NamedTuple

from arvados_fuse.command import owners
from arvados_fuse.command.problem import CommandError

__all__ = [
    "NO_FUSERMOUNT",
    "Mounted",
    "fusermount",
    "mounted_at",
    "mounts_below",
    "prepare",
    "unmount",
]

log = logging.getLogger(__name__)

ANSWER_TIME_LIMIT_S = 5.0
"""How long a mounted file system may take to show that it is alive."""

NO_FUSERMOUNT = "The program fusermount is not there: install the package fuse3."

LINKS_MAX = 40
"""How many symbolic links are followed, one after the other; as many as Linux follows."""


class Mounted(NamedTuple):
    """A file system that is mounted.

    place: where, without links
    kind: its type, such as "fuse" or "ext4"
    source: what is mounted, as the mount table has it
    device: the minor number of its device; for FUSE, the number of its connection
    owner: the user that mounted it, as FUSE knows; None of others
    """

    place: str
    kind: str
    source: str
    device: int
    owner: int | None

    @property
    def is_fuse(self) -> bool:
        """Whether a FUSE daemon serves it: "fuse", or "fuse." and a subtype."""
        return self.kind.partition(".")[0] == "fuse"


def prepare(directory: Path) -> None:
    """See to it that `directory` can be mounted on; clear dead mounts away.

    Raises CommandError if it cannot.
    """
    while (mounted := mounted_at(directory)) is not None:
        if not _is_dead(directory):
            cure = f"If it is not needed: fusermount -u {directory}"
            if not mounted.is_fuse:
                cure = "Choose an empty directory."
            elif not _may_unmount(mounted):
                cure = f"{_whose(mounted)} Choose another directory."
            raise CommandError(
                f"{directory} is already a mount point ({mounted.source}, {mounted.kind}). {cure}"
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
    table = _mount_table()
    place = _without_links(directory, table)
    return next((mounted for mounted in reversed(table) if mounted.place == place), None)


def mounts_below(directory: Path) -> list[Mounted]:
    """Return what is mounted on `directory` and below it, the last first.

    Does not touch the mounts.
    """
    table = _mount_table()
    place = _without_links(directory, table)
    below = place.rstrip("/") + "/"
    return [m for m in reversed(table) if m.place == place or m.place.startswith(below)]


def _mount_table() -> list[Mounted]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mountinfo:
        return [_mounted(line) for line in mountinfo]


def _mounted(line: str) -> Mounted:
    # 36 35 98:0 /root /mount/point rw shared:1 - type source options: proc(5)
    before, _, after = line.partition(" - ")
    fields = before.split(" ")
    kind, source, options = after.rstrip("\n").split(" ", 2)
    owner = re.search(r"\buser_id=(\d+)", options)
    return Mounted(
        _unescape(fields[4]),
        kind,
        _unescape(source),
        int(fields[2].split(":")[1]),
        int(owner[1]) if owner else None,
    )


def unmount(directory: Path) -> None:
    """Unmount the FUSE file system on `directory`, now or as soon as nothing uses it.

    Raises CommandError if that cannot be done.
    """
    place = _without_links(directory, _mount_table())
    program = fusermount()
    if program is None:
        raise CommandError(f"Cannot unmount {directory}. {NO_FUSERMOUNT}")
    done = subprocess.run([program, "-u", "-z", place], capture_output=True, text=True, check=False)
    if done.returncode != 0 and (mounted := mounted_at(directory)) is not None:
        reason = done.stderr.strip() if _may_unmount(mounted) else _whose(mounted)
        raise CommandError(f"Cannot unmount {directory}: {reason}")


def fusermount() -> str | None:
    """Return the program that mounts and unmounts for users that are not root; None if missing.

    What starts a mount may have a PATH of its own; the program has its place all the same.
    """
    path = os.environ.get("PATH", "") + os.pathsep + os.defpath
    return shutil.which("fusermount", path=path) or shutil.which("fusermount3", path=path)


def _may_unmount(mounted: Mounted) -> bool:
    return os.geteuid() in (0, mounted.owner)


def _whose(mounted: Mounted) -> str:
    who = "another user" if mounted.owner is None else owners.name(mounted.owner)
    return f"It was mounted by {who}; only they and root can unmount it."


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


def _without_links(directory: Path, table: list[Mounted]) -> str:
    """Return where `directory` really is.

    Asks no FUSE file system for anything, as it may hang: what is below one is taken literally.
    """
    fuse = {mounted.place for mounted in table if mounted.is_fuse}
    place, links = "/", 0
    rest = list(directory.parts[:0:-1])  # names still to go through, the next one last
    while rest and place not in fuse:
        name = rest.pop()
        if name == "..":
            place = os.path.dirname(place)
            continue
        try:
            # Of a mount point the kernel itself answers that it is no link.
            target = Path(os.readlink(os.path.join(place, name)))
        except OSError:
            place = os.path.join(place, name)
            continue
        links += 1
        if links > LINKS_MAX:
            break
        rest.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        place = "/" if target.is_absolute() else place
    return os.path.join(place, *reversed(rest))


def _unescape(field: str) -> str:
    r"""Decode what the kernel writes as \ooo: space, tab, newline and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), field)
