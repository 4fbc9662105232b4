"""Names: how those of the cluster become names that a file system can show.

A name in the cluster may be anything; a name in a directory has 1 to 255 bytes, no slash and no
NUL, and is not "." or "..". What does not fit is replaced as the official driver does it, so that
paths stay the same for those who change over.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

__all__ = ["NAME_MAX", "NameRules"]

NAME_MAX = 255
"""Longest name in bytes that programs can be expected to take (Linux, <limits.h>)."""


_UNSHOWABLE = re.compile("[/\0\ud800-\udc7f\udd00-\udfff]")
"""What no directory can show. JSON may hold halves of surrogate pairs, which have no UTF-8; some of
them are how Python spells the bytes of a file's name that is no UTF-8, and those can be shown."""


class NameRules:
    """The rules of one mount.

    slash: what a slash in the name of a project or collection is shown as (the cluster's setting
    `Collections.ForwardSlashNameSubstitution`); None or "/" when the cluster has none.
    """

    def __init__(self, slash: str | None) -> None:
        self._slash = None if slash in (None, "", "/") else slash

    def present(self, name: str) -> str:
        """Return the name under which `name` is shown."""
        if name in ("", "."):
            return "_"
        if name == "..":
            return "__"
        if self._slash is not None:
            name = name.replace("/", self._slash)
        name = _UNSHOWABLE.sub("_", name)
        return name if len(name) * 4 <= NAME_MAX else _shortened(name)

    def query(self, shown: str) -> list[Any] | None:
        """Return a filter of list requests for the names that may be shown as `shown`.

        It may let others through: compare with `present`. None if there can be no such name:
        bytes that have no character in the encoding stand for no name that a request could hold.
        (Arvados documentation, "Available list method filters", "like".)
        """
        try:
            shown.encode()
        except UnicodeEncodeError:
            return None
        if self._slash is None or self._slash not in shown:
            return ["name", "=", shown]
        parts = [re.sub(r"([\\%_])", r"\\\1", part) for part in shown.split(self._slash)]
        return ["name", "like", "%".join(parts)]

    @staticmethod
    def all_plain(names: Sequence[str]) -> bool:
        """Tell at once whether all of these file names can be shown as they are.

        Names of files in a tree are never empty, "." or "..", and hold no slash.
        """
        if max(map(len, names), default=0) * 4 > NAME_MAX:
            return False
        joined = "".join(names)
        if joined.isascii():  # by far the most frequent, and quickly found out
            return "\0" not in joined
        return not _UNSHOWABLE.search(joined)


def _shortened(name: str) -> str:
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) <= NAME_MAX:
        return name
    # The hash keeps two long names apart that start the same.
    tail = "~" + hashlib.md5(encoded, usedforsecurity=False).hexdigest()[:8]
    head = encoded[: NAME_MAX - len(tail)].decode("utf-8", "ignore")
    return head + tail
