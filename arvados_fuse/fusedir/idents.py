"""Ids of the cluster's objects, and the types that uuids tell.

(Arvados documentation, "Resource identifiers" and "Portable data hash".)
"""

import re

__all__ = [
    "COLLECTION",
    "GROUP",
    "LINK",
    "is_collection_id",
    "is_collection_uuid",
    "is_portable_data_hash",
    "is_project_id",
]

COLLECTION, GROUP, LINK = "4zz18", "j7d0g", "o0j2j"
"""Types of objects, as their uuids have them, and events as one of their keys (`events.Event`)."""

_COLLECTION = re.compile(rf"[0-9a-z]{{5}}-{COLLECTION}-[0-9a-z]{{15}}")
_PORTABLE_DATA_HASH = re.compile(r"[0-9a-f]{32}\+[0-9]+")
_PROJECT = re.compile(rf"[0-9a-z]{{5}}-{GROUP}-[0-9a-z]{{15}}")


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
