"""Methods of workflows.

(Arvados documentation, "API Reference", "Workflows".)
"""

from __future__ import annotations

from typing import Any

from arvados_fuse.standalone.api import records
from arvados_fuse.standalone.api.lists import CREATE_PARAMETERS, SELECT, selected
from arvados_fuse.standalone.api.method import Call, Method
from arvados_fuse.standalone.api.plain import UUID, get_method, list_method
from arvados_fuse.standalone.api.presentation import present, usual_attributes
from arvados_fuse.standalone.records.tables import WORKFLOWS

__all__ = ["METHODS"]

Record = dict[str, Any]


def _create(call: Call) -> Record:
    names, _ = selected(call, WORKFLOWS)
    record = records.new_record(call, WORKFLOWS, records.accepted(call, WORKFLOWS, None))
    with call.core.database.write() as db:
        record = records.insert(db, call, WORKFLOWS, record)
    return present(call, WORKFLOWS, record, names)


def _update(call: Call) -> Record:
    names, columns = selected(call, WORKFLOWS)
    with call.core.database.write() as db:
        current = records.find(db, call, WORKFLOWS, call.parameters["uuid"], columns=columns)
        changes = records.accepted(call, WORKFLOWS, current)
        record = records.update(db, call, WORKFLOWS, current, changes)
    return present(call, WORKFLOWS, record, names)


def _delete(call: Call) -> Record:
    names = usual_attributes(WORKFLOWS, in_list=True)
    with call.core.database.write() as db:
        current = records.find(db, call, WORKFLOWS, call.parameters["uuid"])
        records.delete(db, call, WORKFLOWS, current)
    return present(call, WORKFLOWS, current, names)


METHODS = (
    get_method(WORKFLOWS),
    list_method(WORKFLOWS),
    Method(
        id="workflows.create",
        http_method="POST",
        path="workflows",
        run=_create,
        description="Store the definition of a workflow.",
        parameters=CREATE_PARAMETERS,
        response=WORKFLOWS.class_name,
        takes=WORKFLOWS,
    ),
    Method(
        id="workflows.update",
        http_method="PUT",
        path="workflows/{uuid}",
        run=_update,
        description="Change attributes of a workflow.",
        parameters={"uuid": UUID, "select": SELECT},
        response=WORKFLOWS.class_name,
        takes=WORKFLOWS,
    ),
    Method(
        id="workflows.delete",
        http_method="DELETE",
        path="workflows/{uuid}",
        run=_delete,
        description="Remove a workflow.",
        parameters={"uuid": UUID},
        response=WORKFLOWS.class_name,
    ),
)
