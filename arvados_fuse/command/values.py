"""The types of the values that options take. Each refuses what it cannot read with a sentence."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "at_least",
    "directory",
    "encoding",
    "file",
    "journal_size",
    "names",
    "seconds",
    "subtype",
    "whole_seconds",
]

_LONGEST_S = 1_000_000_000
"""Thirty years. Threads and the kernel cannot be told to wait for much longer."""

_SMALLEST_JOURNAL = 1_000_000


def at_least(least: int) -> Callable[[str], int]:
    """Return the type of whole numbers that are not smaller than `least`."""

    def whole_number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
        return int(text)

    return whole_number


def journal_size(text: str) -> int:
    """Read how many bytes a journal may have; 0 for what suits the disk.

    What it holds for itself must be a small part of that, or writers would wait for ever.
    """
    size = at_least(0)(text)
    if 0 < size < _SMALLEST_JOURNAL:
        raise argparse.ArgumentTypeError(
            f"{text} bytes are too few: give 0, or {_SMALLEST_JOURNAL} or more"
        )
    return size


def seconds(text: str) -> float:
    """Read a duration, with a fraction if need be."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _LONGEST_S:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from 0 to {_LONGEST_S}"
        )
    return value


def whole_seconds(text: str) -> int:
    """Read a duration without a fraction."""
    duration_s = at_least(0)(text)
    if duration_s > _LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {_LONGEST_S} seconds")
    return duration_s


def directory(text: str) -> Path:
    """Read the path of a directory. An empty one, as of a variable that is not set, is none.

    It is absolute: a mount in the background has another current directory.
    """
    if not text:
        raise argparse.ArgumentTypeError("the name of a directory is needed")
    return Path(text).absolute()


def file(text: str) -> Path:
    """Read the path of a file. An empty one, as of a variable that is not set, is none."""
    if not text:
        raise argparse.ArgumentTypeError("the name of a file is needed")
    return Path(text)


def names(text: str) -> tuple[str, ...]:
    """Read names with commas between them. Nothing between two commas is no name."""
    return tuple(name for part in text.split(",") if (name := part.strip()))


def subtype(text: str) -> str:
    """Read the subtype of a mount.

    FUSE is given it among other options in ASCII, with commas between, and drops backslashes.
    """
    if not (text.isascii() and text.isprintable()) or "," in text or "\\" in text:
        raise argparse.ArgumentTypeError(
            f"{text!r} has characters that cannot be in a subtype: choose another"
        )
    return text


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
