"""Old versions of collections.

An old version is a row of its own, with a uuid of its own, that points to the current version. It
is in the trash, has its owner, and is removed, when the current version is.
(Arvados documentation, "Using collection versioning".)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from arvados_fuse.standalone import clock
from arvados_fuse.standalone.limits import Limits
from arvados_fuse.standalone.records import sql
from arvados_fuse.standalone.records.codec import encoded
from arvados_fuse.standalone.records.conditions import Condition
from arvados_fuse.standalone.records.tables import COLLECTIONS

__all__ = ["IS_CURRENT", "follow", "is_old", "save", "settled"]

IS_CURRENT = Condition("collections.current_version_uuid = collections.uuid")

_VERSIONED = {"manifest_text", "description", "properties", "name"}
"""Attributes whose change can make a new version."""

_FOLLOWING = {
    "owner_uuid",
    "delete_at",
    "trash_at",
    "is_trashed",
    "replication_desired",
    "storage_classes_desired",
}
"""Attributes that old versions have in common with the current one."""


def is_old(record: Mapping[str, Any]) -> bool:
    """Whether the record is an old version of a collection."""
    return bool(record["current_version_uuid"] != record["uuid"])


def settled(
    current: Mapping[str, Any],
    changes: Mapping[str, Any],
    asked: bool | None,
    now: str,
    limits: Limits,
) -> dict[str, Any]:
    """Return `changes` with the ``version`` and ``preserve_version`` that follow from them.

    asked: ``preserve_version`` as the request has it; None if it does not mention it

    A state is saved if it was asked for, or if it has lasted for some time. Who asks before there
    is anything to save, asks for the state that is there then.
    """
    settled = dict(changes)
    settled.pop("preserve_version", None)
    concerned = changes.keys() & (_VERSIONED | _FOLLOWING)
    is_pending = current["preserve_version"]
    if _is_saved(current, changes, bool(asked), now, limits):
        return {**settled, "version": current["version"] + 1, "preserve_version": bool(asked)}
    if asked or (asked is False and not (is_pending and concerned)):
        settled["preserve_version"] = asked
    return settled


def _is_saved(
    current: Mapping[str, Any], changes: Mapping[str, Any], asked: bool, now: str, limits: Limits
) -> bool:
    """Whether the state before `changes` becomes an old version."""
    if not changes.keys() & _VERSIONED or changes.get("is_trashed", current["is_trashed"]):
        return False
    if current["preserve_version"] or asked:
        return True
    idle_since: str = current["modified_at"]
    return idle_since <= clock.plus(now, -limits.preserve_version_if_idle_s)


def save(db: sqlite3.Connection, uuid: str, old_uuid: str) -> None:
    """Save the collection `uuid`, as it is stored now, as an old version with another uuid."""
    names = [attribute.name for attribute in COLLECTIONS.columns if attribute.name != "uuid"]
    sql.duplicate(db, COLLECTIONS.name, names, {"uuid": old_uuid}, Condition("uuid = ?", (uuid,)))


def follow(db: sqlite3.Connection, uuid: str, changes: Mapping[str, Any]) -> None:
    """Let the old versions of the collection `uuid` have part in `changes` that were made to it."""
    values = {name: value for name, value in changes.items() if name in _FOLLOWING}
    if "uuid" in changes:
        values["current_version_uuid"] = changes["uuid"]
    if values:
        old = Condition("current_version_uuid = ? AND uuid <> ?", (uuid, changes.get("uuid", uuid)))
        sql.update(db, COLLECTIONS.name, encoded(COLLECTIONS, values), old)
