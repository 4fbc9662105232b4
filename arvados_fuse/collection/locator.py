"""Locators: the names of blocks (Arvados documentation, "Manifest format": locators)."""

__all__ = ["HASH_DIGITS", "LOCATOR", "MAX_NUMBER", "block_name"]

MAX_NUMBER = 2**63 - 1
"""The largest position or size: what the kernel can address in a file."""

HASH_DIGITS = 32
"""Hexadecimal digits of a block's hash, its md5, with which each locator begins."""

LOCATOR = r"[0-9a-f]{32}\+([0-9]{1,19})(?:\+[A-Z][0-9A-Za-z@_-]*)*"
"""The grammar of a locator, as a regular expression with one group, the size in bytes.

Nineteen digits are enough for MAX_NUMBER, and few enough to convert without a thought. What follows
the size are hints: signatures, places to look.
"""


def block_name(locator: str) -> str:
    """Return the hash and size of a locator, "HASH+SIZE", which say which block it is."""
    end = locator.find("+", HASH_DIGITS + 1)
    return locator if end < 0 else locator[:end]
