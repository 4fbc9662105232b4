"""What a user reaches in the graph of permissions, and on which level.

The definition is one query, which spreads from the user along all edges; `access` says what the
edges are. It takes the longer the more the user reaches, so two short cuts give the same:

- For one object, `level_on` goes from the object upwards, to whoever is above it.
- For lists, `prepare` notes all that a user reaches in a temporary table of the connection. It is
  made anew when anything in the graph has changed since: triggers of the database count the
  changes, whoever makes them. Both are parts of transactions, and undone with them.
"""
# ruff: noqa: S608 (the queries are put together from constants)

from __future__ import annotations

import sqlite3

from arvados_fuse.standalone.records.conditions import Condition
from arvados_fuse.standalone.records.tables import GROUPS

__all__ = [
    "DDL",
    "DEFINITION",
    "MANAGE",
    "READ",
    "TEMPORARY_DDL",
    "WRITE",
    "has_level",
    "has_level_as_owner",
    "level_on",
    "prepare",
    "version",
]

READ, WRITE, MANAGE = 1, 2, 3

_MOST_USERS = 16
"""Of how many users a connection notes what they reach."""

_IS_GROUP = f"substr({{0}}, 7, 5) = '{GROUPS.infix}'"
_PASSES_ON = f"(reach.level = {MANAGE} OR {_IS_GROUP.format('reach.uuid')})"
_LEVEL_OF_LINK = f"""CASE links.name
    WHEN 'can_manage' THEN {MANAGE} WHEN 'can_write' THEN {WRITE} ELSE {READ} END"""
_TAIL_IS_TRASHED = """EXISTS (
    SELECT 1 FROM groups AS roles WHERE roles.uuid = links.tail_uuid AND roles.is_trashed)"""

DEFINITION = f"""
    WITH RECURSIVE reach(uuid, level) AS (
        SELECT :user, {MANAGE}
        UNION
        SELECT groups.uuid, reach.level FROM reach
            JOIN groups ON groups.owner_uuid = reach.uuid WHERE {_PASSES_ON}
        UNION
        SELECT users.uuid, reach.level FROM reach
            JOIN users ON users.owner_uuid = reach.uuid WHERE {_PASSES_ON}
        UNION
        SELECT links.head_uuid, min(reach.level, {_LEVEL_OF_LINK}) FROM reach
            JOIN links ON links.tail_uuid = reach.uuid
            WHERE links.link_class = 'permission' AND {_PASSES_ON} AND NOT {_TAIL_IS_TRASHED}
    )
    SELECT :user AS user_uuid, uuid, max(level) AS level,
        max(CASE WHEN {_PASSES_ON} THEN level ELSE 0 END) AS owner_level
    FROM reach GROUP BY uuid"""
"""All that :user reaches. level: on the object; owner_level: on what it owns, 0 for none."""

# Who is above an object is a user that passes on what he has only to those who manage him, so from
# there on all edges have to be of that level ("strict").
_PASSES_ONLY_TO_MANAGERS = f"({{0}} <> :user AND NOT {_IS_GROUP})"

_ABOVE = f"""
    WITH RECURSIVE above(uuid, level, strict) AS (
        SELECT :uuid, {MANAGE}, 0
        UNION
        SELECT :owner, {MANAGE}, {_PASSES_ONLY_TO_MANAGERS.format(":owner")} WHERE :owner NOT NULL
        UNION
        SELECT groups.owner_uuid, above.level,
                above.strict OR {_PASSES_ONLY_TO_MANAGERS.format("groups.owner_uuid")}
            FROM above JOIN groups ON groups.uuid = above.uuid WHERE above.uuid <> :user
        UNION
        SELECT users.owner_uuid, above.level,
                above.strict OR {_PASSES_ONLY_TO_MANAGERS.format("users.owner_uuid")}
            FROM above JOIN users ON users.uuid = above.uuid WHERE above.uuid <> :user
        UNION
        SELECT links.tail_uuid, min(above.level, {_LEVEL_OF_LINK}),
                above.strict OR {_PASSES_ONLY_TO_MANAGERS.format("links.tail_uuid")}
            FROM above JOIN links ON links.head_uuid = above.uuid
            WHERE links.link_class = 'permission' AND above.uuid <> :user
                AND (NOT above.strict OR links.name = 'can_manage') AND NOT {_TAIL_IS_TRASHED}
    )
    SELECT coalesce(max(level), 0) FROM above WHERE uuid = :user"""

_NOTED = """
    SELECT max(
        coalesce((SELECT level FROM temp.reach WHERE user_uuid = :user AND uuid = :uuid), 0),
        coalesce((SELECT owner_level FROM temp.reach WHERE user_uuid = :user AND uuid = :owner), 0)
    )"""

_COUNTED = {
    "links": ("link_class", "name", "tail_uuid", "head_uuid"),
    "groups": ("uuid", "owner_uuid", "is_trashed"),
    "users": ("uuid", "owner_uuid"),
}
"""Tables and columns that the graph is made of."""


def _triggers() -> list[str]:
    count = "BEGIN UPDATE permission_version SET version = version + 1; END"
    statements = []
    for table, columns in _COUNTED.items():
        for event in ("INSERT", "DELETE", f"UPDATE OF {', '.join(columns)}"):
            name = f"permission_version_{event.split()[0].lower()}_{table}"
            statements.append(
                f"CREATE TRIGGER IF NOT EXISTS {name} AFTER {event} ON {table} {count}"
            )
    return statements


DDL = (
    "CREATE TABLE IF NOT EXISTS permission_version (version INTEGER NOT NULL)",
    "INSERT INTO permission_version SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM permission_version)",
    *_triggers(),
)
"""Statements for the database, when its tables are there."""

TEMPORARY_DDL = (
    "CREATE TEMP TABLE reach (user_uuid TEXT, uuid TEXT, level INTEGER, owner_level INTEGER,"
    " PRIMARY KEY (user_uuid, uuid)) WITHOUT ROWID",
    "CREATE TEMP TABLE reach_version (user_uuid TEXT PRIMARY KEY, version INTEGER)",
)
"""Statements for each connection."""


def version(db: sqlite3.Connection) -> int:
    """Return a number that is another one after each change of the graph."""
    (number,) = db.execute("SELECT version FROM permission_version").fetchone()
    return int(number)


def _is_prepared(db: sqlite3.Connection, user_uuid: str) -> bool:
    found = db.execute(
        "SELECT 1 FROM temp.reach_version JOIN permission_version USING (version)"
        " WHERE user_uuid = ?",
        (user_uuid,),
    )
    return found.fetchone() is not None


def prepare(db: sqlite3.Connection, user_uuid: str) -> None:
    """Make `has_level` and `has_level_as_owner` right for a user, in this transaction."""
    if _is_prepared(db, user_uuid):
        return
    (count,) = db.execute("SELECT count(*) FROM temp.reach_version").fetchone()
    gone = "" if count >= _MOST_USERS else "WHERE user_uuid = :user"
    user = {"user": user_uuid}
    for table in ("reach", "reach_version"):
        db.execute(f"DELETE FROM temp.{table} {gone}", user)
    db.execute(f"INSERT INTO temp.reach {DEFINITION}", user)
    db.execute("INSERT INTO temp.reach_version VALUES (:user, :n)", {**user, "n": version(db)})


def has_level(column: str, user_uuid: str, level: int) -> Condition:
    """Return the condition that the user has a level on the object in `column` (with its table)."""
    return _has(column, "level", user_uuid, level)


def has_level_as_owner(column: str, user_uuid: str, level: int) -> Condition:
    """Return the condition that the user has a level on what the object in `column` owns."""
    return _has(column, "owner_level", user_uuid, level)


def _has(column: str, level_column: str, user_uuid: str, level: int) -> Condition:
    return Condition(
        f"EXISTS (SELECT 1 FROM temp.reach AS reached WHERE reached.user_uuid = ?"
        f" AND reached.uuid = {column} AND reached.{level_column} >= ?)",
        (user_uuid, level),
    )


def level_on(
    db: sqlite3.Connection, user_uuid: str, uuid: str | None, owner_uuid: str | None = None
) -> int:
    """Return the level of a user on `uuid`, or on what `owner_uuid` owns if that is more."""
    values = {"user": user_uuid, "uuid": uuid, "owner": owner_uuid}
    query = _NOTED if _is_prepared(db, user_uuid) else _ABOVE
    (level,) = db.execute(query, values).fetchone()
    return int(level)
