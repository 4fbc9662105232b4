"""The grammar of locators, as far as a reader of blocks needs it.

A locator names one block: ``<md5 in hex>+<size in bytes>[+<hint>...]`` (Arvados documentation,
"Manifest format"). Locators come from manifests, so every one is untrusted until it went through
:func:`parse_locator`. One hint is the permission signature, a secret: log lines name blocks by
:attr:`Locator.name`.
"""

import re
from typing import NamedTuple

from arvados_fuse.errors import ManifestError

__all__ = ["EMPTY_BLOCK", "MAX_BLOCK_SIZE", "Locator", "parse_locator"]

MAX_BLOCK_SIZE = 64 << 20
"""Bytes of the largest block (Arvados documentation, "Keep"); guards what we allocate."""

EMPTY_BLOCK = "d41d8cd98f00b204e9800998ecf8427e+0"
"""The block without bytes, which everybody has and nobody signs."""

_LOCATOR = re.compile(r"([0-9a-f]{32})\+([0-9]{1,19})((?:\+[A-Z][A-Za-z0-9@_-]*)*)", re.ASCII)


class Locator(NamedTuple):
    """The parts of a locator.

    hash: md5 of the block, 32 lowercase hex digits
    size: bytes of the block
    hints: what follows, without the plus signs; may hold a signature
    """

    hash: str
    size: int
    hints: tuple[str, ...]

    @property
    def name(self) -> str:
        """The block's hash and size: what log lines and messages may show."""
        return f"{self.hash}+{self.size}"


def parse_locator(text: str) -> Locator:
    """Take a locator to pieces. Raises ManifestError when it breaks the grammar."""
    match = _LOCATOR.fullmatch(text)
    if match is None:
        shown = text.split("+A", 1)[0][:48]
        raise ManifestError(f"{shown!r} is not the name of a block: the manifest is damaged")
    block_hash, size_text, hints = match.groups()
    size = int(size_text)
    if size > MAX_BLOCK_SIZE:
        raise ManifestError(
            f"block {block_hash} claims {size} bytes and no block has more than"
            f" {MAX_BLOCK_SIZE}: the manifest is damaged"
        )
    return Locator(block_hash, size, tuple(hints.split("+")[1:]))
