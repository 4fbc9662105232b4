"""The SQL statements that are put together at run time.

Names of tables and columns come from ``tables`` alone, never from a request; values are always
bound to placeholders.
"""
# ruff: noqa: S608 (see above)

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from arvados_fuse.standalone.records.conditions import Condition

__all__ = ["among", "count", "delete", "duplicate", "insert", "select", "subselect", "update"]


def select(
    db: sqlite3.Connection,
    columns: Sequence[str],
    table: str,
    condition: Condition,
    tail: str = "",
    *,
    distinct: bool = False,
    limit: int = -1,
    offset: int = 0,
) -> sqlite3.Cursor:
    """Run a query. `tail` is an ORDER BY clause; a limit of -1 is none."""
    word = "SELECT DISTINCT" if distinct else "SELECT"
    return db.execute(
        f"{word} {', '.join(columns)} FROM {table} WHERE {condition.sql} {tail} LIMIT ? OFFSET ?",
        (*condition.values, limit, offset),
    )


def count(
    db: sqlite3.Connection, table: str, condition: Condition, distinct: Sequence[str] = ()
) -> int:
    """Return the number of rows; with `distinct`, of different values in these columns."""
    rows = f"FROM {table} WHERE {condition.sql}"
    if distinct:
        rows = f"FROM (SELECT DISTINCT {', '.join(distinct)} {rows})"
    (number,) = db.execute(f"SELECT count(*) {rows}", condition.values).fetchone()
    return int(number)


def insert(db: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> int:
    """Add a row; return its number."""
    places = ", ".join("?" * len(row))
    cursor = db.execute(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})",
        tuple(row.values()),
    )
    return int(cursor.lastrowid or 0)


def duplicate(
    db: sqlite3.Connection,
    table: str,
    columns: Sequence[str],
    others: Mapping[str, Any],
    condition: Condition,
) -> None:
    """Add rows with the `columns` of those that fulfil `condition`, and the values `others`."""
    names = ", ".join((*others, *columns))
    values = ", ".join((*("?" * len(others)), *columns))
    db.execute(
        f"INSERT INTO {table} ({names}) SELECT {values} FROM {table} WHERE {condition.sql}",
        (*others.values(), *condition.values),
    )


def update(
    db: sqlite3.Connection, table: str, values: Mapping[str, Any], condition: Condition
) -> None:
    """Change columns of rows."""
    assignments = ", ".join(f"{name} = ?" for name in values)
    db.execute(
        f"UPDATE {table} SET {assignments} WHERE {condition.sql}",
        (*values.values(), *condition.values),
    )


def delete(db: sqlite3.Connection, table: str, condition: Condition) -> None:
    """Remove rows."""
    db.execute(f"DELETE FROM {table} WHERE {condition.sql}", condition.values)


def among(expression: str, values: Iterable[Any]) -> Condition:
    """The expression is one of `values`, of which there may be any number."""
    sql = f"{expression} IN (SELECT value FROM json_each(?))"
    return Condition(sql, (json.dumps(list(values)),))


def subselect(column: str, table: str, condition: Condition) -> Condition:
    """A query in parentheses, to be used inside another condition."""
    return Condition(f"(SELECT {column} FROM {table} WHERE {condition.sql})", condition.values)
