"""SQL conditions as values: text with placeholders, and what goes into them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

__all__ = ["ALWAYS", "NEVER", "Condition", "all_of", "any_of"]


class Condition(NamedTuple):
    """An SQL expression that is true or false for a row, and the values of its placeholders."""

    sql: str
    values: tuple[Any, ...] = ()

    def negated(self) -> Condition:
        """The opposite; where this is NULL, it is true."""
        return Condition(f"NOT coalesce({self.sql}, 0)", self.values)


ALWAYS = Condition("1")
NEVER = Condition("0")


def _joined(word: str, conditions: Iterable[Condition], empty: Condition) -> Condition:
    parts = list(conditions)
    if not parts:
        return empty
    sql = f" {word} ".join(f"({part.sql})" for part in parts)
    return Condition(sql, tuple(value for part in parts for value in part.values))


def all_of(conditions: Iterable[Condition]) -> Condition:
    """All conditions hold."""
    return _joined("AND", conditions, ALWAYS)


def any_of(conditions: Iterable[Condition]) -> Condition:
    """At least one condition holds."""
    return _joined("OR", conditions, NEVER)
