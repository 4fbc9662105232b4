"""Filters of list requests, as SQL conditions.

(Arvados documentation, "Common resource methods", section "Available list method filters".)
"""

from __future__ import annotations

import json
import re
from typing import Any

from arvados_fuse.standalone import clock
from arvados_fuse.standalone.records.conditions import ALWAYS, NEVER, Condition, all_of, any_of
from arvados_fuse.standalone.records.model import Attribute, Resource, Type
from arvados_fuse.standalone.records.sql import among
from arvados_fuse.standalone.records.sqlfunctions import JSON_TESTS
from arvados_fuse.standalone.records.tables import RESOURCES

__all__ = ["FilterInvalid", "canonical_json", "where"]

_COMPARISONS = ("=", "<", "<=", ">", ">=")
_NEGATIONS = {"!=": "=", "<>": "=", "not in": "in"}
_TRUE = ("true", "1", "t", "y", "yes")
_FALSE = ("false", "0", "f", "n", "no")
_COLUMN_COMPARISON = re.compile(r"\(\s*(\w+)\s*(<=|>=|=|<|>)\s*(\w+)\s*\)")
_KINDS = {resource.kind: resource.infix for resource in RESOURCES}


class FilterInvalid(ValueError):
    """A filter that cannot be applied; the message says which and why."""


def canonical_json(value: Any) -> str:
    """Return JSON text that is the same for the same value. JSON columns hold this form.

    Raises ValueError for numbers that JSON does not have.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def where(resource: Resource, filters: Any) -> Condition:
    """Return the condition that all `filters`, a value from a request, make on rows.

    Raises FilterInvalid.
    """
    if filters is None:
        return ALWAYS
    if not isinstance(filters, list):
        raise FilterInvalid(f"Invalid filters: {filters!r} is not an array")
    return all_of([_condition(resource, one) for one in filters])


def _condition(resource: Resource, one: Any) -> Condition:
    if isinstance(one, str):
        return _columns_compared(resource, one)
    if not isinstance(one, list) or len(one) != 3:
        raise FilterInvalid(f"Invalid filter {one!r}: it needs three elements")
    name, operator, operand = one
    if not isinstance(name, str) or not isinstance(operator, str):
        raise FilterInvalid(f"Invalid filter {one!r}: attribute and operator have to be strings")
    operator = operator.lower()
    try:
        return _dispatch(resource, name, operator, operand)
    except _Unfit as problem:
        raise FilterInvalid(f"Invalid filter {one!r}: {problem}") from None


class _Unfit(Exception):
    """Why an operator or operand does not go with an attribute."""


def _dispatch(resource: Resource, name: str, operator: str, operand: Any) -> Condition:
    if isinstance(operand, dict):
        raise _Unfit("the operand cannot be an object")
    if name == "any":
        return _any_attribute(resource, operator, operand)
    if name in ("head_kind", "tail_kind") and name in resource.by_name:
        if operator not in ("=", "is_a"):
            raise _Unfit(f"{name} can only be compared with =")
        name, operator = name.replace("_kind", "_uuid"), "is_a"
    base, dot, key = name.partition(".")
    attribute = resource.by_name.get(base)
    if attribute is None or not attribute.stored:
        raise _Unfit(f"no attribute {name!r} to filter by")
    if dot:
        if attribute.type is not Type.OBJECT:
            raise _Unfit(f"{base} has no subproperties")
        return _subproperty(f"{resource.name}.{base}", key.strip("<>"), operator, operand)
    return _attribute(resource, attribute, operator, operand)


def _columns_compared(resource: Resource, text: str) -> Condition:
    found = _COLUMN_COMPARISON.fullmatch(text.strip())
    if found is None:
        raise FilterInvalid(f"Invalid filter {text!r}: it is not like '(attribute < attribute)'")
    left, operator, right = found.groups()
    for name in (left, right):
        attribute = resource.by_name.get(name)
        if attribute is None or not attribute.stored or attribute.type is not Type.INTEGER:
            raise FilterInvalid(f"Invalid filter {text!r}: no integer attribute {name!r}")
    return Condition(f"{resource.name}.{left} {operator} {resource.name}.{right}")


def _attribute(resource: Resource, attribute: Attribute, operator: str, operand: Any) -> Condition:
    column = f"{resource.name}.{attribute.name}"
    if operator in _NEGATIONS:
        return _negated(column, attribute, operator, operand)
    if operator in _COMPARISONS:
        return _compared(column, attribute, operator, operand)
    if operator in ("like", "ilike"):
        if attribute.type is not Type.TEXT:
            raise _Unfit(f"{attribute.name} is not text")
        return _like(column, operator, operand)
    if operator == "in":
        return _in(column, attribute, operand)
    if operator == "is_a":
        return _is_a(resource, attribute, operand)
    if operator in ("exists", "contains") and attribute.type.is_json:
        return _has(column, operator, operand)
    raise _Unfit(f"no operator {operator!r} for {attribute.name}")


def _negated(column: str, attribute: Attribute, operator: str, operand: Any) -> Condition:
    if operator == "not in":
        condition = _in(column, attribute, operand)
        if None in operand:
            # SQL's way: a comparison with NULL is never true.
            return Condition(f"{column} IS NOT NULL AND NOT ({condition.sql})", condition.values)
        return condition.negated()
    if operand is None:
        return Condition(f"{column} IS NOT NULL")
    return Condition(f"{column} IS NOT ?", (_operand(attribute, operand),))


def _compared(column: str, attribute: Attribute, operator: str, operand: Any) -> Condition:
    if operand is None:
        if operator != "=":
            raise _Unfit("null has no order")
        return Condition(f"{column} IS NULL")
    if operator != "=" and (attribute.type is Type.BOOLEAN or attribute.type.is_json):
        raise _Unfit(f"{attribute.name} has no order")
    return Condition(f"{column} {operator} ?", (_operand(attribute, operand),))


def _operand(attribute: Attribute, operand: Any) -> Any:
    """Bring an operand other than null into the form that the column has."""
    try:
        return _CONVERSIONS[attribute.type](operand)
    except (TypeError, ValueError, KeyError):
        raise _Unfit(
            f"{operand!r} is not a value for {attribute.name} ({attribute.type.value})"
        ) from None


def _text(operand: Any) -> str:
    if isinstance(operand, (bool, list)):
        raise TypeError
    return str(operand)


def _integer(operand: Any) -> int:
    if isinstance(operand, (bool, float)):
        raise TypeError
    return int(operand)


def _boolean(operand: Any) -> int:
    text = str(operand).lower()
    if text not in _TRUE and text not in _FALSE:
        raise ValueError
    return int(text in _TRUE)


def _json_text(operand: Any) -> str:
    if not isinstance(operand, str):
        raise TypeError
    return canonical_json(json.loads(operand))


_CONVERSIONS = {
    Type.TEXT: _text,
    Type.INTEGER: _integer,
    Type.BOOLEAN: _boolean,
    Type.TIMESTAMP: clock.timestamp,
    Type.OBJECT: _json_text,
    Type.ARRAY: _json_text,
}


def _like(column: str, operator: str, operand: Any) -> Condition:
    if not isinstance(operand, str):
        raise _Unfit(f"the operand of {operator} has to be a string")
    return Condition(f"matches(?, {column}, ?)", (operand, int(operator == "ilike")))


def _in(column: str, attribute: Attribute, operand: Any) -> Condition:
    if not isinstance(operand, list):
        raise _Unfit("the operand of in has to be an array")
    if attribute.type is Type.INTEGER and any(isinstance(item, str) for item in operand):
        raise _Unfit(f"{attribute.name} is an integer")
    return among(column, [_operand(attribute, item) for item in operand if item is not None])


def _is_a(resource: Resource, attribute: Attribute, operand: Any) -> Condition:
    kinds = [operand] if isinstance(operand, str) else operand
    if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
        raise _Unfit("the operand of is_a has to be a kind or an array of kinds")
    if attribute.name == "uuid":
        return ALWAYS if resource.kind in kinds else NEVER
    infixes = [_KINDS[kind] for kind in kinds if kind in _KINDS]
    return among(f"substr({resource.name}.{attribute.name}, 7, 5)", infixes)


def _has(column: str, operator: str, operand: Any) -> Condition:
    keys = operand if operator == "contains" and isinstance(operand, list) else [operand]
    if not keys or not all(isinstance(key, str) for key in keys):
        raise _Unfit(f"the operand of {operator} has to be a string or an array of strings")
    return Condition(f"json_has({column}, ?)", (canonical_json(keys),))


def _any_attribute(resource: Resource, operator: str, operand: Any) -> Condition:
    texts = [
        attribute
        for attribute in resource.columns
        if attribute.type in (Type.TEXT, Type.OBJECT) and attribute.name != "manifest_text"
    ]
    if operator in ("like", "ilike") and re.fullmatch("%.*%", str(operand), re.DOTALL):
        joined = " || ' ' || ".join(f"coalesce({resource.name}.{a.name}, '')" for a in texts)
        return _like(joined, operator, operand)
    plain = [attribute for attribute in texts if attribute.type is Type.TEXT]
    return any_of([_attribute(resource, attribute, operator, operand) for attribute in plain])


def _subproperty(column: str, key: str, operator: str, operand: Any) -> Condition:
    positive = _NEGATIONS.get(operator, operator)
    if positive not in JSON_TESTS:
        raise _Unfit(f"no operator {operator!r} for a subproperty")
    if positive in ("like", "ilike") and not isinstance(operand, str):
        raise _Unfit(f"the operand of {operator} has to be a string")
    if positive == "in" and not isinstance(operand, list):
        raise _Unfit("the operand of in has to be an array")
    if positive == "exists" and not isinstance(operand, bool):
        raise _Unfit("the operand of exists has to be true or false")
    condition = Condition(f"json_test({column}, ?, ?, ?)", (key, positive, canonical_json(operand)))
    if operator in _NEGATIONS or (operator == "exists" and operand is False):
        return condition.negated()
    return condition
