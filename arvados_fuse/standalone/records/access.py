"""Who may see and change what.

Rights are levels on objects: read, write, manage. They spread from a user along edges of a graph:
an owner manages what it owns, a permission link gives its tail a level on its head. The level of a
path is the lowest one on it, and of several paths the best one counts. Groups pass on every level;
another user passes on what he has only to those who manage him. Objects that are neither groups
nor users are at the end of a path: they have the level of their owner, or of a link to them.
Administrators manage everything. Nobody changes anything in a frozen project. A trashed object, or
one inside a trashed project, is there for nobody, except for requests that ask for trash. (Arvados
documentation, "Permission model".)

Each query sees the edges as they are in its own transaction; `reach` finds out what they give.
"""
# ruff: noqa: S608 (the queries are put together from constants)

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from arvados_fuse.standalone.records import reach
from arvados_fuse.standalone.records.conditions import ALWAYS, Condition, all_of, any_of
from arvados_fuse.standalone.records.database import Database
from arvados_fuse.standalone.records.model import Resource
from arvados_fuse.standalone.records.reach import MANAGE, READ, WRITE
from arvados_fuse.standalone.records.tables import (
    COLLECTIONS,
    GROUPS,
    KEEP_SERVICES,
    LINKS,
    LOGS,
    TOKENS,
    USERS,
)

__all__ = [
    "LEVELS",
    "MANAGE",
    "READ",
    "WRITE",
    "Caller",
    "Rights",
    "contains_frozen",
    "is_frozen",
    "is_inside",
    "is_trashed",
    "may",
    "may_read",
    "may_see",
    "may_write",
    "owned_below",
    "visible",
]

LEVELS = {"can_read": READ, "can_login": READ, "can_write": WRITE, "can_manage": MANAGE}
"""What permission links are called, and what they give."""

_OWN_TREE = """
    WITH RECURSIVE own(uuid) AS (
        SELECT ? UNION SELECT groups.uuid FROM groups JOIN own ON groups.owner_uuid = own.uuid
    ) SELECT uuid FROM own"""

_TRASHED_PROJECTS = """
    WITH RECURSIVE trashed(uuid) AS (
        SELECT uuid FROM groups WHERE trash_at <= ?
        UNION
        SELECT groups.uuid FROM groups JOIN trashed ON groups.owner_uuid = trashed.uuid
    ) SELECT uuid FROM trashed"""

# `> ''` finds the few in the index; for IS NOT NULL SQLite would read all groups.
_FROZEN_PROJECTS = """
    WITH RECURSIVE frozen(uuid) AS (
        SELECT uuid FROM groups WHERE frozen_by_uuid > ''
        UNION
        SELECT groups.uuid FROM groups JOIN frozen ON groups.owner_uuid = frozen.uuid
    ) SELECT uuid FROM frozen"""

_FROZEN_ABOVE = """
    WITH RECURSIVE above(uuid) AS (
        SELECT ? UNION SELECT groups.owner_uuid FROM groups JOIN above ON groups.uuid = above.uuid
    ) SELECT 1 FROM groups JOIN above ON groups.uuid = above.uuid
    WHERE groups.frozen_by_uuid IS NOT NULL"""

_TRASHED_ABOVE = """
    WITH RECURSIVE above(uuid) AS (
        SELECT ? UNION SELECT groups.owner_uuid FROM groups JOIN above ON groups.uuid = above.uuid
    ) SELECT 1 FROM groups JOIN above ON groups.uuid = above.uuid WHERE groups.trash_at <= ?"""


_NOT_IN_PROJECTS = (USERS, TOKENS, KEEP_SERVICES, LOGS)
"""Whose rows are not hidden with the projects that own them."""


@dataclass(frozen=True)
class Caller:
    """On whose behalf a request runs.

    token: exactly as presented; block signatures are made for this text
    token_uuid: of the record of the token
    is_active: others may look, but not change anything
    """

    user_uuid: str
    is_admin: bool
    token: str
    token_uuid: str
    scopes: tuple[str, ...] = ("all",)
    is_active: bool = True


def visible(
    db: sqlite3.Connection,
    resource: Resource,
    caller: Caller,
    now: str,
    *,
    include_trash: bool,
    table: str = "",
) -> Condition:
    """Return the condition that a row may be seen by `caller` at the time `now`.

    It holds for the transaction of `db`. `table` is what the query calls the table, if it has
    another name there.
    """
    table = table or resource.name
    if not caller.is_admin:
        reach.prepare(db, caller.user_uuid)
    readable = _readable(resource, table, caller)
    return all_of([readable, _not_trashed(resource, table, now, include_trash)])


def may_see(
    db: sqlite3.Connection,
    resource: Resource,
    caller: Caller,
    now: str,
    record: Mapping[str, Any],
    *,
    include_trash: bool,
) -> bool:
    """Whether `visible` is true for one record, given with its small columns at least."""
    if is_trashed(db, resource, now, record, include_trash=include_trash):
        return False
    return may_read(db, resource, caller, record)


def may_read(
    db: sqlite3.Connection, resource: Resource, caller: Caller, record: Mapping[str, Any]
) -> bool:
    """The same, but for the trash."""
    user_uuid, owner_uuid, uuid = caller.user_uuid, record["owner_uuid"], record["uuid"]
    if resource is KEEP_SERVICES or caller.is_admin or user_uuid in (owner_uuid, uuid):
        return True
    if resource is TOKENS:
        return False
    if resource is GROUPS and caller.is_active and record["group_class"] == "role":
        return True
    if resource is LINKS and _may_see_link(db, user_uuid, record):
        return True
    if resource is LOGS:
        ends = (record["object_uuid"], record["object_owner_uuid"])
        if reach.level_on(db, user_uuid, *ends) >= READ:
            return True
    own_uuid = record["current_version_uuid"] if resource is COLLECTIONS else uuid
    return reach.level_on(db, user_uuid, own_uuid, owner_uuid) >= READ


def _may_see_link(db: sqlite3.Connection, user_uuid: str, link: Mapping[str, Any]) -> bool:
    """The same as `_readable_permissions`, for one link."""
    head_uuid = link["head_uuid"]
    if user_uuid in (link["tail_uuid"], head_uuid):
        return True
    if link["link_class"] != "permission":
        return False
    found = db.execute("SELECT owner_uuid FROM collections WHERE uuid = ?", (head_uuid,)).fetchone()
    owner_uuid = found and found["owner_uuid"]
    return reach.level_on(db, user_uuid, head_uuid, owner_uuid) >= MANAGE


def is_trashed(
    db: sqlite3.Connection,
    resource: Resource,
    now: str,
    record: Mapping[str, Any],
    *,
    include_trash: bool,
) -> bool:
    """The opposite of `_not_trashed`, for one record."""
    if "trash_at" in resource.by_name:
        moment = record["delete_at" if include_trash else "trash_at"]
        if moment is not None and moment <= now:
            return True
    if include_trash or resource in _NOT_IN_PROJECTS:
        return False
    return db.execute(_TRASHED_ABOVE, (record["owner_uuid"], now)).fetchone() is not None


def may(
    db: sqlite3.Connection, caller: Caller, level: int, uuid: str, owner_uuid: str | None = None
) -> bool:
    """Whether `caller` has `level` on the object `uuid`, or on `owner_uuid` and so on what it owns.

    Says nothing of frozen projects.
    """
    if caller.is_admin:
        return True
    if level > READ and not caller.is_active:
        return False
    return reach.level_on(db, caller.user_uuid, uuid, owner_uuid) >= level


def may_write(db: sqlite3.Connection, caller: Caller, uuid: str, owner_uuid: str | None) -> bool:
    """Whether `caller` may change the object `uuid`, or what it owns."""
    return may(db, caller, WRITE, uuid, owner_uuid) and not (
        is_frozen(db, uuid) or (owner_uuid is not None and is_frozen(db, owner_uuid))
    )


def is_frozen(db: sqlite3.Connection, uuid: str) -> bool:
    """Whether `uuid` is a frozen project, or a project inside one."""
    return db.execute(_FROZEN_ABOVE, (uuid,)).fetchone() is not None


def contains_frozen(db: sqlite3.Connection, project_uuid: str) -> bool:
    """Whether there is a frozen project below `project_uuid`, or it is one."""
    found = db.execute(
        f"SELECT 1 FROM groups WHERE frozen_by_uuid IS NOT NULL AND uuid IN ({_OWN_TREE})",
        (project_uuid,),
    )
    return found.fetchone() is not None


def is_inside(db: sqlite3.Connection, uuid: str, project_uuid: str) -> bool:
    """Whether `uuid` is the project `project_uuid`, or below it."""
    found = db.execute(f"SELECT 1 WHERE ? IN ({_OWN_TREE})", (uuid, project_uuid))
    return found.fetchone() is not None


def owned_below(resource: Resource, owner_uuid: str) -> Condition:
    """Return the condition that a row is owned by `owner_uuid`, or by a project below it."""
    return Condition(f"{resource.name}.owner_uuid IN ({_OWN_TREE})", (owner_uuid,))


class Rights:
    """The levels of one caller at one moment, for looking at many records."""

    def __init__(self, database: Database, caller: Caller) -> None:
        self._database = database
        self._caller = caller
        self._levels: dict[str, int] = {}

    @cached_property
    def _frozen(self) -> frozenset[str]:
        with self._database.read() as db:
            return frozenset(row["uuid"] for row in db.execute(_FROZEN_PROJECTS))

    def is_frozen(self, record: Mapping[str, Any]) -> bool:
        """Whether the record is a frozen project, or in one."""
        return not self._frozen.isdisjoint((record["uuid"], record["owner_uuid"]))

    def level(self, record: Mapping[str, Any]) -> int:
        """Return the level that the caller has on a group or user; 0 for none."""
        if self._caller.is_admin or record["uuid"] == self._caller.user_uuid:
            return MANAGE
        uuid = record["uuid"]
        if uuid not in self._levels:
            with self._database.read() as db:
                self._levels[uuid] = reach.level_on(db, self._caller.user_uuid, uuid)
        return self._levels[uuid]

    def can(self, level: int, record: Mapping[str, Any]) -> bool:
        """Whether the caller may do now to a group or user what takes `level`, write or manage."""
        is_allowed = self.level(record) >= level and self._caller.is_active
        return is_allowed and not self.is_frozen(record)


def _readable(resource: Resource, table: str, caller: Caller) -> Condition:
    user_uuid = caller.user_uuid
    if resource is KEEP_SERVICES or caller.is_admin:
        return ALWAYS
    if resource is TOKENS:
        return Condition(f"{table}.owner_uuid = ?", (user_uuid,))
    # What costs nothing to find out comes first: SQLite stops at the first that is true.
    ways = [Condition(f"? IN ({table}.owner_uuid, {table}.uuid)", (user_uuid,))]
    if resource is LINKS:
        ways += _readable_permissions(table, user_uuid)
    if resource is LOGS:
        ways.append(reach.has_level(f"{table}.object_uuid", user_uuid, READ))
        ways.append(reach.has_level_as_owner(f"{table}.object_owner_uuid", user_uuid, READ))
    if resource is GROUPS and caller.is_active:
        ways.append(Condition(f"{table}.group_class = 'role'"))
    # Groups and users are in the graph, so they are reached if what owns them gives them.
    if resource not in (GROUPS, USERS):
        ways.append(reach.has_level_as_owner(f"{table}.owner_uuid", user_uuid, READ))
    # A permission on a collection is one on all its versions.
    own_name = "current_version_uuid" if resource is COLLECTIONS else "uuid"
    ways.append(reach.has_level(f"{table}.{own_name}", user_uuid, READ))
    return any_of(ways)


def _readable_permissions(table: str, user_uuid: str) -> list[Condition]:
    """Permission links: those from and to the caller, and those on what he manages."""
    manages_owner = reach.has_level_as_owner("heads.owner_uuid", user_uuid, MANAGE)
    return [
        Condition(f"? IN ({table}.tail_uuid, {table}.head_uuid)", (user_uuid,)),
        all_of(
            [
                Condition(f"{table}.link_class = 'permission'"),
                any_of(
                    [
                        reach.has_level(f"{table}.head_uuid", user_uuid, MANAGE),
                        Condition(
                            f"EXISTS (SELECT 1 FROM collections AS heads"
                            f" WHERE heads.uuid = {table}.head_uuid AND {manages_owner.sql})",
                            manages_owner.values,
                        ),
                    ]
                ),
            ]
        ),
    ]


def _not_trashed(resource: Resource, table: str, now: str, include_trash: bool) -> Condition:
    """Return the condition that a row is not in the trash, nor below something that is.

    With `include_trash` it only has to be not yet due for deletion.
    """
    has_trash = "trash_at" in resource.by_name
    if include_trash:
        if not has_trash:
            return ALWAYS
        return Condition(f"{table}.delete_at IS NULL OR {table}.delete_at > ?", (now,))
    conditions = []
    if has_trash:
        conditions.append(Condition(f"{table}.trash_at IS NULL OR {table}.trash_at > ?", (now,)))
    if resource not in _NOT_IN_PROJECTS:
        conditions.append(Condition(f"{table}.owner_uuid NOT IN ({_TRASHED_PROJECTS})", (now,)))
    return all_of(conditions)
