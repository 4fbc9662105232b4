"""SQL functions that give SQLite the text and JSON comparisons of the API.

A real cluster has PostgreSQL: its LIKE knows case and a backslash as escape, and its JSON values
have an order across types. SQLite differs in both, so these are functions of ours.
"""

from __future__ import annotations

import json
import re
import sqlite3
from functools import lru_cache
from typing import Any

__all__ = ["JSON_TESTS", "register"]

_TYPE_ORDER = {type(None): 0, str: 1, int: 2, float: 2, bool: 3, list: 4, dict: 5}


def register(connection: sqlite3.Connection) -> None:
    """Make the functions known to `connection`.

    matches(pattern, text, fold): LIKE, and ILIKE if `fold` is 1
    json_test(json, key, test, operand): one of JSON_TESTS on the value that `key` has
    json_has(json, keys): all of `keys` (JSON array) are keys of an object, elements of an array
    """
    for name, count, function in (
        ("matches", 3, _matches),
        ("json_test", 4, _json_test),
        ("json_has", 2, _json_has),
    ):
        connection.create_function(name, count, function, deterministic=True)


@lru_cache(maxsize=256)
def _expression(pattern: str, fold: int) -> re.Pattern[str]:
    # A leading and a trailing % become a search, which is much faster than `.*` on long texts.
    parts = re.findall(r"\\.|[^\\]|\\$", pattern, re.DOTALL)
    start, end = r"\A", r"\Z"
    if parts and parts[0] == "%":
        parts, start = parts[1:], ""
    if parts and parts[-1] == "%":
        parts, end = parts[:-1], ""
    wild = {"%": ".*", "_": "."}
    body = "".join(wild.get(part) or re.escape(part[-1]) for part in parts)
    return re.compile(start + body + end, re.DOTALL | (re.IGNORECASE if fold else 0))


def _matches(pattern: str, text: str | None, fold: int) -> bool | None:
    if text is None:
        return None
    return _expression(pattern, fold).search(str(text)) is not None


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Any:
    return json.loads(text)


def _sort_key(value: Any) -> tuple[int, Any]:
    """Order JSON values as PostgreSQL does: by type, then by value."""
    rank = _TYPE_ORDER[type(value)]
    if isinstance(value, list):
        return rank, (len(value), [_sort_key(item) for item in value])
    if isinstance(value, dict):
        return rank, (len(value), [(key, _sort_key(value[key])) for key in sorted(value)])
    return rank, 0 if value is None else value


def _equal(value: Any, operand: Any) -> bool:
    return _sort_key(value) == _sort_key(operand)


def _like(fold: int) -> Any:
    def test(value: Any, operand: Any) -> bool:
        text = value if isinstance(value, str) else json.dumps(value)
        return _expression(operand, fold).search(text) is not None

    return test


JSON_TESTS = {
    "=": _equal,
    "<": lambda value, operand: _sort_key(value) < _sort_key(operand),
    "<=": lambda value, operand: _sort_key(value) <= _sort_key(operand),
    ">": lambda value, operand: _sort_key(value) > _sort_key(operand),
    ">=": lambda value, operand: _sort_key(value) >= _sort_key(operand),
    "like": _like(0),
    "ilike": _like(1),
    "in": lambda value, operand: any(_equal(value, item) for item in operand),
    "exists": lambda _value, _operand: True,
    "contains": lambda value, operand: (
        _equal(value, operand)
        or (isinstance(value, list) and any(_equal(item, operand) for item in value))
    ),
}
"""Tests of a subproperty, by the name of the operator. All are false where the key is missing."""


def _json_test(text: str | None, key: str, test: str, operand: str) -> bool:
    record = _parsed(text) if text is not None else None
    if not isinstance(record, dict) or key not in record:
        return False
    return bool(JSON_TESTS[test](record[key], _parsed(operand)))


def _json_has(text: str | None, keys: str) -> bool | None:
    if text is None:
        return None
    record = _parsed(text)
    return all(key in record for key in _parsed(keys))
