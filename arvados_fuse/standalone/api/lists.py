"""Parameters that lists of all resources have, and the answers to list requests."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from arvados_fuse.standalone.api.errors import Forbidden, Unprocessable
from arvados_fuse.standalone.api.method import Call, Parameter
from arvados_fuse.standalone.api.presentation import present, usual_attributes
from arvados_fuse.standalone.records import versions
from arvados_fuse.standalone.records.codec import decoded
from arvados_fuse.standalone.records.conditions import ALWAYS, Condition, all_of
from arvados_fuse.standalone.records.filters import FilterInvalid, where
from arvados_fuse.standalone.records.listing import (
    Page,
    SelectInvalid,
    columns_to_read,
    count_rows,
    fetch_rows,
)
from arvados_fuse.standalone.records.model import Resource
from arvados_fuse.standalone.records.tables import COLLECTIONS

__all__ = [
    "CREATE_PARAMETERS",
    "ENSURE_UNIQUE_NAME",
    "INCLUDE_OLD_VERSIONS",
    "INCLUDE_TRASH",
    "LIST_PARAMETERS",
    "SELECT",
    "answer",
    "is_counted",
    "list_records",
    "page_of",
    "selected",
]

SELECT = Parameter("array", "Names of the attributes to return; the usual ones if absent.")
INCLUDE_TRASH = Parameter("boolean", "Also show what is in the trash.", default=False)
ENSURE_UNIQUE_NAME = Parameter(
    "boolean", "If the name is taken in the same project, append something to it.", default=False
)
# As on a cluster that knows no other one, whatever it says is about this one.
CLUSTER_ID = Parameter("string", "The cluster of a federation that is meant.")
INCLUDE_OLD_VERSIONS = Parameter("boolean", "Also list old versions.", default=False)
LIST_PARAMETERS = {
    "filters": Parameter("array", "Conditions that the objects have to fulfil."),
    "where": Parameter("object", "Values of attributes, or arrays of values; filters can more."),
    "order": Parameter("array", "Attributes to order by, each may be followed by asc or desc."),
    "select": SELECT,
    "distinct": Parameter("boolean", "Return each row of selected attributes once.", default=False),
    "limit": Parameter("integer", "Maximum number of objects to return.", default=100),
    "offset": Parameter("integer", "Number of objects to leave out at the beginning.", default=0),
    "count": Parameter("string", "exact: say how many objects there are; none: do not.", "exact"),
    "cluster_id": CLUSTER_ID,
    "bypass_federation": Parameter(
        "boolean", "For administrators: answer for this cluster alone.", default=False
    ),
}
CREATE_PARAMETERS = {
    "select": SELECT,
    "ensure_unique_name": ENSURE_UNIQUE_NAME,
    "cluster_id": CLUSTER_ID,
}


def page_of(call: Call) -> Page:
    """Return the part of a list that the call wants. Raises Unprocessable, Forbidden."""
    parameters = call.parameters
    if parameters["bypass_federation"] and not call.caller.is_admin:
        raise Forbidden("Only administrators use bypass_federation")
    if parameters["limit"] < 0 or parameters["offset"] < 0:
        raise Unprocessable("limit and offset cannot be negative")
    order = tuple(entry for entry in parameters["order"] or () if isinstance(entry, str))
    select = _names(parameters["select"])
    return Page(
        select=None if select is None else tuple(select),
        order=order,
        limit=min(parameters["limit"], call.core.limits.max_items_per_response),
        offset=parameters["offset"],
        distinct=parameters["distinct"],
    )


def _names(select: list[Any] | None) -> list[str] | None:
    if select is not None and not all(isinstance(name, str) for name in select):
        raise Unprocessable("select has to be an array of names")
    return select


def selected(call: Call, resource: Resource) -> tuple[list[str], list[str]]:
    """Return the names of the attributes to present for one record, and of the columns to read.

    Raises Unprocessable for a `select` with unknown names.
    """
    names = _names(call.parameters.get("select"))
    if names is None:
        names = usual_attributes(resource, in_list=False)
    try:
        return names, columns_to_read(resource, names)
    except SelectInvalid as error:
        raise Unprocessable(str(error)) from None


def is_counted(call: Call) -> bool:
    """Whether the call wants to know how many objects there are. Raises Unprocessable."""
    if call.parameters["count"] not in ("exact", "none"):
        raise Unprocessable("count has to be exact or none")
    return bool(call.parameters["count"] == "exact")


def list_records(
    db: sqlite3.Connection,
    call: Call,
    resource: Resource,
    page: Page,
    *conditions: Condition,
    filters: Any,
    counted: bool,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return one page of the records that the caller may see, and how many there are in all.

    The number is None unless it is wanted (`counted`). Raises Unprocessable.
    """
    try:
        condition = all_of(
            [
                where(resource, filters),
                where(resource, _plain_filters(call.parameters.get("where"))),
                call.visible(
                    db, resource, include_trash=call.parameters.get("include_trash", False)
                ),
                _current_only(call, resource),
                *conditions,
            ]
        )
        rows = fetch_rows(db, resource, condition, page)
        available = None
        if counted:
            complete = page.offset == 0 and len(rows) < page.limit
            available = len(rows) if complete else count_rows(db, resource, condition, page)
    except (FilterInvalid, SelectInvalid) as error:
        raise Unprocessable(str(error)) from None
    return _present_rows(call, resource, rows, page), available


def _plain_filters(values: Mapping[str, Any] | None) -> list[list[Any]]:
    """Return the filters that mean the same as the parameter ``where``."""
    filters = []
    for name, value in (values or {}).items():
        if name == "any" and isinstance(value, list) and value[:1] == ["contains"]:
            filters.append(["any", "ilike", f"%{value[-1]}%"])
        else:
            filters.append([name, "in" if isinstance(value, list) else "=", value])
    return filters


def _current_only(call: Call, resource: Resource) -> Condition:
    if resource is COLLECTIONS and not call.parameters.get("include_old_versions", False):
        return versions.IS_CURRENT
    return ALWAYS


def _present_rows(
    call: Call, resource: Resource, rows: Sequence[sqlite3.Row], page: Page
) -> list[dict[str, Any]]:
    """Return rows of a page as clients see them."""
    names: Sequence[str] = usual_attributes(resource, in_list=True)
    if page.select is not None:
        names = page.select
        if page.distinct:
            names = [name for name in names if resource.by_name[name].stored]
    return [present(call, resource, decoded(resource, row), names) for row in rows]


def answer(
    kind: str, items: list[dict[str, Any]], available: int | None, page: Page, **more: Any
) -> dict[str, Any]:
    """Return the answer to a list request."""
    result = {"kind": kind, "etag": "", "self_link": "", "items": items, **more}
    result.update(offset=page.offset, limit=page.limit)
    if available is not None:
        result["items_available"] = available
    return result
