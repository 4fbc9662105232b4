"""Locators: the names of blocks."""

import re
from typing import NamedTuple

from arvados_fuse.collection.quote import quote
from arvados_fuse.errors import ManifestError

__all__ = ["LOCATOR", "MAX_NUMBER", "Locator"]

MAX_NUMBER = 2**63 - 1
"""The largest position or size: what the kernel can address in a file."""

LOCATOR = r"[0-9a-f]{32}\+([0-9]{1,19})(?:\+[A-Z][0-9A-Za-z@_-]*)*"
"""The grammar of a locator, as a regular expression with one group, the size.

Nineteen digits are enough for MAX_NUMBER, and few enough to convert without a thought.
"""

_LOCATOR = re.compile(LOCATOR)


class Locator(NamedTuple):
    """A block's name, taken apart (Arvados documentation, "Manifest format": locators).

    hash: md5 of the block, 32 lowercase hexadecimal digits
    size: length of the block in bytes
    hints: what follows, without the "+": signatures, places to look; in order
    """

    hash: str
    size: int
    hints: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Locator":
        """The locator that ``text`` spells, size included; raises ManifestError if it does not."""
        match = _LOCATOR.fullmatch(text)
        if match is None or int(match[1]) > MAX_NUMBER:
            raise ManifestError(f"{quote(text)} is not a block locator.")
        digest, _, *hints = text.split("+")
        return cls(digest, int(match[1]), tuple(hints))

    @property
    def stripped(self) -> str:
        """``hash+size``: which block it is, without how to get it."""
        return f"{self.hash}+{self.size}"
