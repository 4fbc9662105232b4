"""Names: how those of the cluster become names that a file system can show.

A name in the cluster may be anything; a name in a directory has 1 to 255 bytes, no slash and no
NUL, and is not "." or "..". What does not fit is replaced as the official driver does it, so that
paths stay the same for those who change over.
"""

import codecs
import hashlib
import re
from collections.abc import Container, Sequence
from typing import Any

from arvados_fuse.collection.draft import check_name
from arvados_fuse.errors import NotPermitted

__all__ = ["NAME_MAX", "NameRules", "check_new_name"]

NAME_MAX = 255
"""Longest name in bytes that programs can be expected to take (Linux, <limits.h>)."""

_RESERVED = ".arvados#"
"""Begins names that stand for something of the mount's own."""

_UNSHOWABLE = re.compile("[/\0\ud800-\udc7f\udd00-\udfff]")
"""What no directory can show. JSON may hold halves of surrogate pairs, which have no UTF-8; some of
them are how Python spells the bytes of a file's name that is no UTF-8, and those can be shown."""

_MARKED = re.compile(r" \([0-9a-z]{5}-[0-9a-z]{5}-[0-9a-z]{15}\)$")
"""The end of a name that `distinct` has marked with a uuid."""

_CUT_TAIL = 9
"""Length of the mark at the end of a name that was too long."""


def check_new_name(name: str) -> None:
    """Raise NotPermitted for a name that is the mount's own, and as `check_name`."""
    check_name(name)
    if name.startswith(_RESERVED):
        raise NotPermitted(f"{name!r} is a name of the mount's own; choose another.")


class NameRules:
    """The rules of one mount."""

    def __init__(self, slash: str | None, encoding: str = "utf-8") -> None:
        """Make the rules.

        slash: what a slash in the name of a project or collection is shown as (the cluster's
            setting `Collections.ForwardSlashNameSubstitution`); None or "/" if it has none
        encoding: of the names that the kernel sends and is sent
        """
        self._slash = None if slash in (None, "", "/") else slash
        self._encoding = encoding
        replaced = [self._slash] if self._slash is not None else []
        if codecs.lookup(encoding).name != "utf-8":
            replaced.append("_")  # any character may be missing in the encoding
        self._replaced = re.compile("|".join(map(re.escape, replaced))) if replaced else None

    def present(self, name: str) -> str:
        """Return the name under which `name` is shown."""
        if name in ("", "."):
            return "_"
        if name == "..":
            return "__"
        if self._slash is not None:
            name = name.replace("/", self._slash)
        name = _UNSHOWABLE.sub("_", name)
        encoded = self._encoded(name)
        if encoded is None:
            name = "".join(c if self._encoded(c) is not None else "_" for c in name)
        return name if len(name) * 4 <= NAME_MAX else self._shortened(name)

    def _encoded(self, name: str) -> bytes | None:
        """Return the bytes of `name`; None if it has a character that the encoding has not."""
        try:
            return name.encode(self._encoding, "surrogateescape")
        except UnicodeEncodeError:
            return None

    def _shortened(self, name: str) -> str:
        encoded = self._encoded(name) or b""
        if len(encoded) <= NAME_MAX:
            return name
        # The hash keeps two long names apart that start the same.
        digest = hashlib.md5(encoded, usedforsecurity=False).hexdigest()
        return self._with_tail(name, f"~{digest[: _CUT_TAIL - 1]}")

    def _with_tail(self, name: str, tail: str) -> str:
        """Return `name` with `tail` after it, cut so that both fit."""
        encoded = self._encoded(name) or b""
        return encoded[: NAME_MAX - len(tail)].decode(self._encoding, "ignore") + tail

    def distinct(self, named: Sequence[tuple[str, str]]) -> list[str]:
        """Return the names under which items of one directory are shown, each another.

        named: the name of each item, and something that tells it from all others. Of several that
        would be shown under one name the first is; the others have that mark after it, as
        "NAME (MARK)".
        """
        taken: set[str] = set()
        shown = []
        for name, mark in named:
            unique = self.unique(name, mark, taken)
            taken.add(unique)
            shown.append(unique)
        return shown

    def unique(self, name: str, mark: str, taken: Container[str]) -> str:
        """Return the name under which one more item is shown, where some are taken."""
        unique = self.present(name)
        while unique in taken:
            unique = self._with_tail(unique, f" ({mark})")
        return unique

    def marked(self, shown: str, name: str) -> str:
        """Return `shown` with a mark that is always the same for the true `name`."""
        digest = hashlib.md5(name.encode(errors="surrogatepass"), usedforsecurity=False)
        return self._with_tail(shown, f" ({digest.hexdigest()[:8]})")

    def is_special(self, shown: str) -> bool:
        """Whether only a listing can tell what is shown as `shown`: it may be cut or marked."""
        cut = shown[-_CUT_TAIL:-8] == "~" and len(self._encoded(shown) or b"") > NAME_MAX - 4
        return cut or _MARKED.search(shown) is not None

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
        if self._replaced is None or not self._replaced.search(shown):
            return ["name", "=", shown]
        parts = [re.sub(r"([\\%_])", r"\\\1", part) for part in self._replaced.split(shown)]
        return ["name", "like", "%".join(parts)]

    def all_plain(self, names: Sequence[str]) -> bool:
        """Tell at once whether all of these file names can be shown as they are.

        Names of files in a tree are never empty, "." or "..", and hold no slash.
        """
        if max(map(len, names), default=0) * 4 > NAME_MAX:
            return False
        joined = "".join(names)
        if joined.isascii():  # by far the most frequent, and quickly found out
            return "\0" not in joined
        return not _UNSHOWABLE.search(joined) and self._encoded(joined) is not None
