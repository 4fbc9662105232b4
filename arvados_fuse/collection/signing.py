"""New signatures for old segments: the same bytes, by the locators of another manifest."""

import re
from collections.abc import Sequence

from arvados_fuse.collection.locator import LOCATOR
from arvados_fuse.collection.table import Segment

__all__ = ["is_same_content", "signed_as_in"]

_SIGNED = re.compile(f"(?<= ){LOCATOR}(?= )")
_BARE_LENGTH = 33
"""Characters of a locator up to its size: the hash and a plus sign."""


def is_same_content(some: Sequence[Segment], others: Sequence[Segment]) -> bool:
    """Whether both describe the same runs of the same blocks, whatever the signatures."""
    return len(some) == len(others) and all(
        (_bare(a.locator), a.offset, a.size) == (_bare(b.locator), b.offset, b.size)
        for a, b in zip(some, others, strict=True)
    )


def signed_as_in(manifest_text: str, segments: Sequence[Segment]) -> list[Segment] | None:
    """Return `segments` with the locators that a manifest has for their blocks.

    None if it does not have all of the blocks.
    """
    wanted = {_bare(segment.locator) for segment in segments}
    found = {}
    for match in _SIGNED.finditer(manifest_text):
        bare = _bare(match[0])
        if bare in wanted:
            found[bare] = match[0]
    if found.keys() != wanted:
        return None
    return [segment._replace(locator=found[_bare(segment.locator)]) for segment in segments]


def _bare(locator: str) -> str:
    """The hash and size of a locator, which say which block it is."""
    end = locator.find("+", _BARE_LENGTH)
    return locator if end < 0 else locator[:end]
