"""How deep the directories of a collection may be nested.

What walks through a collection calls itself for each level, and Python ends what calls itself too
often. So there is a bound, and room for all that has to be done up to there.
"""

__all__ = ["MAX_DEPTH", "RECURSION_LIMIT"]

MAX_DEPTH = 500
"""Levels of directories below the top of a collection. A path of 4096 bytes, the longest that Linux
takes, has 455 names of eight bytes."""

RECURSION_LIMIT = 6000
"""What Python has to be told (`sys.setrecursionlimit`): four calls for each level, twice as many
levels for what is put together from the directories of two writers, and some for what is around."""
