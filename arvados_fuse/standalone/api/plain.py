"""The methods get and list, which are alike in all resources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arvados_fuse.standalone.api.lists import (
    LIST_PARAMETERS,
    SELECT,
    answer,
    is_counted,
    list_records,
    page_of,
    selected,
)
from arvados_fuse.standalone.api.method import Call, Method, Parameter
from arvados_fuse.standalone.api.presentation import present
from arvados_fuse.standalone.api.records import find
from arvados_fuse.standalone.records.conditions import ALWAYS, Condition
from arvados_fuse.standalone.records.model import Resource

__all__ = ["UUID", "get_method", "get_record", "list_method"]

UUID = Parameter("string", "The uuid of the object.", required=True)


def get_record(call: Call, resource: Resource, uuid: str) -> dict[str, Any]:
    """Return one record as the call wants it. Raises NotFound, Unprocessable."""
    names, columns = selected(call, resource)
    with call.core.database.read() as db:
        record = find(
            db,
            call,
            resource,
            uuid,
            columns=columns,
            include_trash=call.parameters.get("include_trash", False),
        )
    return present(call, resource, record, names)


def get_method(resource: Resource, **more: Parameter) -> Method:
    """Return the method that gets one record, with the parameters `more`."""
    return Method(
        id=f"{resource.name}.get",
        http_method="GET",
        path=f"{resource.name}/{{uuid}}",
        run=lambda call: get_record(call, resource, call.parameters["uuid"]),
        description=f"Get one {resource.class_name} by its uuid.",
        parameters={"uuid": UUID, "select": SELECT, **more},
        response=resource.class_name,
    )


def _all(_call: Call) -> Condition:
    return ALWAYS


def list_method(
    resource: Resource, *, only: Callable[[Call], Condition] = _all, **more: Parameter
) -> Method:
    """Return the method that lists records, with the parameters `more`.

    `only`: which of the records that a caller may see are listed
    """

    def run(call: Call) -> dict[str, Any]:
        page = page_of(call)
        with call.core.database.read() as db:
            items, available = list_records(
                db,
                call,
                resource,
                page,
                only(call),
                filters=call.parameters["filters"],
                counted=is_counted(call),
            )
        return answer(f"{resource.kind}List", items, available, page)

    return Method(
        id=f"{resource.name}.list",
        http_method="GET",
        path=resource.name,
        run=run,
        description=f"List those of the {resource.class_name} objects that filters choose.",
        parameters={**LIST_PARAMETERS, **more},
        response=f"{resource.class_name}List",
    )
