"""Records as clients see them: the stored attributes and those that are computed on the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from arvados_fuse.standalone import clock, identity, manifest_text
from arvados_fuse.standalone.api.method import Call
from arvados_fuse.standalone.records import access
from arvados_fuse.standalone.records.codec import etag
from arvados_fuse.standalone.records.model import Resource
from arvados_fuse.standalone.records.tables import COLLECTIONS, resource_of_uuid

__all__ = ["present", "usual_attributes"]

_WRITERS = (
    "SELECT tail_uuid FROM links WHERE link_class = 'permission' AND head_uuid = ?"
    " AND name IN ('can_write', 'can_manage') ORDER BY id"
)

_ALWAYS = ("kind", "etag", "writable_by")
"""Attributes that a record has even if a request selects others."""

Record = Mapping[str, Any]


def usual_attributes(resource: Resource, *, in_list: bool) -> list[str]:
    """Return the names of the attributes that a record has unless the request selects some."""
    return [
        attribute.name
        for attribute in resource.attributes
        if attribute.shown and not attribute.selected_only and not (in_list and attribute.large)
    ]


def present(
    call: Call, resource: Resource, record: Record, names: Sequence[str], *, sign: bool = True
) -> dict[str, Any]:
    """Return the attributes `names` of a record, and those that every record has.

    `record` has at least the columns that they are made of. Unless `sign` is false, the locators
    of a manifest are signed for the token of the caller.
    """
    always = [name for name in _ALWAYS if name in resource.by_name and name not in names]
    shown: dict[str, Any] = {}
    for name in (*names, *always):
        computed = _COMPUTED.get(name)
        if computed is not None:
            shown[name] = computed(call, resource, record)
        elif name in record:
            shown[name] = record[name]
    if resource is COLLECTIONS:
        _shape_collection(call, record, shown, sign)
    return shown


def _shape_collection(call: Call, record: Record, shown: dict[str, Any], sign: bool) -> None:
    if shown.get("name", "") is None:
        shown["name"] = ""
    in_trash = record.get("trash_at") is not None and record["trash_at"] <= call.now
    if "manifest_text" in shown and sign and not in_trash:
        shown["manifest_text"] = _signed(call, record)


def _signed(call: Call, record: Record) -> str:
    """Sign the manifest until the usual time, or until the collection goes into the trash."""
    expiry_s = int(clock.seconds(call.now)) + call.core.signer.ttl_s
    if record.get("trash_at") is not None:
        expiry_s = min(expiry_s, int(clock.seconds(record["trash_at"])))
    return manifest_text.signed(
        record["manifest_text"], call.core.signer, call.caller.token, expiry_s
    )


def _kind_of(uuid: str | None) -> str | None:
    resource = resource_of_uuid(uuid)
    return resource.kind if resource else None


def _writable_by(call: Call, _resource: Resource, record: Record) -> list[str]:
    """Return who can change a record, as far as the caller may know."""
    if call.rights.is_frozen(record):
        return []
    owner_uuid, caller_uuid = record["owner_uuid"], call.caller.user_uuid
    level = call.rights.level(record)
    if level < access.WRITE:
        return [owner_uuid]
    found = [owner_uuid, caller_uuid]
    if level >= access.MANAGE:
        with call.core.database.read() as db:
            rows = db.execute(_WRITERS, (record["uuid"],)).fetchall()
        found += [row["tail_uuid"] for row in rows]
    return list(dict.fromkeys(found))


def _is_invited(call: Call, _resource: Resource, user: Record) -> bool:
    if user["is_active"]:
        return True
    with call.core.database.read() as db:
        return identity.is_set_up(db, call.core.cluster_id, user["uuid"])


_COMPUTED: dict[str, Callable[[Call, Resource, Record], Any]] = {
    "kind": lambda _call, resource, _record: resource.kind,
    "etag": lambda _call, resource, record: etag(resource, record),
    "can_write": lambda call, _resource, record: call.rights.can(access.WRITE, record),
    "can_manage": lambda call, _resource, record: call.rights.can(access.MANAGE, record),
    "writable_by": _writable_by,
    "full_name": lambda _call, _resource, r: f"{r['first_name']} {r['last_name']}".strip(),
    "is_invited": _is_invited,
    "head_kind": lambda _call, _resource, record: _kind_of(record["head_uuid"]),
    "tail_kind": lambda _call, _resource, record: _kind_of(record["tail_uuid"]),
    "object_kind": lambda _call, _resource, record: _kind_of(record["object_uuid"]),
    "unsigned_manifest_text": lambda _call, _resource, record: record.get("manifest_text"),
}
"""Attributes that are not stored, by name: they mean the same in every resource that has them."""
