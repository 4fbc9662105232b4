"""Ids of the cluster's objects, as people write them.

(Arvados documentation, "Resource identifiers" and "Portable data hash".)
"""

import re

__all__ = ["is_collection_id", "is_collection_uuid", "is_portable_data_hash", "is_project_id"]

_COLLECTION = re.compile(r"[0-9a-z]{5}-4zz18-[0-9a-z]{15}")
_PORTABLE_DATA_HASH = re.compile(r"[0-9a-f]{32}\+[0-9]+")
_PROJECT = re.compile(r"[0-9a-z]{5}-j7d0g-[0-9a-z]{15}")


def is_collection_uuid(text: str) -> bool:
    """Whether `text` is a collection's uuid."""
    return _COLLECTION.fullmatch(text) is not None


def is_portable_data_hash(text: str) -> bool:
    """Whether `text` is the portable data hash of a collection's content."""
    return _PORTABLE_DATA_HASH.fullmatch(text) is not None


def is_collection_id(text: str) -> bool:
    """Whether `text` is a collection's uuid or portable data hash."""
    return is_collection_uuid(text) or is_portable_data_hash(text)


def is_project_id(text: str) -> bool:
    """Whether `text` is the uuid of a group: a project, a filter group, or a role."""
    return _PROJECT.fullmatch(text) is not None
