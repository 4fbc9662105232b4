"""Records of the cluster as small typed values. They come from the net, so each field is checked.

Source of the fields: Arvados documentation, "API Reference".
"""

from __future__ import annotations

import datetime
import re
from typing import Any, NamedTuple

import ciso8601

from arvados_fuse.errors import RecordError

__all__ = [
    "COLLECTION_FIELDS",
    "GROUP_FIELDS",
    "STATE_FIELDS",
    "CollectionContent",
    "Desired",
    "Item",
    "Record",
    "Shared",
    "collection_content",
    "collection_item",
    "group_item",
    "has_method",
    "has_parameter",
    "owner_item",
    "replication",
    "signature_ttl_s",
    "text",
    "whole_number",
]

COLLECTION_FIELDS = ["uuid", "name", "modified_at", "portable_data_hash"]
GROUP_FIELDS = ["uuid", "name", "modified_at", "group_class"]
"""What an `Item` is made of: all that requests for many records ask for."""

STATE_FIELDS = [*COLLECTION_FIELDS, "replication_desired", "storage_classes_desired"]
"""What is asked for of a collection that may be changed."""

_CLASS_NAME = re.compile(r"[!-+\--~]+")  # printable ASCII but the comma and the space
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)

Record = dict[str, Any]
"""A record as the cluster sent it."""


class Desired(NamedTuple):
    """What a collection wants of its blocks.

    Arvados documentation, "collections": `replication_desired`, `storage_classes_desired`.

    replicas: copies of each block; None for the cluster's default
    classes: storage classes that have to have them; empty for the cluster's default
    """

    replicas: int | None = None
    classes: tuple[str, ...] = ()


class Item(NamedTuple):
    """A collection or project, as its directory entry needs it.

    modified_ns: nanoseconds since 1970; 0 where the record has no time
    portable_data_hash: of a collection; "" for a project
    is_project: also for a filter group, and for a user: their home project
    is_filter: whether it is a filter group, which shows what its filters find and owns nothing
    desired: of a collection whose record was asked for by itself; None if that was not asked for
    """

    uuid: str
    name: str
    modified_ns: int
    portable_data_hash: str
    is_project: bool
    is_filter: bool = False
    desired: Desired | None = None


class CollectionContent(NamedTuple):
    """A collection with its manifest, whose locators are signed for our token."""

    item: Item
    manifest_text: str


class Shared(NamedTuple):
    """What others share with the user.

    projects: each project or filter group, and the uuid of its owner
    owners: those owners that the user can see
    """

    projects: list[tuple[Item, str]]
    owners: list[Item]


def text(record: Record, field: str) -> str:
    """Return a field that has to be text. Raises RecordError."""
    value = record.get(field)
    if not isinstance(value, str):
        uuid = record.get("uuid", "without uuid")
        raise RecordError(f"The record {uuid!r} has no text in its field {field!r}.")
    return value


def _name(record: Record) -> str:
    """Return the record's name; "" if it has none, as groups and collections may."""
    return "" if record.get("name") is None else text(record, "name")


def _time_ns(record: Record, field: str) -> int:
    value = record.get(field)
    if not value:
        return 0
    try:
        moment: datetime.datetime = ciso8601.parse_datetime(value)
    except (TypeError, ValueError):
        raise RecordError(f"The record {record.get('uuid')!r} has a bad time: {value!r}.") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1) * 1000


def signature_ttl_s(discovery: Record) -> float:
    """Return for how long block signatures are valid; two weeks if the cluster does not say."""
    value = discovery.get("blobSignatureTtl") or 1209600
    if not isinstance(value, int | float):
        raise RecordError(f"The cluster's blobSignatureTtl is {value!r}, not a number of seconds.")
    return float(value)


def has_method(discovery: Record, resource: str, method: str) -> bool:
    """Whether the cluster has a method. (Arvados documentation, discovery document.)"""
    try:
        return method in discovery["resources"][resource]["methods"]
    except (KeyError, TypeError):
        return False


def has_parameter(discovery: Record, resource: str, method: str, parameter: str) -> bool:
    """Whether a method of the cluster takes a parameter."""
    try:
        return parameter in discovery["resources"][resource]["methods"][method]["parameters"]
    except (KeyError, TypeError):
        return False


def replication(discovery: Record) -> int:
    """Return how many copies of a block are wanted; two if the cluster does not say."""
    value = discovery.get("defaultCollectionReplication", 2)
    if not isinstance(value, int) or value < 1:
        raise RecordError(f"The cluster's defaultCollectionReplication is {value!r}.")
    return value


def collection_item(record: Record) -> Item:
    """Return what a directory needs of a collection's record. Raises RecordError."""
    return Item(
        uuid=text(record, "uuid"),
        name=_name(record),
        modified_ns=_time_ns(record, "modified_at"),
        portable_data_hash=text(record, "portable_data_hash"),
        is_project=False,
        desired=_desired(record),
    )


def _desired(record: Record) -> Desired | None:
    """Return what a collection wants; None if the record does not tell. Raises RecordError.

    Who asks by portable data hash is told zero and nothing: that stands for the default.
    """
    if "replication_desired" not in record and "storage_classes_desired" not in record:
        return None
    replicas = record.get("replication_desired") or None
    classes = record.get("storage_classes_desired") or []
    if not (replicas is None or (isinstance(replicas, int) and replicas > 0)):
        raise RecordError(
            f"The record {record.get('uuid')!r} has a bad replication_desired: {replicas!r}."
        )
    if not (isinstance(classes, list) and all(map(_is_class_name, classes))):
        raise RecordError(
            f"The record {record.get('uuid')!r} has bad storage_classes_desired: {classes!r}."
        )
    return Desired(replicas, tuple(classes))


def _is_class_name(value: object) -> bool:
    """Whether a value can be one of several names in a header of a request."""
    return isinstance(value, str) and _CLASS_NAME.fullmatch(value) is not None


def collection_content(record: Record) -> CollectionContent:
    """Return what a directory needs of a whole collection. Raises RecordError."""
    return CollectionContent(collection_item(record), text(record, "manifest_text"))


def group_item(record: Record) -> Item:
    """Return what a directory needs of a group's record. Raises RecordError."""
    return Item(
        uuid=text(record, "uuid"),
        name=_name(record),
        modified_ns=_time_ns(record, "modified_at"),
        portable_data_hash="",
        is_project=True,
        is_filter=record.get("group_class") == "filter",
    )


def owner_item(record: Record) -> Item:
    """Return what a directory needs of the record of a group or a user. Raises RecordError.

    A user is shown by first and last name.
    """
    item = group_item(record)
    if item.name:
        return item
    parts = (record.get("first_name"), record.get("last_name"))
    shown = " ".join(part for part in parts if isinstance(part, str) and part)
    return item._replace(name=shown or text(record, "email"))


def whole_number(record: Record, field: str) -> int:
    """Return a field that has to be a whole number. Raises RecordError."""
    value = record.get(field)
    if not isinstance(value, int):
        raise RecordError(f"The record {record.get('uuid')!r} has no number in {field!r}.")
    return value
