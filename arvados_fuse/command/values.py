"""The types of the values that options take. Each refuses what it cannot read with a sentence."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["at_least", "encoding", "names", "seconds"]


def at_least(least: int) -> Callable[[str], int]:
    """Return the type of whole numbers that are not smaller than `least`."""

    def whole_number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
        return int(text)

    return whole_number


def seconds(text: str) -> float:
    """Read a duration of zero or more, with a fraction if need be."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def names(text: str) -> tuple[str, ...]:
    """Read names with commas between them. Nothing between two commas is no name."""
    return tuple(name for part in text.split(",") if (name := part.strip()))


def encoding(text: str) -> str:
    """Read the name of a character encoding of file names."""
    # The kernel splits paths at the byte "/", and any byte may be typed as part of a name.
    sample = b"a/b\xff"
    try:
        decoded = sample.decode(text, "surrogateescape")
        fits = decoded.startswith("a/b") and decoded.encode(text, "surrogateescape") == sample
    except (LookupError, ValueError):
        fits = False
    if not fits:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a character encoding of file names (like utf-8 or iso8859-1)"
        )
    return text
