"""Reading rows: one by its uuid, and pages of lists."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from arvados_fuse.standalone.records import sql
from arvados_fuse.standalone.records.conditions import Condition
from arvados_fuse.standalone.records.model import Resource

__all__ = ["Page", "SelectInvalid", "columns_to_read", "count_rows", "fetch_one", "fetch_rows"]

_ORDER = re.compile(r"\s*(?:(\w+)\.)?(\w+)(?:\s+(asc|desc))?\s*", re.IGNORECASE)
_USUAL_ORDER = ("modified_at desc", "uuid desc")


class SelectInvalid(ValueError):
    """A request selects an attribute that the resource does not have."""


@dataclass(frozen=True)
class Page:
    """Which part of a list is wanted, and how.

    select: names of attributes; None for the usual ones
    order: entries like "name desc", possibly with "table." before the name
    """

    select: tuple[str, ...] | None = None
    order: tuple[str, ...] = field(default=())
    limit: int = 100
    offset: int = 0
    distinct: bool = False


def columns_to_read(resource: Resource, select: Sequence[str] | None) -> list[str]:
    """Return the columns that presenting the attributes of `select` takes.

    Small ones are always read, which costs nothing. Raises SelectInvalid.
    """
    columns = list(resource.small_columns)
    for name in select or ():
        attribute = resource.by_name.get(name)
        if attribute is None or not attribute.shown:
            raise SelectInvalid(f"no attribute {name!r} in {resource.name}")
        stored = name.removeprefix("unsigned_")
        if resource.by_name[stored].large and stored not in columns:
            columns.append(stored)
    return columns


def fetch_one(
    db: sqlite3.Connection, resource: Resource, columns: Sequence[str], condition: Condition
) -> sqlite3.Row | None:
    """Return the columns of the first row that fulfils `condition`, None if there is none."""
    row: sqlite3.Row | None = sql.select(db, columns, resource.name, condition, limit=1).fetchone()
    return row


def count_rows(db: sqlite3.Connection, resource: Resource, condition: Condition, page: Page) -> int:
    """Return how many rows a list has in all."""
    distinct = _distinct_columns(resource, page) if page.distinct and page.select else ()
    return sql.count(db, resource.name, condition, distinct)


def fetch_rows(
    db: sqlite3.Connection, resource: Resource, condition: Condition, page: Page
) -> list[sqlite3.Row]:
    """Return the rows of one page of a list. Raises SelectInvalid."""
    distinct = page.distinct and bool(page.select)
    columns = columns_to_read(resource, page.select)
    if distinct:
        columns = _distinct_columns(resource, page)
    return sql.select(
        db,
        columns,
        resource.name,
        condition,
        _order_by(resource, page),
        distinct=distinct,
        limit=page.limit,
        offset=page.offset,
    ).fetchall()


def _distinct_columns(resource: Resource, page: Page) -> list[str]:
    columns_to_read(resource, page.select)
    return [name for name in page.select or () if resource.by_name[name].stored] or ["uuid"]


def _order_by(resource: Resource, page: Page) -> str:
    """Return the ORDER BY clause.

    As on a real cluster, entries that make no sense are left out, and so are attributes that the
    request does not select.
    """
    terms: dict[str, str] = {}
    for entry in (*page.order, *_USUAL_ORDER):
        found = _ORDER.fullmatch(entry)
        if found is None:
            continue
        table, name, direction = found.groups()
        attribute = resource.by_name.get(name)
        known = name == "id" or (attribute is not None and attribute.stored)
        if not known or (table and table != resource.name):
            continue
        if page.select and name not in page.select:
            continue
        terms.setdefault(name, f"{resource.name}.{name} {direction or 'asc'}")
        if name in ("uuid", "id"):
            break
    return f"ORDER BY {', '.join(terms.values())}" if terms else ""
