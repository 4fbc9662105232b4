"""New signatures for old segments: the same bytes, by the locators of another manifest."""

import re
from collections.abc import Collection, Sequence

from arvados_fuse.collection.locator import LOCATOR, block_name
from arvados_fuse.collection.table import Segment

__all__ = ["signed_as_in", "signed_locators"]

_SIGNED = re.compile(f"(?<= ){LOCATOR}(?= )")


def signed_as_in(manifest_text: str, segments: Sequence[Segment]) -> list[Segment] | None:
    """Return `segments` with the locators that a manifest has for their blocks.

    None if it does not have all of the blocks. Takes the time of the manifest's length, so it is
    called without a lock.
    """
    wanted = {block_name(segment.locator) for segment in segments}
    found = signed_locators(manifest_text, wanted)
    if found.keys() != wanted:
        return None
    return [segment._replace(locator=found[block_name(segment.locator)]) for segment in segments]


def signed_locators(manifest_text: str, wanted: Collection[str]) -> dict[str, str]:
    """Return the locators that a manifest has for blocks, as far as it has them.

    wanted: hash and size of each, as `block_name` returns them
    """
    found = {}
    if wanted:
        for match in _SIGNED.finditer(manifest_text):
            name = block_name(match[0])
            if name in wanted:
                found[name] = match[0]
    return found
