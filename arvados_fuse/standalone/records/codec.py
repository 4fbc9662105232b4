"""Records as SQLite rows, and as the plain values that JSON has."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from arvados_fuse.standalone import clock
from arvados_fuse.standalone.records.filters import canonical_json
from arvados_fuse.standalone.records.model import Attribute, Resource, Type

__all__ = ["ValueInvalid", "checked_value", "decoded", "encoded", "etag"]


class ValueInvalid(ValueError):
    """A value that an attribute cannot have; the message says which and why."""


def decoded(resource: Resource, row: sqlite3.Row) -> dict[str, Any]:
    """Return the columns of a row as JSON values."""
    attributes = resource.by_name
    return {name: _decode(attributes[name].type, row[name]) for name in row.keys()}  # noqa: SIM118


def _decode(kind: Type, value: Any) -> Any:
    if value is None:
        return None
    if kind is Type.BOOLEAN:
        return bool(value)
    return json.loads(value) if kind.is_json else value


def encoded(resource: Resource, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON values as the columns hold them."""
    attributes = resource.by_name
    return {
        name: canonical_json(value) if attributes[name].type.is_json else value
        for name, value in values.items()
    }


def etag(resource: Resource, record: Mapping[str, Any]) -> str:
    """Return a text that is another one when anything in the columns of `record` is."""
    small = {name: record[name] for name in resource.small_columns if name in record}
    return hashlib.md5(canonical_json(small).encode()).hexdigest()


def checked_value(attribute: Attribute, value: Any) -> Any:
    """Return `value`, sent by a client, in its one right form. Raises ValueInvalid."""
    if attribute.type.is_json:
        return _checked_json(attribute, value)
    if value is None:
        return None
    try:
        value = _CHECKS[attribute.type](value)
    except (TypeError, ValueError):
        raise ValueInvalid(
            f"{attribute.name} has to be of type {attribute.type.value}, not {value!r:.100}"
        ) from None
    if attribute.max_length is not None and len(value) > attribute.max_length:
        raise ValueInvalid(
            f"{attribute.name} is too long (maximum is {attribute.max_length} characters)"
        )
    return value


def _checked_json(attribute: Attribute, value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueInvalid(f"{attribute.name} is not valid JSON") from None
    if value is None:
        return attribute.default
    expected = dict if attribute.type is Type.OBJECT else list
    if not isinstance(value, expected):
        raise ValueInvalid(f"{attribute.name} has to be of type {attribute.type.value}")
    try:
        canonical_json(value).encode()
    except ValueError:
        raise ValueInvalid(f"{attribute.name} has a number or text that JSON cannot say") from None
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # lone surrogates are not text
    if "\0" in value:
        raise ValueError
    return value


def _integer(value: Any) -> int:
    if isinstance(value, (bool, float)) or not -(2**63) <= int(value) < 2**63:
        raise TypeError
    return int(value)


def _boolean(value: Any) -> bool:
    if value not in (True, False, "true", "false", 1, 0):
        raise ValueError
    return value in (True, "true")


_CHECKS = {
    Type.TEXT: _text,
    Type.INTEGER: _integer,
    Type.BOOLEAN: _boolean,
    Type.TIMESTAMP: clock.timestamp,
}
