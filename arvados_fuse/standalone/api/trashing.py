"""The methods that move records into the trash and out of it.

(Arvados documentation, "Trashing and untrashing data".)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arvados_fuse.standalone.api import records
from arvados_fuse.standalone.api.errors import Unprocessable
from arvados_fuse.standalone.api.lists import ENSURE_UNIQUE_NAME
from arvados_fuse.standalone.api.method import Call, Method
from arvados_fuse.standalone.api.plain import UUID
from arvados_fuse.standalone.api.presentation import present, usual_attributes
from arvados_fuse.standalone.records import trash
from arvados_fuse.standalone.records.model import Resource

__all__ = ["trash_methods"]

Record = dict[str, Any]


def trash_methods(resource: Resource) -> tuple[Method, ...]:
    """Return the methods delete, trash and untrash of `resource`."""
    path = f"{resource.name}/{{uuid}}"
    return (
        Method(
            id=f"{resource.name}.delete",
            http_method="DELETE",
            path=path,
            run=_moving(resource, _deleted),
            description=f"Trash a {resource.class_name}; it goes as soon as signatures allow.",
            parameters={"uuid": UUID},
            response=resource.class_name,
        ),
        Method(
            id=f"{resource.name}.trash",
            http_method="POST",
            path=f"{path}/trash",
            run=_moving(resource, _trashed),
            description=f"Trash a {resource.class_name}, from where it can come back.",
            parameters={"uuid": UUID},
            response=resource.class_name,
        ),
        Method(
            id=f"{resource.name}.untrash",
            http_method="POST",
            path=f"{path}/untrash",
            run=_moving(resource, _untrashed),
            description=f"Take a {resource.class_name} out of the trash.",
            parameters={"uuid": UUID, "ensure_unique_name": ENSURE_UNIQUE_NAME},
            response=resource.class_name,
        ),
    )


def _deleted(call: Call, current: Record) -> Record:
    if current.get("group_class") == "role":
        return _gone_at_once(call)
    return trash.deleted_now(current, call.now, call.core.limits)


def _gone_at_once(call: Call) -> Record:
    """Return the changes that let a role end: permissions do not wait in the trash."""
    return {"trash_at": call.now, "delete_at": call.now, "is_trashed": True}


def _trashed(call: Call, current: Record) -> Record:
    if current.get("group_class") == "role":
        return _gone_at_once(call)
    return trash.trashed_now(current, call.now, call.core.limits)


def _untrashed(call: Call, current: Record) -> Record:
    # What is past its deletion time has not been found in the first place.
    if current["trash_at"] is None or current["trash_at"] > call.now:
        raise Unprocessable(f"{current['uuid']} is not in the trash")
    return trash.untrashed()


def _moving(
    resource: Resource, change: Callable[[Call, Record], Record]
) -> Callable[[Call], Record]:
    """Return the function of a method that makes the changes which `change` returns."""
    names = usual_attributes(resource, in_list=False)
    columns = [attribute.name for attribute in resource.columns if attribute.shown]

    def run(call: Call) -> Record:
        with call.core.database.write() as db:
            current = records.find(
                db, call, resource, call.parameters["uuid"], columns=columns, include_trash=True
            )
            record = records.update(
                db,
                call,
                resource,
                current,
                change(call, current),
                ensure_unique_name=call.parameters.get("ensure_unique_name", False),
            )
        return present(call, resource, record, names, sign=False)

    return run
