"""Methods of the log.

Most entries are made with the changes that they tell about (see ``records.audit``); clients can
add some of their own. (Arvados documentation, "API Reference", "Logs".)
"""

from __future__ import annotations

from typing import Any

from arvados_fuse.standalone.api import records
from arvados_fuse.standalone.api.lists import SELECT, selected
from arvados_fuse.standalone.api.method import Call, Method
from arvados_fuse.standalone.api.plain import get_method, list_method
from arvados_fuse.standalone.api.presentation import present
from arvados_fuse.standalone.records.tables import LOGS

__all__ = ["METHODS"]


def _create(call: Call) -> dict[str, Any]:
    names, _ = selected(call, LOGS)
    record = records.new_record(call, LOGS, records.accepted(call, LOGS, None))
    record["event_at"] = record["event_at"] or call.now
    with call.core.database.write() as db:
        record = records.insert(db, call, LOGS, record)
    return present(call, LOGS, record, names)


METHODS = (
    get_method(LOGS),
    list_method(LOGS),
    Method(
        id="logs.create",
        http_method="POST",
        path="logs",
        run=_create,
        description="Add an entry to the log.",
        parameters={"select": SELECT},
        response=LOGS.class_name,
        takes=LOGS,
    ),
)
