"""Methods of groups. Those that exist here are projects.

(Arvados documentation, "API Reference", "Groups".)
"""

from __future__ import annotations

from typing import Any

from arvados_fuse.standalone.api import records
from arvados_fuse.standalone.api.contents import CONTENTS_METHODS
from arvados_fuse.standalone.api.errors import Unprocessable
from arvados_fuse.standalone.api.lists import INCLUDE_TRASH, SELECT, selected
from arvados_fuse.standalone.api.method import Call, Method
from arvados_fuse.standalone.api.plain import UUID, get_method, list_method
from arvados_fuse.standalone.api.presentation import present
from arvados_fuse.standalone.api.trashing import ENSURE_UNIQUE_NAME, trash_methods
from arvados_fuse.standalone.records.tables import GROUPS

__all__ = ["METHODS", "new_group"]

Record = dict[str, Any]


def new_group(call: Call) -> Record:
    """Return the record of a new project with the attributes of `call`, to be inserted.

    Raises Unprocessable.
    """
    values = records.accepted(call, GROUPS, None)
    if values.get("group_class") != "project":
        raise Unprocessable("Group class has to be 'project'")
    records.check_file_name(values.get("name"))
    values = records.settle_trash(call, records.NOT_TRASHED, values)
    record = records.new_record(call, GROUPS, values)
    record["name"] = record["name"] or record["uuid"]
    return record


def _create(call: Call) -> Record:
    names, _ = selected(call, GROUPS)
    record = new_group(call)
    with call.core.database.write() as db:
        record = records.insert(
            db, call, GROUPS, record, ensure_unique_name=call.parameters["ensure_unique_name"]
        )
    return present(call, GROUPS, record, names)


def _update(call: Call) -> Record:
    names, columns = selected(call, GROUPS)
    with call.core.database.write() as db:
        current = records.find(db, call, GROUPS, call.parameters["uuid"], columns=columns)
        changes = records.accepted(call, GROUPS, current)
        if "group_class" in changes:
            raise Unprocessable("Group class cannot be changed")
        if "name" in changes:
            records.check_file_name(changes["name"])
            changes["name"] = changes["name"] or current["uuid"]
        changes = records.settle_trash(call, current, changes)
        record = records.update(db, call, GROUPS, current, changes)
    return present(call, GROUPS, record, names)


METHODS = (
    get_method(GROUPS, include_trash=INCLUDE_TRASH),
    *CONTENTS_METHODS,
    Method(
        id="groups.create",
        http_method="POST",
        path="groups",
        run=_create,
        description="Make a project.",
        parameters={"select": SELECT, "ensure_unique_name": ENSURE_UNIQUE_NAME},
        response=GROUPS.class_name,
        takes=GROUPS,
    ),
    list_method(GROUPS, include_trash=INCLUDE_TRASH),
    Method(
        id="groups.update",
        http_method="PUT",
        path="groups/{uuid}",
        run=_update,
        description="Change attributes of a project.",
        parameters={"uuid": UUID, "select": SELECT},
        response=GROUPS.class_name,
        takes=GROUPS,
    ),
    *trash_methods(GROUPS),
)
