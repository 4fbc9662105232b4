"""Pieces of a manifest, made fit for an error message."""

import re

__all__ = ["quote"]

_LONGEST = 60
# A hint that is a signature, whole or cut; and a signature that lost its hint letter.
_SECRET = re.compile(r"(?<=\+)[AR][^+]*|[0-9a-fA-F]{33,}(?:@[0-9a-fA-F]*)?")


def quote(token: str) -> str:
    """``token`` in quotes: signatures removed, control characters visible, at most a line long."""
    # A bad token can be a whole manifest: look at no more of it than can be shown.
    shown = _SECRET.sub("...", token[: 8 * _LONGEST])
    if len(shown) > _LONGEST or len(token) > 8 * _LONGEST:
        shown = shown[:_LONGEST] + "..."
    return repr(shown)
