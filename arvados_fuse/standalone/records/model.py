"""The words in which ``tables`` describes the resources of the API."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

__all__ = ["Attribute", "Resource", "Type", "UniqueNames", "Writable"]

JSON = Any
"""A value as the `json` module makes it."""


class Type(enum.Enum):
    """Type of an attribute; the value is the name that the discovery document uses."""

    TEXT = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TIMESTAMP = "datetime"
    OBJECT = "Hash"
    ARRAY = "Array"

    @property
    def sql(self) -> str:
        """The column type. Timestamps and JSON are text; booleans are 0 and 1."""
        return "INTEGER" if self in (Type.INTEGER, Type.BOOLEAN) else "TEXT"

    @property
    def is_json(self) -> bool:
        """Whether the column holds JSON text."""
        return self in (Type.OBJECT, Type.ARRAY)


class Writable(enum.Enum):
    """Who may set an attribute."""

    YES = "whoever may write the record"
    ADMIN = "administrators; others may only clear it"
    IGNORED = "the server; what a client sends is dropped without a word"
    COMPUTED = "the server; a client may only send the value that the record has already"


@dataclass(frozen=True)
class Attribute:
    """One attribute of a resource.

    default: JSON value that a new record has if the client gives none
    stored: it is a column; otherwise it is computed when a record is presented
    shown: it is part of the record that clients see; otherwise it is only for filters
    large: its value can be megabytes: never read from disk unless it is asked for
    selected_only: presented only if the client selects it by name
    max_length: in characters, for text
    """

    name: str
    type: Type = Type.TEXT
    writable: Writable = Writable.YES
    default: JSON = None
    stored: bool = True
    shown: bool = True
    large: bool = False
    selected_only: bool = False
    max_length: int | None = None


@dataclass(frozen=True)
class UniqueNames:
    """A rule that rows, of those that `condition` is true for, differ in `columns`."""

    columns: tuple[str, ...]
    condition: str


@dataclass(frozen=True)
class Resource:
    """A kind of record.

    name: plural, as in paths and as name of the SQL table
    infix: the middle part of its uuids
    class_name: as in schemas of the discovery document
    """

    name: str
    singular: str
    infix: str
    class_name: str
    attributes: tuple[Attribute, ...]
    unique: tuple[UniqueNames, ...] = ()
    indexes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The value of ``kind`` in its records."""
        return f"arvados#{self.class_name[0].lower()}{self.class_name[1:]}"

    @cached_property
    def by_name(self) -> Mapping[str, Attribute]:
        """The attributes by name."""
        return {attribute.name: attribute for attribute in self.attributes}

    @cached_property
    def columns(self) -> tuple[Attribute, ...]:
        """The stored attributes. Large ones come last, so that SQLite can read a row without them.

        (SQLite keeps a row as one string of columns; the end of a long row is on pages of its own.)
        """
        stored = [attribute for attribute in self.attributes if attribute.stored]
        return tuple(sorted(stored, key=lambda attribute: attribute.large))

    @cached_property
    def small_columns(self) -> tuple[str, ...]:
        """Names of the stored attributes that are cheap to read."""
        return tuple(attribute.name for attribute in self.columns if not attribute.large)

    @property
    def ddl(self) -> list[str]:
        """The SQL statements that make its table and indexes where they do not exist."""
        columns = ["id INTEGER PRIMARY KEY AUTOINCREMENT"]
        for attribute in self.columns:
            if attribute.name == "id":
                continue
            unique = " NOT NULL UNIQUE" if attribute.name == "uuid" else ""
            columns.append(f"{attribute.name} {attribute.type.sql}{unique}")
        statements = [f"CREATE TABLE IF NOT EXISTS {self.name} ({', '.join(columns)})"]
        for rule in self.unique:
            name = f"index_{self.name}_on_{'_and_'.join(rule.columns)}"
            statements.append(
                f"CREATE UNIQUE INDEX IF NOT EXISTS {name}"
                f" ON {self.name} ({', '.join(rule.columns)}) WHERE {rule.condition}"
            )
        for columns_text in self.indexes:
            name = f"index_{self.name}_on_{columns_text.replace(', ', '_and_')}"
            statements.append(f"CREATE INDEX IF NOT EXISTS {name} ON {self.name} ({columns_text})")
        return statements
