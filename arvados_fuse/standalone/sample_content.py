"""What the sample project holds: a few collections of real content, made when they are needed."""

from __future__ import annotations

import calendar
import hashlib
import itertools
import sys
from array import array
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["PRIMES_BELOW", "PROJECT_DESCRIPTION", "PROJECT_NAME", "Sample", "primes", "samples"]

PROJECT_NAME = "Sample project"
PROJECT_DESCRIPTION = "A few collections to look at. Change or delete them as you like."
PRIMES_BELOW = 1 << 24

_README = """\
Sample project
==============

This is a small Arvados cluster of your own. It runs on this machine, in one process, and keeps
everything in one directory. These collections came with it:

Read me first        this text, and files whose names have spaces and letters beyond ASCII
Calendar 2020-2031   a directory for each year with a file for each month, and an empty directory
Primes               a binary file of four megabytes, with its checksum

A collection is a set of files in directories. Its content is named by its portable data hash,
which changes when any byte of it does. Collections are in projects; your own is called "home".

Some things to try, where the collections are mounted or with the Arvados command line tools:

    find . -name '*February*'               walk through a tree
    md5sum -c MD5SUMS                       check the file of primes, in its directory
    arv-ls UUID                             list the files of a collection by its uuid
    arv-put --name 'My data' some-directory make a collection of your own files

Everything here may be changed or deleted; it does not come back.
"""

_SPACES = "This file is here because of its name: it has spaces in it.\n"
_LETTERS = """\
Gr\u00fc\u00dfe! \u4f60\u597d! Dobr\u00fd de\u0148!
This file says hello in three languages, and its name has letters beyond ASCII.
"""
_PRIMES_README = """\
primes-below-2^24.u32le   all prime numbers below 16,777,216 in ascending order,
                          each as a 32-bit unsigned integer, little-endian
MD5SUMS                   its checksum: run `md5sum -c MD5SUMS` here

With numpy:  numpy.fromfile("primes-below-2^24.u32le", "<u4")
"""


class Sample(NamedTuple):
    """A collection to be made. `files` are by path; a path of `directories` has nothing in it."""

    name: str
    description: str
    files: dict[str, bytes]
    directories: tuple[str, ...] = ()


def samples() -> Iterator[Sample]:
    """Make the content of the collections, one after the other."""
    yield Sample(
        "Read me first",
        "What this sample is about.",
        {
            "README.txt": _README.encode(),
            "a name with spaces.txt": _SPACES.encode(),
            "Gr\u00fc\u00dfe.txt": _LETTERS.encode(),
        },
    )
    yield Sample(
        "Calendar 2020-2031",
        "A directory for each year, a file for each month.",
        dict(_months(range(2020, 2032))),
        ("later years",),
    )
    numbers = primes(PRIMES_BELOW)
    name = "primes-below-2^24.u32le"
    sums = f"{hashlib.md5(numbers).hexdigest()}  {name}\n"
    yield Sample(
        "Primes",
        "All prime numbers below 2^24, as 32-bit integers.",
        {"README.txt": _PRIMES_README.encode(), "MD5SUMS": sums.encode(), name: numbers},
    )


def _months(years: range) -> Iterator[tuple[str, bytes]]:
    text = calendar.TextCalendar()
    for year, month in itertools.product(years, range(1, 13)):
        path = f"{year}/{month:02}-{calendar.month_name[month]}.txt"
        yield path, text.formatmonth(year, month).encode()


def primes(limit: int) -> bytes:
    """Return all primes below `limit`, which is 3 or more, as 32-bit little-endian integers.

    The sieve of Eratosthenes over odd numbers: place i stands for 2 * i + 1.
    """
    sieve = bytearray([1]) * (limit // 2)
    sieve[0] = 0
    number = 3
    while number * number < limit:
        if sieve[number // 2]:
            start = number * number // 2
            sieve[start::number] = bytes(len(range(start, len(sieve), number)))
        number += 2
    found = array("I", itertools.chain([2], itertools.compress(range(1, limit, 2), sieve)))
    if sys.byteorder == "big":
        found.byteswap()
    return found.tobytes()
