"""What is in a project, and which projects are shared with the caller.

(Arvados documentation, "API Reference", "Groups", methods "contents" and "shared".)
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

from arvados_fuse.standalone.api import records
from arvados_fuse.standalone.api.errors import NotFound, Unprocessable
from arvados_fuse.standalone.api.lists import (
    INCLUDE_OLD_VERSIONS,
    INCLUDE_TRASH,
    LIST_PARAMETERS,
    answer,
    is_counted,
    list_records,
    page_of,
)
from arvados_fuse.standalone.api.method import Call, Method, Parameter
from arvados_fuse.standalone.api.presentation import present, usual_attributes
from arvados_fuse.standalone.records import access, sql
from arvados_fuse.standalone.records.codec import decoded
from arvados_fuse.standalone.records.conditions import ALWAYS, Condition, all_of, any_of
from arvados_fuse.standalone.records.filters import FilterInvalid, where
from arvados_fuse.standalone.records.listing import Page
from arvados_fuse.standalone.records.model import Resource
from arvados_fuse.standalone.records.tables import (
    COLLECTIONS,
    GROUPS,
    USERS,
    WORKFLOWS,
    resource_of_uuid,
)

__all__ = ["CONTENTS_METHODS", "check_stored_filters"]

Items = list[dict[str, Any]]

_HELD = (GROUPS, WORKFLOWS, COLLECTIONS)
"""The kinds of objects that projects hold, in the order in which they are listed."""

_TABLES_WITHOUT_ROWS = ("container_requests",)
"""Other kinds that filters may name. This cluster runs no containers."""

_INCLUDABLE = ("owner_uuid", "container_uuid", "collection_uuid")
_NO_ROLES = Condition("groups.group_class <> 'role'")


def _contents(call: Call) -> dict[str, Any]:
    page = page_of(call)
    # Where the page begins in one kind depends on how many there are of the kinds before it.
    counted = is_counted(call) or page.offset > 0
    items: Items = []
    available = 0
    with call.core.database.read() as db:
        place = _place(db, call)
        for resource in _kinds(place.filters):
            found, count = list_records(
                db,
                call,
                resource,
                _part(page, resource, before=available, taken=len(items)),
                place(resource),
                _NO_ROLES if resource is GROUPS else ALWAYS,
                filters=_filters_for(resource, place.filters),
                counted=counted,
            )
            items += found
            available += count or 0
        included = _included(db, call, items)
    total = available if is_counted(call) else None
    return answer("arvados#objectList", items, total, page, included=included)


def _kinds(filters: Any) -> list[Resource]:
    """Return the kinds of objects that can be among those that filters choose."""
    kinds = list(_HELD)
    plain = [one for one in filters or () if isinstance(one, list) and len(one) == 3]
    for name, operator, operand in plain:
        chosen = operand if isinstance(operand, list) else [operand]
        if name == "uuid" and operator == "is_a" and all(isinstance(one, str) for one in chosen):
            kinds = [kind for kind in kinds if kind.kind in chosen]
    # Workflows have few attributes. A filter for one that the others have chooses none of them.
    names = {str(name).partition(".")[0] for name, _, _ in plain}
    tables = {kind.name for kind in _HELD} | set(_TABLES_WITHOUT_ROWS) | {"any"}
    foreign = names - tables - WORKFLOWS.by_name.keys()
    if any(name in kind.by_name for name in foreign for kind in _HELD):
        return [kind for kind in kinds if kind is not WORKFLOWS]
    return kinds


def _part(page: Page, resource: Resource, *, before: int, taken: int) -> Page:
    """Return the part of `page` for one kind; `before` objects of other kinds precede it."""
    select = page.select
    if select is not None:
        unknown = [n for n in select if not any(n in kind.by_name for kind in _HELD)]
        if unknown:
            raise Unprocessable(f"no attribute {unknown[0]!r} in the objects that projects hold")
        select = tuple(
            name for name in select if name in resource.by_name and not resource.by_name[name].large
        )
    return replace(
        page, select=select, offset=max(0, page.offset - before), limit=page.limit - taken
    )


class _Place:
    """Which objects of each kind the request is about."""

    def __init__(self, call: Call, stored_filters: Items | None) -> None:
        self._uuid = call.parameters["uuid"] if stored_filters is None else None
        self.filters = call.parameters["filters"]
        if stored_filters and isinstance(self.filters or [], list):
            self.filters = [*stored_filters, *(self.filters or [])]
        self._recursive = call.parameters["recursive"]
        self._no_home = call.parameters["exclude_home_project"]
        self._caller_uuid = call.caller.user_uuid

    def __call__(self, resource: Resource) -> Condition:
        if self._uuid is None:
            if self._no_home:
                return Condition(f"{resource.name}.owner_uuid <> ?", (self._caller_uuid,))
            return ALWAYS
        if self._recursive:
            return access.owned_below(resource, self._uuid)
        return Condition(f"{resource.name}.owner_uuid = ?", (self._uuid,))


def _place(db: sqlite3.Connection, call: Call) -> _Place:
    uuid = call.parameters["uuid"]
    stored_filters = None
    if uuid is not None:
        resource = resource_of_uuid(uuid)
        if resource not in (GROUPS, USERS) or resource is None:
            raise NotFound(f"Path not found: no project or user {uuid!r:.60}")
        include_trash = call.parameters["include_trash"]
        record = records.find(db, call, resource, uuid, include_trash=include_trash)
        if record.get("group_class") == "filter":
            stored_filters = record["properties"]["filters"]
        if call.parameters["exclude_home_project"]:
            raise Unprocessable("exclude_home_project cannot be used together with uuid")
    return _Place(call, stored_filters)


def check_stored_filters(properties: dict[str, Any]) -> None:
    """Check the properties of a filter group, which shows what their "filters" choose.

    Raises Unprocessable.
    """
    filters = properties.get("filters")
    if not isinstance(filters, list):
        raise Unprocessable("A filter group needs an array of filters in properties.filters")
    for one in filters:
        if not isinstance(one, list) or len(one) != 3 or not isinstance(one[0], str):
            raise Unprocessable(f"Invalid filter {one!r}: it needs three elements")
        name, operator, _ = one
        if name != "uuid" and "." not in name:
            raise Unprocessable(f"Invalid filter {one!r}: its attribute has to be TABLE.ATTRIBUTE")
        if operator == "is_a" and name != "uuid":
            raise Unprocessable(f"Invalid filter {one!r}: only uuid can be compared with is_a")
    for resource in _HELD:
        try:
            where(resource, _filters_for(resource, filters))
        except FilterInvalid as error:
            raise Unprocessable(str(error)) from None


def _filters_for(resource: Resource, filters: Any) -> Any:
    """Return the filters that concern `resource`, without the names of tables."""
    if not isinstance(filters, list):
        return filters
    tables = [kind.name for kind in _HELD]
    chosen = []
    for one in filters:
        name = one[0] if isinstance(one, list) and one else None
        table, dot, rest = str(name).partition(".")
        if not dot or table in resource.by_name:
            chosen.append(one)
        elif table == resource.name:
            chosen.append([rest, *one[1:]])
        elif table not in (*tables, *_TABLES_WITHOUT_ROWS):
            raise Unprocessable(f"Invalid filter {one!r}: no table {table!r}")
    return chosen


def _included(db: sqlite3.Connection, call: Call, items: Items) -> Items:
    """Return the owners of `items` that the caller may see, if the request wants them."""
    wanted = call.parameters["include"] or []
    if any(name not in _INCLUDABLE for name in wanted):
        raise Unprocessable(f"include can be one of {', '.join(_INCLUDABLE)}")
    if "owner_uuid" not in wanted:
        return []
    owners = sorted({item["owner_uuid"] for item in items if item.get("owner_uuid")})
    found: Items = []
    for resource in (GROUPS, USERS):
        names = usual_attributes(resource, in_list=True)
        condition = all_of(
            [
                sql.among(f"{resource.name}.uuid", owners),
                call.visible(db, resource, include_trash=False),
            ]
        )
        rows = sql.select(db, resource.small_columns, resource.name, condition, "ORDER BY uuid")
        found += [present(call, resource, decoded(resource, row), names) for row in rows]
    return found


def _shared(call: Call) -> dict[str, Any]:
    page = page_of(call)
    with call.core.database.read() as db:
        items, available = list_records(
            db,
            call,
            GROUPS,
            page,
            _not_in_own_tree(db, call),
            filters=call.parameters["filters"],
            counted=is_counted(call),
        )
        included = _included(db, call, items)
    return answer("arvados#groupList", items, available, page, included=included)


def _not_in_own_tree(db: sqlite3.Connection, call: Call) -> Condition:
    """Groups at the top of what others share: what they are in is not itself a visible project."""
    caller_uuid = call.caller.user_uuid
    conditions = [
        _owner_is("users", Condition("owners.uuid <> ?", (caller_uuid,))),
        _owner_is("groups", Condition("owners.group_class <> 'project'")),
    ]
    if not call.caller.is_admin:
        readable = call.visible(db, GROUPS, include_trash=False, table="owners")
        hidden = _owner_is("groups", readable).negated()
        conditions.append(all_of([Condition("groups.owner_uuid <> ?", (caller_uuid,)), hidden]))
    return any_of(conditions)


def _owner_is(table: str, condition: Condition) -> Condition:
    """The owner of a group is in `table`, where it is called owners, and fulfils `condition`."""
    return Condition(
        f"EXISTS (SELECT 1 FROM {table} AS owners"  # noqa: S608 (put together from constants)
        f" WHERE owners.uuid = groups.owner_uuid AND ({condition.sql}))",
        condition.values,
    )


_INCLUDE = Parameter("array", "owner_uuid: also return the owners of the objects, in included.")

CONTENTS_METHODS = (
    Method(
        id="groups.contents",
        http_method="GET",
        path="groups/contents",
        other_path="groups/{uuid}/contents",
        run=_contents,
        description="List what is in a project, or in the home project of a user.",
        parameters={
            **LIST_PARAMETERS,
            "include_trash": INCLUDE_TRASH,
            "include_old_versions": INCLUDE_OLD_VERSIONS,
            "uuid": Parameter("string", "The project or user; all that is readable if absent."),
            "recursive": Parameter("boolean", "Also list subprojects' contents.", default=False),
            "include": _INCLUDE,
            "exclude_home_project": Parameter(
                "boolean", "Leave out what is in the home project of the caller.", default=False
            ),
        },
        response="ObjectList",
    ),
    Method(
        id="groups.shared",
        http_method="GET",
        path="groups/shared",
        run=_shared,
        description="List the groups that are shared with the caller by others.",
        parameters={**LIST_PARAMETERS, "include_trash": INCLUDE_TRASH, "include": _INCLUDE},
        response="GroupList",
    ),
)
