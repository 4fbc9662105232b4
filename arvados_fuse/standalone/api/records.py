"""Finding, making and changing records of any resource, by the rules that all of them share.

(Arvados documentation, "Common resource fields", "Common resource methods".)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from arvados_fuse.standalone.api.errors import Forbidden, NotFound, Unprocessable
from arvados_fuse.standalone.api.method import Call
from arvados_fuse.standalone.randoms import new_uuid
from arvados_fuse.standalone.records import access, audit, sql, trash, versions
from arvados_fuse.standalone.records.codec import ValueInvalid, checked_value, decoded, encoded
from arvados_fuse.standalone.records.conditions import Condition
from arvados_fuse.standalone.records.listing import fetch_one
from arvados_fuse.standalone.records.model import Attribute, Resource, Writable
from arvados_fuse.standalone.records.tables import (
    COLLECTIONS,
    GROUPS,
    LOGS,
    NAME_LENGTH,
    USERS,
    resource_of_uuid,
)

__all__ = [
    "NOT_TRASHED",
    "accepted",
    "check_file_name",
    "delete",
    "find",
    "insert",
    "new_record",
    "settle_trash",
    "update",
]

Record = dict[str, Any]

NOT_TRASHED: Record = {"trash_at": None, "delete_at": None, "is_trashed": False}
"""The trash attributes of a record that is being made."""


def find(
    db: sqlite3.Connection,
    call: Call,
    resource: Resource,
    uuid: str,
    *,
    columns: Sequence[str] | None = None,
    include_trash: bool = False,
) -> Record:
    """Return the record `uuid`, with its small columns or those named.

    Raises NotFound if the caller may not see one.
    """
    row = fetch_one(db, resource, columns or resource.small_columns, Condition("uuid = ?", (uuid,)))
    if row is not None:
        record = decoded(resource, row)
        if call.may_see(db, resource, record, include_trash=include_trash):
            return record
    raise NotFound(f"Path not found: no {resource.singular} {uuid!r:.60}")


def accepted(call: Call, resource: Resource, current: Record | None) -> Record:
    """Return what the caller may set of the attributes that the call gives, each checked.

    `current` is the record to be changed, None for a new one. Values that the record has already
    are left out. Raises Unprocessable for unknown attributes, for values of a wrong type, and for
    values that only the server sets.
    """
    changes: Record = {}
    for name, value in call.attributes.items():
        attribute = resource.by_name.get(name)
        if attribute is None and name != "href":
            raise Unprocessable(f"unknown attribute {name!r:.100} for {resource.class_name}")
        if attribute is None or attribute.writable is Writable.IGNORED:
            continue
        try:
            value = checked_value(attribute, value)  # noqa: PLW2901 (the checked form of the same)
        except ValueInvalid as error:
            raise Unprocessable(str(error)) from None
        if current is not None and name in current and current[name] == value:
            continue
        if attribute.writable is Writable.COMPUTED:
            if current is not None:
                raise Unprocessable(f"{name} cannot be changed")
            continue
        _check_privilege(call, attribute, value)
        changes[name] = value
    if changes.get("description") == "":
        changes["description"] = None
    return changes


def _check_privilege(call: Call, attribute: Attribute, value: Any) -> None:
    if call.caller.is_admin:
        return
    if attribute.name == "uuid":
        raise Unprocessable("uuid can only be set by an administrator")
    if attribute.writable is Writable.ADMIN and value not in (None, attribute.default):
        raise Unprocessable(f"{attribute.name} can only be set by an administrator")


def check_file_name(name: str | None) -> None:
    """Raise Unprocessable for a name that a file system could not show."""
    if name in (".", ".."):
        raise Unprocessable(f"Name cannot be {name!r}")
    if name and "/" in name:
        raise Unprocessable("Name cannot contain a '/' character")


def new_record(call: Call, resource: Resource, values: Mapping[str, Any]) -> Record:
    """Return a complete record of `resource`: defaults, then `values`, then the server's own."""
    record = {attribute.name: attribute.default for attribute in resource.columns}
    record.update(values)
    record["uuid"] = values.get("uuid") or new_uuid(call.core.cluster_id, resource.infix)
    record["owner_uuid"] = values.get("owner_uuid") or call.caller.user_uuid
    record["created_at"] = record["modified_at"] = call.now
    record["modified_by_user_uuid"] = call.caller.user_uuid
    return record


def settle_trash(call: Call, current: Mapping[str, Any], changes: Record) -> Record:
    """Return `changes` with trash attributes that fit each other. Raises Unprocessable."""
    if not {"trash_at", "delete_at", "is_trashed"} & changes.keys():
        return changes
    try:
        return trash.settled(current, changes, call.now, call.core.limits)
    except trash.TimesInvalid as error:
        raise Unprocessable(str(error)) from None


def insert(
    db: sqlite3.Connection,
    call: Call,
    resource: Resource,
    record: Record,
    *,
    ensure_unique_name: bool = False,
    is_permitted: bool = False,
) -> Record:
    """Store a complete new record and return it as it is stored.

    Every new record comes through here. With `is_permitted`, the caller of this function has
    checked that the owner is right and the request allowed. Raises Unprocessable (name or uuid
    taken, owner that cannot be one) and Forbidden.
    """
    _check_new_uuid(db, resource, record["uuid"])
    if not is_permitted:
        _check_owner(db, call, resource, record)

    def write(record: Record) -> None:
        number = sql.insert(db, resource.name, encoded(resource, record))
        if "id" in resource.by_name:
            record["id"] = number

    record = _with_free_name(write, record, record["uuid"], ensure_unique_name)
    _note(db, call, resource, None, record)
    return record


def update(
    db: sqlite3.Connection,
    call: Call,
    resource: Resource,
    current: Record,
    changes: Record,
    *,
    ensure_unique_name: bool = False,
    is_permitted: bool = False,
) -> Record:
    """Store `changes` of the record `current` and return it as it then is.

    Every change comes through here. If nothing differs, nothing happens, not even to
    ``modified_at``. With `is_permitted`, the caller of this function has checked that the request
    is allowed. Raises Unprocessable and Forbidden.
    """
    if not is_permitted:
        _check_may_change(db, call, resource, current)
    changes = {k: v for k, v in changes.items() if k not in current or current[k] != v}
    if not changes:
        return current
    _check_changes(db, call, resource, current, changes)
    changes["modified_at"] = call.now
    changes["modified_by_user_uuid"] = call.caller.user_uuid

    def write(record: Record) -> None:
        values = encoded(resource, {name: record[name] for name in changes})
        sql.update(db, resource.name, values, Condition("uuid = ?", (current["uuid"],)))

    if ensure_unique_name:
        changes.setdefault("name", current["name"])
    if "version" in changes:
        versions.save(db, current["uuid"], new_uuid(call.core.cluster_id, resource.infix))
    record = _with_free_name(write, {**current, **changes}, current["uuid"], ensure_unique_name)
    if resource is COLLECTIONS:
        versions.follow(db, current["uuid"], changes)
    _note(db, call, resource, current, record)
    return record


def _check_changes(
    db: sqlite3.Connection, call: Call, resource: Resource, current: Record, changes: Record
) -> None:
    """Check what does not hang on who makes the changes alone."""
    if resource is COLLECTIONS and versions.is_old(current):
        raise Unprocessable(f"{current['uuid']} is an old version, which cannot be changed")
    if resource is GROUPS and changes.get("is_trashed"):
        _check_may_be_trashed(db, current)
    if "uuid" in changes:
        _check_new_uuid(db, resource, changes["uuid"])
    if "owner_uuid" in changes:
        if not access.may_write(db, call.caller, current["owner_uuid"], None):
            raise Forbidden(f"You may not take anything out of {current['owner_uuid']}")
        _check_owner(db, call, resource, {**current, **changes})


def _check_may_change(
    db: sqlite3.Connection, call: Call, resource: Resource, current: Record
) -> None:
    uuid, owner_uuid = current["uuid"], current["owner_uuid"]
    if not access.may_write(db, call.caller, uuid, owner_uuid):
        raise Forbidden(f"You may not change {uuid}")
    is_role = resource is GROUPS and current["group_class"] == "role"
    # Members of a role may write to it, which is how they have it; they do not decide on it.
    if is_role and not access.may(db, call.caller, access.MANAGE, uuid, owner_uuid):
        raise Forbidden(f"You do not manage {uuid}")


def _check_may_be_trashed(db: sqlite3.Connection, current: Record) -> None:
    if access.contains_frozen(db, current["uuid"]):
        raise Unprocessable(f"{current['uuid']} cannot be trashed: a project inside it is frozen")


def delete(
    db: sqlite3.Connection,
    call: Call,
    resource: Resource,
    current: Record,
    *,
    is_permitted: bool = False,
) -> None:
    """Remove the record `current` for good. `is_permitted` as in `update`. Raises Forbidden."""
    if not is_permitted:
        _check_may_change(db, call, resource, current)
    sql.delete(db, resource.name, Condition("uuid = ?", (current["uuid"],)))
    _note(db, call, resource, current, None)


def _note(
    db: sqlite3.Connection, call: Call, resource: Resource, old: Record | None, new: Record | None
) -> None:
    if resource is not LOGS:
        audit.note_change(db, resource, old, new, by_uuid=call.caller.user_uuid, now=call.now)


def _with_free_name(write: Any, record: Record, uuid: str, ensure_unique_name: bool) -> Record:
    """Run `write` on `record`; with another name if that is wanted and the first is taken."""
    names: Iterable[Any] = (record.get("name"),)
    if ensure_unique_name and record.get("name"):
        suffix = f" ({uuid[-15:]})"
        names = (record["name"], record["name"][: NAME_LENGTH - len(suffix)] + suffix)
    for name in names:
        if name is not None:
            record = {**record, "name": name}
        try:
            write(record)
        except sqlite3.IntegrityError as error:
            problem = str(error).rpartition(": ")[2]
        else:
            return record
    raise Unprocessable(f"duplicate key value violates unique constraint on ({problem})")


def _check_new_uuid(db: sqlite3.Connection, resource: Resource, uuid: str) -> None:
    if resource_of_uuid(uuid) is not resource:
        raise Unprocessable(f"uuid {uuid!r:.60} is not one of a {resource.singular}")
    if fetch_one(db, resource, ["uuid"], Condition("uuid = ?", (uuid,))):
        raise Unprocessable(f"duplicate key value violates unique constraint: uuid {uuid} exists")


def _check_owner(db: sqlite3.Connection, call: Call, resource: Resource, record: Record) -> None:
    """Check that the owner of `record` can be its owner, and that the caller may use it so."""
    owner_uuid = record["owner_uuid"]
    kind = resource_of_uuid(owner_uuid)
    if kind not in (USERS, GROUPS):
        raise Unprocessable(f"Owner uuid {owner_uuid!r:.60} is neither a user nor a project")
    assert kind is not None
    try:
        owner = find(db, call, kind, owner_uuid)
    except NotFound:
        raise Unprocessable(f"Owner uuid {owner_uuid} not found") from None
    if kind is GROUPS and owner["group_class"] != "project":
        raise Unprocessable(f"Owner uuid {owner_uuid} is a group that is not a project")
    if not access.may_write(db, call.caller, owner_uuid, owner["owner_uuid"]):
        raise Forbidden(f"You may not write in {owner_uuid}")
    if resource is GROUPS and access.is_inside(db, owner_uuid, record["uuid"]):
        raise Unprocessable("Owner uuid would make a project contain itself")
