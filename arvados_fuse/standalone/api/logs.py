"""Methods of the log.

Most entries are made with the changes that they tell about (see ``records.audit``); clients can
add some of their own. (Arvados documentation, "API Reference", "Logs".)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from arvados_fuse.standalone.api import records
from arvados_fuse.standalone.api.errors import Forbidden
from arvados_fuse.standalone.api.lists import CREATE_PARAMETERS, SELECT, selected
from arvados_fuse.standalone.api.method import Call, Method
from arvados_fuse.standalone.api.plain import UUID, get_method, list_method
from arvados_fuse.standalone.api.presentation import present, usual_attributes
from arvados_fuse.standalone.records.tables import LOGS

__all__ = ["METHODS"]


def _create(call: Call) -> dict[str, Any]:
    names, _ = selected(call, LOGS)
    record = records.new_record(call, LOGS, records.accepted(call, LOGS, None))
    record["event_at"] = record["event_at"] or call.now
    with call.core.database.write() as db:
        record = records.insert(db, call, LOGS, record)
    return present(call, LOGS, record, names)


def _update(call: Call) -> dict[str, Any]:
    names, columns = selected(call, LOGS)
    with call.core.database.write() as db:
        current = _found_by_administrator(db, call, columns)
        changes = records.accepted(call, LOGS, current)
        record = records.update(db, call, LOGS, current, changes)
    return present(call, LOGS, record, names)


def _delete(call: Call) -> dict[str, Any]:
    with call.core.database.write() as db:
        current = _found_by_administrator(db, call, LOGS.small_columns)
        records.delete(db, call, LOGS, current)
    return present(call, LOGS, current, usual_attributes(LOGS, in_list=False))


def _found_by_administrator(
    db: sqlite3.Connection, call: Call, columns: Sequence[str]
) -> dict[str, Any]:
    current = records.find(db, call, LOGS, call.parameters["uuid"], columns=columns)
    if not call.caller.is_admin:
        raise Forbidden("Only administrators change the log")
    return current


METHODS = (
    get_method(LOGS),
    list_method(LOGS),
    Method(
        id="logs.create",
        http_method="POST",
        path="logs",
        run=_create,
        description="Add an entry to the log.",
        parameters=CREATE_PARAMETERS,
        response=LOGS.class_name,
        takes=LOGS,
    ),
    Method(
        id="logs.update",
        http_method="PUT",
        path="logs/{uuid}",
        run=_update,
        description="Change an entry of the log, as an administrator.",
        parameters={"uuid": UUID, "select": SELECT},
        response=LOGS.class_name,
        takes=LOGS,
    ),
    Method(
        id="logs.delete",
        http_method="DELETE",
        path="logs/{uuid}",
        run=_delete,
        description="Remove an entry of the log, as an administrator.",
        parameters={"uuid": UUID},
        response=LOGS.class_name,
    ),
)
