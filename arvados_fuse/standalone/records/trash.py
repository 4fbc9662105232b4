"""When things are in the trash, and when they are gone for good.

(Arvados documentation, "Trashing and untrashing data".)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from arvados_fuse.standalone import clock, wellknown
from arvados_fuse.standalone.limits import Limits
from arvados_fuse.standalone.records import audit, sql
from arvados_fuse.standalone.records.codec import decoded
from arvados_fuse.standalone.records.conditions import Condition, any_of
from arvados_fuse.standalone.records.database import Database
from arvados_fuse.standalone.records.model import Resource
from arvados_fuse.standalone.records.tables import LINKS, RESOURCES, WORKFLOWS

__all__ = ["TimesInvalid", "deleted_now", "settled", "sweep", "trashed_now", "untrashed"]


class TimesInvalid(ValueError):
    """Trash and deletion times that do not fit each other."""


def settled(
    current: Mapping[str, Any], changes: Mapping[str, Any], now: str, limits: Limits
) -> dict[str, Any]:
    """Return `changes` with the trash attributes completed so that they fit each other.

    `current` is the record as it is, or the defaults of a new one. Raises TimesInvalid.
    """
    changes = _spelled_out(current, changes, now)
    trash_at = changes.get("trash_at", current["trash_at"])
    if changes.get("trash_at") is not None:
        # The past cannot be changed: something trashed "yesterday" was readable until now.
        trash_at = changes["trash_at"] = max(trash_at, now)
    if "trash_at" in changes and "delete_at" not in changes:
        lifetime_s = limits.default_trash_lifetime_s
        changes["delete_at"] = trash_at and clock.plus(trash_at, lifetime_s)
    elif changes.get("delete_at") is not None and trash_at is not None:
        if changes["delete_at"] < trash_at:
            raise TimesInvalid("Delete at must not be earlier than trash_at")
        earliest = _earliest_deletion(current, now, limits.blob_signing_ttl_s)
        changes["delete_at"] = max(changes["delete_at"], earliest)
    delete_at = changes.get("delete_at", current["delete_at"])
    if (trash_at is None) != (delete_at is None):
        raise TimesInvalid("Delete at must be set if trash_at is set, and must be nil otherwise")
    changes["is_trashed"] = trash_at is not None and trash_at <= now
    return changes


def _spelled_out(
    current: Mapping[str, Any], changes: Mapping[str, Any], now: str
) -> dict[str, Any]:
    """Replace the short form `is_trashed` by the times that it means; drop what is no change."""
    times = {"trash_at", "delete_at"}
    changes = {k: v for k, v in changes.items() if k not in times or v != current[k]}
    is_trashed = changes.pop("is_trashed", None)
    if is_trashed is None or is_trashed == current["is_trashed"] or times & changes.keys():
        return changes
    if is_trashed:
        return {**changes, "trash_at": now}
    return {**changes, "trash_at": None, "delete_at": None}


def _earliest_deletion(current: Mapping[str, Any], now: str, signing_ttl_s: float) -> str:
    """Until when signatures that were given out can be valid."""
    last_signed = min(now, current["trash_at"] or now)
    expired = clock.plus(last_signed, signing_ttl_s)
    return min(expired, current["delete_at"] or expired)


def trashed_now(current: Mapping[str, Any], now: str, limits: Limits) -> dict[str, Any]:
    """Return the changes that put a record into the trash; none if it is there."""
    if current["trash_at"] is not None and current["trash_at"] <= now:
        return {}
    return settled(current, {"trash_at": now}, now, limits)


def deleted_now(current: Mapping[str, Any], now: str, limits: Limits) -> dict[str, Any]:
    """Return the changes that trash a record and let it go as early as signatures allow."""
    changes = trashed_now(current, now, limits)
    trash_at = changes.get("trash_at", current["trash_at"])
    delete_at = changes.get("delete_at", current["delete_at"])
    earliest = clock.plus(trash_at, limits.blob_signing_ttl_s)
    return {**changes, "delete_at": min(delete_at, earliest)}


def untrashed() -> dict[str, Any]:
    """Return the changes that take a record out of the trash."""
    return {"trash_at": None, "delete_at": None, "is_trashed": False}


_DOOMED = """
    CREATE TEMPORARY TABLE doomed AS
    WITH RECURSIVE found(uuid) AS (
        SELECT uuid FROM groups WHERE delete_at <= ?
        UNION
        SELECT groups.uuid FROM groups JOIN found ON groups.owner_uuid = found.uuid
    ) SELECT uuid FROM found"""


def sweep(database: Database, now: str, log_lifetime_s: int = Limits.log_lifetime_s) -> None:
    """Mark what has expired as trashed; remove what is past its deletion time, with its contents.

    Also forgets what is in the log for longer than `log_lifetime_s`. Requests go by the times
    alone, so it does not matter to them when this runs.
    """
    trashable = [resource for resource in RESOURCES if "trash_at" in resource.by_name]
    with database.write() as db:
        for resource in trashable:
            expired = Condition("trash_at <= ? AND is_trashed = 0", (now,))
            sql.update(db, resource.name, {"is_trashed": True}, expired)
        db.execute(_DOOMED, (now,))
        for resource in trashable:
            _remove(db, resource, now)
        _remove_where(db, WORKFLOWS, Condition("owner_uuid IN (SELECT uuid FROM doomed)"), now)
        db.execute("DROP TABLE doomed")
        audit.forget_before(db, clock.plus(now, -log_lifetime_s))


def _remove(db: sqlite3.Connection, resource: Resource, now: str) -> None:
    due = Condition("delete_at <= ? OR owner_uuid IN (SELECT uuid FROM doomed)", (now,))
    removed = _remove_where(db, resource, due, now)
    # A link to what is gone, or from it, says nothing any more.
    ends = [sql.among(f"links.{end}_uuid", removed) for end in ("head", "tail")]
    if removed:
        _remove_where(db, LINKS, any_of(ends), now)


def _remove_where(
    db: sqlite3.Connection, resource: Resource, condition: Condition, now: str
) -> list[str]:
    """Remove records, each with its entry in the log; return their uuids."""
    by_uuid = _system_user_uuid(db)
    rows = sql.select(db, resource.small_columns, resource.name, condition).fetchall()
    for row in rows:
        record = decoded(resource, row)
        audit.note_change(db, resource, record, None, by_uuid=by_uuid, now=now)
    sql.delete(db, resource.name, condition)
    return [row["uuid"] for row in rows]


def _system_user_uuid(db: sqlite3.Connection) -> str:
    (cluster_id,) = db.execute("SELECT value FROM meta WHERE key = 'cluster_id'").fetchone()
    return wellknown.system_user(cluster_id)
