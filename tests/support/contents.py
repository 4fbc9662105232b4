"""Put files into a cluster for a test, by the official client library."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import arvados.collection

BLOCK = 64 << 20


def create(api: Any, name: str, files: dict[str, bytes], owner: str | None = None) -> dict:
    """Make a collection of `files` (path: content) and return its record."""
    collection = arvados.collection.Collection(api_client=api)
    for path, content in files.items():
        with collection.open(path, "wb") as file:
            file.write(content)
    collection.save_new(name=name, owner_uuid=owner, ensure_unique_name=True)
    return api.collections().get(uuid=collection.manifest_locator()).execute()


def pseudo_random(size: int, seed: int = 42) -> bytes:
    """The same `size` bytes each time, that do not compress."""
    return random.Random(seed).randbytes(size)


def block_hash(content: bytes) -> str:
    """The hash of a block with this content."""
    return hashlib.md5(content).hexdigest()
