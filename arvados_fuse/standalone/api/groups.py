"""Methods of groups: projects, roles, and filter groups.

Projects hold things, roles have members, filter groups show what their filters choose.

(Arvados documentation, "API Reference", "Groups"; "Frozen projects".)
"""

from __future__ import annotations

import sqlite3
from typing import Any

from arvados_fuse.standalone.api import records
from arvados_fuse.standalone.api.contents import CONTENTS_METHODS, check_stored_filters
from arvados_fuse.standalone.api.errors import Forbidden, Unprocessable
from arvados_fuse.standalone.api.lists import (
    CREATE_PARAMETERS,
    INCLUDE_TRASH,
    SELECT,
    selected,
)
from arvados_fuse.standalone.api.method import Call, Method, Parameter
from arvados_fuse.standalone.api.plain import UUID, get_method, list_method
from arvados_fuse.standalone.api.presentation import present
from arvados_fuse.standalone.api.trashing import trash_methods
from arvados_fuse.standalone.records import access
from arvados_fuse.standalone.records.tables import GROUPS, LINKS

__all__ = ["METHODS", "new_group"]

Record = dict[str, Any]

_CLASSES = ("project", "role", "filter")
_ASYNC = Parameter("boolean", "Permissions may follow later. (Here they never do.)", default=False)


def new_group(call: Call) -> Record:
    """Return the record of a new group with the attributes of `call`, to be inserted.

    Raises Unprocessable.
    """
    values = records.accepted(call, GROUPS, None)
    if values.get("group_class") not in _CLASSES:
        raise Unprocessable(f"Group class has to be one of {', '.join(_CLASSES)}")
    if values.get("frozen_by_uuid") is not None:
        raise Unprocessable("A project cannot be frozen while it is made")
    values = records.settle_trash(call, records.NOT_TRASHED, values)
    record = records.new_record(call, GROUPS, values)
    record["name"] = record["name"] or record["uuid"]
    _check_values(record)
    if record["group_class"] == "role":
        record["owner_uuid"] = call.core.system_user_uuid
    return record


def _check_values(record: Record) -> None:
    if record["group_class"] != "role":
        records.check_file_name(record["name"])
    if record["group_class"] == "filter":
        check_stored_filters(record["properties"])


def _create(call: Call) -> Record:
    names, _ = selected(call, GROUPS)
    record = new_group(call)
    is_role = record["group_class"] == "role"
    if is_role and not call.caller.is_active:
        raise Forbidden("Inactive users cannot make roles")
    with call.core.database.write() as db:
        record = records.insert(
            db,
            call,
            GROUPS,
            record,
            ensure_unique_name=call.parameters["ensure_unique_name"],
            is_permitted=is_role,
        )
        if is_role and not call.caller.is_admin:
            _let_manage(db, call, record["uuid"])
    return present(call, GROUPS, record, names)


def _let_manage(db: sqlite3.Connection, call: Call, role_uuid: str) -> None:
    """Let the caller manage the role that he has made; it is the system user that owns it."""
    values = {
        "owner_uuid": call.core.system_user_uuid,
        "link_class": "permission",
        "name": "can_manage",
        "tail_uuid": call.caller.user_uuid,
        "head_uuid": role_uuid,
    }
    link = records.new_record(call, LINKS, values)
    records.insert(db, call, LINKS, link, is_permitted=True)


def _update(call: Call) -> Record:
    names, columns = selected(call, GROUPS)
    with call.core.database.write() as db:
        current = records.find(db, call, GROUPS, call.parameters["uuid"], columns=columns)
        changes = records.accepted(call, GROUPS, current)
        if "group_class" in changes:
            raise Unprocessable("Group class cannot be changed")
        if "name" in changes:
            changes["name"] = changes["name"] or current["uuid"]
        _check_values({**current, **changes})
        changes = records.settle_trash(call, current, changes)
        is_permitted = "frozen_by_uuid" in changes
        if is_permitted:
            _check_freezing(db, call, current, changes)
        record = records.update(db, call, GROUPS, current, changes, is_permitted=is_permitted)
    return present(call, GROUPS, record, names)


def _check_freezing(db: sqlite3.Connection, call: Call, current: Record, changes: Record) -> None:
    """Check that the caller may freeze a project, or thaw it."""
    if current["group_class"] != "project":
        raise Unprocessable("Only projects can be frozen")
    if not access.may(db, call.caller, access.MANAGE, current["uuid"], current["owner_uuid"]):
        raise Forbidden(f"You do not manage {current['uuid']}")
    if access.is_frozen(db, current["owner_uuid"]):
        raise Forbidden(f"{current['uuid']} is in a frozen project")
    if changes["frozen_by_uuid"] not in (None, call.caller.user_uuid):
        raise Unprocessable("frozen_by_uuid can be set to your own uuid, or to null")
    if changes["frozen_by_uuid"] is not None and {**current, **changes}["is_trashed"]:
        raise Unprocessable("What is in the trash cannot be frozen")
    if current["frozen_by_uuid"] is not None and changes.keys() != {"frozen_by_uuid"}:
        raise Forbidden(f"{current['uuid']} is frozen: thaw it before you change it")
    if "owner_uuid" in changes:
        raise Unprocessable("Move a project before you freeze it")


METHODS = (
    get_method(GROUPS, include_trash=INCLUDE_TRASH),
    *CONTENTS_METHODS,
    Method(
        id="groups.create",
        http_method="POST",
        path="groups",
        run=_create,
        description="Make a project, a role or a filter group.",
        parameters={**CREATE_PARAMETERS, "async": _ASYNC},
        response=GROUPS.class_name,
        takes=GROUPS,
    ),
    list_method(GROUPS, include_trash=INCLUDE_TRASH),
    Method(
        id="groups.update",
        http_method="PUT",
        path="groups/{uuid}",
        run=_update,
        description="Change attributes of a group.",
        parameters={"uuid": UUID, "select": SELECT, "async": _ASYNC},
        response=GROUPS.class_name,
        takes=GROUPS,
    ),
    *trash_methods(GROUPS),
)
