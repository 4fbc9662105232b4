"""Who may see and change what.

Rights come from ownership: whoever owns an object manages it, and what it owns in turn.
Administrators may do everything to everything. A trashed object, or one inside a trashed project,
is there for nobody, except for requests that ask for trash. (Arvados documentation, "Permission
model".)
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from arvados_fuse.standalone.records.conditions import ALWAYS, Condition, all_of
from arvados_fuse.standalone.records.model import Resource
from arvados_fuse.standalone.records.tables import KEEP_SERVICES, LOGS, TOKENS, USERS

__all__ = ["Caller", "is_inside", "may_write", "not_trashed", "owned_below", "visible"]

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


@dataclass(frozen=True)
class Caller:
    """On whose behalf a request runs.

    token: exactly as presented; block signatures are made for this text
    token_uuid: of the record of the token
    """

    user_uuid: str
    is_admin: bool
    token: str
    token_uuid: str
    scopes: tuple[str, ...] = ("all",)


def visible(resource: Resource, caller: Caller, now: str, include_trash: bool) -> Condition:
    """Return the condition that a row may be seen by `caller` at the time `now`."""
    return all_of([_readable(resource, caller), not_trashed(resource, now, include_trash)])


def may_write(db: sqlite3.Connection, caller: Caller, uuid: str, owner_uuid: str | None) -> bool:
    """Whether `caller` may change the object `uuid`, or what it owns."""
    if caller.is_admin:
        return True
    found = db.execute(
        f"SELECT 1 WHERE ? IN ({_OWN_TREE}) OR ? IN ({_OWN_TREE})",
        (uuid, caller.user_uuid, owner_uuid, caller.user_uuid),
    )
    return found.fetchone() is not None


def is_inside(db: sqlite3.Connection, uuid: str, project_uuid: str) -> bool:
    """Whether `uuid` is the project `project_uuid`, or below it."""
    found = db.execute(f"SELECT 1 WHERE ? IN ({_OWN_TREE})", (uuid, project_uuid))
    return found.fetchone() is not None


def owned_below(resource: Resource, owner_uuid: str) -> Condition:
    """Return the condition that a row is owned by `owner_uuid`, or by a project below it."""
    return Condition(f"{resource.name}.owner_uuid IN ({_OWN_TREE})", (owner_uuid,))


def _readable(resource: Resource, caller: Caller) -> Condition:
    table = resource.name
    if resource is KEEP_SERVICES:
        return ALWAYS
    if resource is TOKENS:
        return Condition(f"{table}.owner_uuid = ?", (caller.user_uuid,))
    if caller.is_admin:
        return ALWAYS
    if resource is LOGS:
        own = (caller.user_uuid,)
        sql = " OR ".join(
            f"{table}.{name} IN ({_OWN_TREE})"
            for name in ("object_uuid", "object_owner_uuid", "owner_uuid")
        )
        return Condition(sql, own * 3)
    if resource is USERS:
        return Condition(f"{table}.uuid = ?", (caller.user_uuid,))
    return Condition(
        f"{table}.owner_uuid IN ({_OWN_TREE}) OR {table}.uuid = ?",
        (caller.user_uuid, caller.user_uuid),
    )


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
