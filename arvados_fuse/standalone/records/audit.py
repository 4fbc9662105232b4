"""The log: one entry for each change of a record, written in the transaction of the change.

Entries hold the attributes before and after, but neither the content of collections nor secrets:
a large manifest in every entry would make each save as slow as three. (Arvados documentation,
"API Reference", "Logs"; "Configuration reference", ``AuditLogs.UnloggedAttributes``.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from arvados_fuse.standalone.randoms import new_uuid
from arvados_fuse.standalone.records import sql
from arvados_fuse.standalone.records.codec import encoded, etag
from arvados_fuse.standalone.records.conditions import Condition
from arvados_fuse.standalone.records.model import Resource
from arvados_fuse.standalone.records.tables import COLLECTIONS, LOGS, TOKENS

__all__ = ["forget_before", "note_change"]

Record = Mapping[str, Any]

_SECRET = {TOKENS.name: {"api_token"}}
_NOT_WORTH_AN_ENTRY = {COLLECTIONS.name: {"preserve_version"}}
_ALWAYS_CHANGED = {"modified_at", "modified_by_user_uuid"}


def note_change(
    db: sqlite3.Connection,
    resource: Resource,
    old: Record | None,
    new: Record | None,
    *,
    by_uuid: str,
    now: str,
) -> None:
    """Add the entry for a change from `old` (None: it is new) to `new` (None: it is gone).

    Both have at least the small columns. `by_uuid` is the user who made the change.
    """
    record = new if new is not None else old
    assert record is not None, "a change needs a record"
    if old is not None and new is not None:
        changed = {name for name in new if old.get(name) != new[name]} - _ALWAYS_CHANGED
        if changed <= _NOT_WORTH_AN_ENTRY.get(resource.name, set()):
            return
    event_type = "create" if old is None else "delete" if new is None else "update"
    (cluster_id,) = db.execute("SELECT value FROM meta WHERE key = 'cluster_id'").fetchone()
    entry = {
        "uuid": new_uuid(cluster_id, LOGS.infix),
        "owner_uuid": by_uuid,
        "created_at": now,
        "modified_at": now,
        "modified_by_user_uuid": by_uuid,
        "object_uuid": record["uuid"],
        "object_owner_uuid": record["owner_uuid"],
        "event_type": event_type,
        "event_at": now,
        "summary": f"{event_type} of {record['uuid']}",
        "properties": {
            "old_etag": old and etag(resource, old),
            "old_attributes": old and _attributes(resource, old),
            "new_etag": new and etag(resource, new),
            "new_attributes": new and _attributes(resource, new),
        },
    }
    sql.insert(db, LOGS.name, encoded(LOGS, entry))


def _attributes(resource: Resource, record: Record) -> dict[str, Any]:
    secret = _SECRET.get(resource.name, set())
    return {name: record[name] for name in resource.small_columns if name not in secret}


def forget_before(db: sqlite3.Connection, moment: str) -> None:
    """Remove the entries that are older than `moment`."""
    sql.delete(db, LOGS.name, Condition("created_at < ?", (moment,)))
