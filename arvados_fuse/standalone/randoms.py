"""Random texts in base 36, as Arvados uses them in uuids, tokens and request ids."""

from __future__ import annotations

import secrets
import string

__all__ = ["base36", "new_uuid"]

_DIGITS = string.digits + string.ascii_lowercase


def base36(length: int) -> str:
    """Return `length` random characters that nobody can guess."""
    return "".join(secrets.choice(_DIGITS) for _ in range(length))


def new_uuid(cluster_id: str, infix: str) -> str:
    """Return a new uuid for an object of the kind that `infix` stands for."""
    return f"{cluster_id}-{infix}-{base36(15)}"
