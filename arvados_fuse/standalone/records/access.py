"""Who may see and change what.

Rights are levels on objects: read, write, manage. They spread from a user along edges of a graph:
an owner manages what it owns, a permission link gives its tail a level on its head. The level of a
path is the lowest one on it, and of several paths the best one counts. Groups pass on every level;
another user passes on what he has only to those who manage him. Objects that are neither groups
nor users are at the end of a path: they have the level of their owner, or of a link to them.
Administrators manage everything. Nobody changes anything in a frozen project. A trashed object, or
one inside a trashed project, is there for nobody, except for requests that ask for trash. (Arvados
documentation, "Permission model".)

Nothing is cached: each query follows the edges as they are in its own transaction.
"""
# ruff: noqa: S608 (the queries are put together from constants)

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from arvados_fuse.standalone.records.conditions import ALWAYS, Condition, all_of, any_of
from arvados_fuse.standalone.records.database import Database
from arvados_fuse.standalone.records.model import Resource
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
    "may",
    "may_write",
    "not_trashed",
    "owned_below",
    "visible",
]

READ, WRITE, MANAGE = 1, 2, 3
LEVELS = {"can_read": READ, "can_login": READ, "can_write": WRITE, "can_manage": MANAGE}
"""What permission links are called, and what they give."""

_PASSES_ON = f"(reach.level = {MANAGE} OR substr(reach.uuid, 7, 5) = '{GROUPS.infix}')"
_LEVEL_OF_LINK = f"""CASE links.name
    WHEN 'can_manage' THEN {MANAGE} WHEN 'can_write' THEN {WRITE} ELSE {READ} END"""

_REACH = f"""
    WITH RECURSIVE reach(uuid, level) AS (
        SELECT ?, {MANAGE}
        UNION
        SELECT groups.uuid, reach.level FROM reach
            JOIN groups ON groups.owner_uuid = reach.uuid WHERE {_PASSES_ON}
        UNION
        SELECT users.uuid, reach.level FROM reach
            JOIN users ON users.owner_uuid = reach.uuid WHERE {_PASSES_ON}
        UNION
        SELECT links.head_uuid, min(reach.level, {_LEVEL_OF_LINK}) FROM reach
            JOIN links ON links.tail_uuid = reach.uuid
            WHERE links.link_class = 'permission' AND {_PASSES_ON} AND NOT EXISTS (
                SELECT 1 FROM groups AS roles WHERE roles.uuid = reach.uuid AND roles.is_trashed)
    )"""
"""All that a user (the one placeholder) has a level on by paths of their own; possibly several."""

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


def visible(resource: Resource, caller: Caller, now: str, include_trash: bool) -> Condition:
    """Return the condition that a row may be seen by `caller` at the time `now`."""
    return all_of([_readable(resource, caller), not_trashed(resource, now, include_trash)])


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
    found = db.execute(
        f"{_REACH} SELECT 1 FROM reach WHERE level >= ?"
        f" AND (uuid = ? OR uuid = ? AND {_PASSES_ON})",
        (caller.user_uuid, level, uuid, owner_uuid),
    )
    return found.fetchone() is not None


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

    @cached_property
    def _levels(self) -> dict[str, int]:
        with self._database.read() as db:
            rows = db.execute(
                f"{_REACH} SELECT uuid, max(level) AS level FROM reach GROUP BY uuid",
                (self._caller.user_uuid,),
            )
            return {row["uuid"]: row["level"] for row in rows}

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
        return self._levels.get(record["uuid"], 0)

    def can(self, level: int, record: Mapping[str, Any]) -> bool:
        """Whether the caller may do now to a group or user what takes `level`, write or manage."""
        is_allowed = self.level(record) >= level and self._caller.is_active
        return is_allowed and not self.is_frozen(record)


def _objects(caller: Caller, level: int) -> Condition:
    """The uuids that `caller` has a level on: a query in parentheses."""
    return Condition(
        f"({_REACH} SELECT uuid FROM reach WHERE level >= ?)", (caller.user_uuid, level)
    )


def _owners(caller: Caller, level: int) -> Condition:
    """The owners on whose objects `caller` has a level: a query in parentheses."""
    return Condition(
        f"({_REACH} SELECT uuid FROM reach WHERE level >= ? AND {_PASSES_ON})",
        (caller.user_uuid, level),
    )


def _among(column: str, query: Condition) -> Condition:
    return Condition(f"{column} IN {query.sql}", query.values)


def _readable(resource: Resource, caller: Caller) -> Condition:
    table = resource.name
    if resource is KEEP_SERVICES or caller.is_admin:
        return ALWAYS
    if resource is TOKENS:
        return Condition(f"{table}.owner_uuid = ?", (caller.user_uuid,))
    # What costs nothing to find out comes first: SQLite stops at the first that is true.
    ways = [Condition(f"? IN ({table}.owner_uuid, {table}.uuid)", (caller.user_uuid,))]
    if resource is LINKS:
        ways += _readable_permissions(caller)
    if resource is LOGS:
        ways.append(_among(f"{table}.object_uuid", _objects(caller, READ)))
        ways.append(_among(f"{table}.object_owner_uuid", _owners(caller, READ)))
    if resource is GROUPS and caller.is_active:
        ways.append(Condition(f"{table}.group_class = 'role'"))
    ways.append(_among(f"{table}.owner_uuid", _owners(caller, READ)))
    # A permission on a collection is one on all its versions.
    own_name = "current_version_uuid" if resource is COLLECTIONS else "uuid"
    ways.append(_among(f"{table}.{own_name}", _objects(caller, READ)))
    return any_of(ways)


def _readable_permissions(caller: Caller) -> list[Condition]:
    """Permission links: those from and to the caller, and those on what he manages."""
    heads = _objects(caller, MANAGE)
    owners = _owners(caller, MANAGE)
    return [
        Condition("? IN (links.tail_uuid, links.head_uuid)", (caller.user_uuid,)),
        all_of(
            [
                Condition("links.link_class = 'permission'"),
                any_of(
                    [
                        _among("links.head_uuid", heads),
                        Condition(
                            "links.head_uuid IN (SELECT uuid FROM collections"
                            f" WHERE owner_uuid IN {owners.sql})",
                            owners.values,
                        ),
                    ]
                ),
            ]
        ),
    ]


def not_trashed(resource: Resource, now: str, include_trash: bool) -> Condition:
    """Return the condition that a row is not in the trash, nor below something that is.

    With `include_trash` it only has to be not yet due for deletion.
    """
    table = resource.name
    has_trash = "trash_at" in resource.by_name
    if include_trash:
        if not has_trash:
            return ALWAYS
        return Condition(f"{table}.delete_at IS NULL OR {table}.delete_at > ?", (now,))
    conditions = []
    if has_trash:
        conditions.append(Condition(f"{table}.trash_at IS NULL OR {table}.trash_at > ?", (now,)))
    if resource not in (USERS, TOKENS, KEEP_SERVICES, LOGS):
        conditions.append(Condition(f"{table}.owner_uuid NOT IN ({_TRASHED_PROJECTS})", (now,)))
    return all_of(conditions)
