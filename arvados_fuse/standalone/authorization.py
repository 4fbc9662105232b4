"""The token in the ``Authorization`` header of a request.

(Arvados documentation, "REST API syntax", "Authorization header".)
"""

from __future__ import annotations

import base64
import binascii

__all__ = ["token_of_header"]


def token_of_header(value: str) -> str:
    """Return the token in an ``Authorization`` header; empty if there is none."""
    scheme, _, rest = value.strip().partition(" ")
    rest = rest.strip()
    if scheme.lower() in ("bearer", "oauth2"):
        return rest
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""
