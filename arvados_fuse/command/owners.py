"""Who owns what is in the way: "Permission denied" alone says little to who once used sudo."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["is_known", "name", "remark"]


def name(uid: int) -> str:
    """Return what people call a user of this machine."""
    return pwd.getpwuid(uid).pw_name if is_known(uid) else f"the user with number {uid}"


def is_known(uid: int) -> bool:
    """Whether the machine has a user of that number: in /etc/passwd, or wherever it looks."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def remark(error: BaseException | None, path: Path) -> str:
    """Return a remark to put behind `error`, which came of using `path`: who owns it.

    Of what is not there, or cannot be looked at, the directory that it would be in counts. Empty
    if that is ours, or if neither the error nor its causes are a permission that was denied.
    """
    while error is not None and not isinstance(error, PermissionError):
        error = error.__cause__
    if error is None:
        return ""
    for place in (path, *path.parents):
        try:
            owner = os.stat(place).st_uid
        except OSError:
            continue
        return "" if owner == os.geteuid() else f" ({place} belongs to {name(owner)})"
    return ""
