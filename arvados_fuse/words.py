"""Small words of messages."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, noun: str) -> str:
    """Return a number of things, as "1 file" and "2 files". noun: of one; its plural has an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
