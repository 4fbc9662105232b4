"""Methods of links: tags, favorites, and permissions.

(Arvados documentation, "API Reference", "Links"; "Permission model".)
"""

from __future__ import annotations

import sqlite3
from typing import Any

from arvados_fuse.standalone.api import records
from arvados_fuse.standalone.api.errors import Forbidden, NotFound, Unprocessable
from arvados_fuse.standalone.api.lists import CREATE_PARAMETERS, SELECT, answer, selected
from arvados_fuse.standalone.api.method import Call, Method
from arvados_fuse.standalone.api.plain import UUID, get_method, list_method
from arvados_fuse.standalone.api.presentation import present, usual_attributes
from arvados_fuse.standalone.records import access, sql, versions
from arvados_fuse.standalone.records.codec import decoded
from arvados_fuse.standalone.records.conditions import Condition
from arvados_fuse.standalone.records.listing import Page
from arvados_fuse.standalone.records.tables import (
    COLLECTIONS,
    GROUPS,
    LINKS,
    USERS,
    resource_of_uuid,
)

__all__ = ["METHODS"]

Record = dict[str, Any]

_PERMISSION = "permission"


def _create(call: Call) -> Record:
    names, _ = selected(call, LINKS)
    values = records.accepted(call, LINKS, None)
    _check_class(values)
    with call.core.database.write() as db:
        _check_ends(db, call, values)
        if values["link_class"] == _PERMISSION:
            record = _grant(db, call, values)
        else:
            record = records.insert(db, call, LINKS, records.new_record(call, LINKS, values))
    return present(call, LINKS, record, names)


def _check_class(values: Record) -> None:
    if not values.get("link_class"):
        raise Unprocessable("Link class cannot be blank")
    if values["link_class"] == "name":
        raise Unprocessable("Name links are obsolete: give the object a name, or make a star")


def _check_ends(db: sqlite3.Connection, call: Call, values: Record) -> None:
    """Check that the caller may see what a link is from and to, where these are objects."""
    for end in ("head_uuid", "tail_uuid"):
        uuid = values.get(end)
        resource = resource_of_uuid(uuid)
        if uuid is None or resource is None:
            continue
        try:
            records.find(db, call, resource, uuid)
        except NotFound:
            raise Unprocessable(f"{end} {uuid} not found") from None


def _grant(db: sqlite3.Connection, call: Call, values: Record) -> Record:
    """Return the permission link with these values: new, or the one that is there, raised."""
    tail_uuid, head_uuid = values.get("tail_uuid"), values.get("head_uuid")
    _check_level(values.get("name"))
    _check_tail(db, call, tail_uuid)
    _check_head(db, call, head_uuid)
    _check_manager(db, call, str(head_uuid))
    known = Condition(
        "link_class = ? AND tail_uuid = ? AND head_uuid = ?", (_PERMISSION, tail_uuid, head_uuid)
    )
    row = sql.select(db, LINKS.small_columns, LINKS.name, known, limit=1).fetchone()
    if row is None:
        record = records.new_record(call, LINKS, values)
        record["owner_uuid"] = call.core.system_user_uuid
        return records.insert(db, call, LINKS, record, is_permitted=True)
    current = decoded(LINKS, row)
    if access.LEVELS[values["name"]] <= access.LEVELS[current["name"]]:
        return current
    return records.update(db, call, LINKS, current, {"name": values["name"]}, is_permitted=True)


def _check_level(name: str | None) -> None:
    if name not in access.LEVELS:
        raise Unprocessable(f"The name of a permission has to be one of {', '.join(access.LEVELS)}")


def _check_tail(db: sqlite3.Connection, call: Call, uuid: str | None) -> None:
    resource = resource_of_uuid(uuid)
    if uuid is not None and resource is USERS:
        return
    is_group = uuid is not None and resource is GROUPS
    if is_group and records.find(db, call, GROUPS, str(uuid))["group_class"] == "role":
        return
    raise Unprocessable("tail_uuid of a permission has to be a user or a role")


def _check_head(db: sqlite3.Connection, call: Call, uuid: str | None) -> None:
    resource = resource_of_uuid(uuid)
    if resource is None:
        raise Unprocessable("head_uuid of a permission has to be the uuid of an object")
    # A permission on a collection is one on all its versions; there is none on one of them.
    if resource is COLLECTIONS and versions.is_old(records.find(db, call, resource, str(uuid))):
        raise Unprocessable(f"head_uuid {uuid} is an old version: give a permission on the current")


def _check_manager(db: sqlite3.Connection, call: Call, head_uuid: str) -> None:
    """Check that the caller may say who may do what with an object."""
    resource = resource_of_uuid(head_uuid)
    owner_uuid = None
    if resource is COLLECTIONS:
        owner_uuid = records.find(db, call, resource, head_uuid)["owner_uuid"]
    if not access.may(db, call.caller, access.MANAGE, head_uuid, owner_uuid):
        raise Forbidden(f"You do not manage {head_uuid}")


def _update(call: Call) -> Record:
    names, columns = selected(call, LINKS)
    with call.core.database.write() as db:
        current = records.find(db, call, LINKS, call.parameters["uuid"], columns=columns)
        changes = records.accepted(call, LINKS, current)
        is_permission = current["link_class"] == _PERMISSION
        if is_permission:
            _check_permission_change(db, call, current, changes)
        elif changes.get("link_class") == _PERMISSION:
            raise Unprocessable("A link that is there cannot become a permission: make a new one")
        else:
            _check_class({**current, **changes})
            _check_ends(db, call, changes)
        record = records.update(db, call, LINKS, current, changes, is_permitted=is_permission)
    return present(call, LINKS, record, names)


def _check_permission_change(
    db: sqlite3.Connection, call: Call, current: Record, changes: Record
) -> None:
    fixed = changes.keys() - {"name", "properties"}
    if fixed:
        raise Unprocessable(f"{min(fixed)} of a permission cannot be changed: make a new one")
    _check_level({**current, **changes}["name"])
    _check_manager(db, call, current["head_uuid"])


def _delete(call: Call) -> Record:
    with call.core.database.write() as db:
        current = records.find(db, call, LINKS, call.parameters["uuid"])
        is_permission = current["link_class"] == _PERMISSION
        if is_permission:
            _check_manager(db, call, current["head_uuid"])
        records.delete(db, call, LINKS, current, is_permitted=is_permission)
    return present(call, LINKS, current, usual_attributes(LINKS, in_list=False))


def _permissions(call: Call) -> Record:
    """List who has which permission on an object."""
    uuid = call.parameters["uuid"]
    resource = resource_of_uuid(uuid)
    if resource is None:
        raise NotFound(f"Path not found: no object {uuid!r:.60}")
    names = usual_attributes(LINKS, in_list=True)
    condition = Condition("link_class = ? AND head_uuid = ?", (_PERMISSION, uuid))
    with call.core.database.read() as db:
        records.find(db, call, resource, uuid)
        _check_manager(db, call, uuid)
        rows = sql.select(
            db, LINKS.small_columns, LINKS.name, condition, "ORDER BY uuid"
        ).fetchall()
    items = [present(call, LINKS, decoded(LINKS, row), names) for row in rows]
    return answer(f"{LINKS.kind}List", items, len(items), Page(limit=len(items)))


METHODS = (
    get_method(LINKS),
    list_method(LINKS),
    Method(
        id="links.create",
        http_method="POST",
        path="links",
        run=_create,
        description="Make a link; a permission that is there already is raised to the new level.",
        parameters=CREATE_PARAMETERS,
        response=LINKS.class_name,
        takes=LINKS,
    ),
    Method(
        id="links.update",
        http_method="PUT",
        path="links/{uuid}",
        run=_update,
        description="Change attributes of a link.",
        parameters={"uuid": UUID, "select": SELECT},
        response=LINKS.class_name,
        takes=LINKS,
    ),
    Method(
        id="links.delete",
        http_method="DELETE",
        path="links/{uuid}",
        run=_delete,
        description="Remove a link.",
        parameters={"uuid": UUID},
        response=LINKS.class_name,
    ),
    Method(
        id="links.get_permissions",
        http_method="GET",
        path="permissions/{uuid}",
        run=_permissions,
        description="List the permissions on an object that the caller manages.",
        parameters={"uuid": UUID},
        response=f"{LINKS.class_name}List",
    ),
)
