"""Sizes and times of the cluster, as a real one has them if nothing is configured."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_BLOCK_SIZE", "Limits"]

MAX_BLOCK_SIZE = 64 << 20
"""Bytes in the largest block. (Arvados documentation, "Keep locator format".)"""


@dataclass(frozen=True)
class Limits:
    """What a real cluster takes from its configuration file.

    (Arvados documentation, "Configuration reference"; names as there, with units added.)
    """

    max_items_per_response: int = 1000
    max_request_size: int = 134217728
    blob_signing_ttl_s: int = 14 * 86400
    default_trash_lifetime_s: int = 14 * 86400
    # Of blocks that nothing refers to.
    blob_trash_lifetime_s: int = 14 * 86400
    # A state of a collection that has lasted so long becomes an old version when it changes.
    preserve_version_if_idle_s: float = 10
    # The log forgets what is older.
    log_lifetime_s: int = 14 * 86400
    # As many as there are Keep services, but two at most: one cannot store two copies.
    default_replication: int = 1
    storage_class: str = "default"
