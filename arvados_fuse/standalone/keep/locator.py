"""The locators that requests to Keep have in their path.

(Arvados documentation, "Keep locator format".)
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Locator", "parse_locator"]

_LOCATOR = re.compile(r"([0-9a-f]{32})(?:\+([0-9]+))?((?:\+[A-Z][A-Za-z0-9@_-]*)*)")


class Locator(NamedTuple):
    """A block by its hash.

    size: in bytes; None if the locator does not say
    text: the whole locator, with its hints
    """

    block_hash: str
    size: int | None
    text: str

    @property
    def is_remote(self) -> bool:
        """Whether the locator is signed by another cluster."""
        return "+R" in self.text


def parse_locator(text: str) -> Locator | None:
    """Return the locator that `text` is; None if it is none."""
    found = _LOCATOR.fullmatch(text)
    if found is None:
        return None
    size = None if found[2] is None else int(found[2])
    return Locator(found[1], size, text)
