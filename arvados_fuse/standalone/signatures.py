"""Permission signatures on block locators.

A signature says: whoever holds this token may read this block until this time. The API server
puts it on locators of collections that the caller may read; Keep gives one back for each block
that is written, and checks it on each read. (Arvados documentation, "Keep locator format".)
"""

from __future__ import annotations

import hmac
import re

__all__ = ["BlobSigner", "SignatureExpired", "SignatureInvalid"]

_HINT = re.compile(r"\+A([0-9a-f]{40})@([0-9a-f]{8})(?=\+|$)")


class SignatureInvalid(Exception):
    """No signature, one that is malformed, or one made for another token, block or key."""


class SignatureExpired(Exception):
    """A signature whose time is over."""


class BlobSigner:
    """Makes and checks signatures with the key of this cluster.

    `ttl_s` is the usual lifetime of a signature. It is part of what is signed: a change of it
    makes all signatures invalid.
    """

    def __init__(self, key: bytes, ttl_s: int) -> None:
        self.ttl_s = ttl_s
        self._key = key
        self._ttl_text = f"{ttl_s:x}"

    def hint(self, block_hash: str, token: str, expiry_s: int) -> str:
        """Return the locator hint ``+A<signature>@<expiry>``; `expiry_s` is in Unix seconds."""
        expiry = f"{expiry_s:08x}"
        return f"+A{self._signature(block_hash, token, expiry)}@{expiry}"

    def verify(self, locator: str, token: str, now_s: float) -> None:
        """Check that `locator` carries a signature for `token` that is valid at `now_s`.

        Raises SignatureInvalid or SignatureExpired.
        """
        hint = _HINT.search(locator)
        if hint is None:
            raise SignatureInvalid("the locator has no signature")
        signature, expiry = hint.groups()
        if int(expiry, 16) < now_s:
            raise SignatureExpired("the signature of the locator has expired")
        if not hmac.compare_digest(signature, self._signature(locator[:32], token, expiry)):
            raise SignatureInvalid("the signature of the locator does not fit this token")

    def _signature(self, block_hash: str, token: str, expiry: str) -> str:
        message = f"{block_hash}@{token}@{expiry}@{self._ttl_text}"
        return hmac.digest(self._key, message.encode(), "sha1").hex()
