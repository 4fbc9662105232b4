"""A method of the API as a value: routes, parameters and the discovery document come from it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from arvados_fuse.standalone import clock
from arvados_fuse.standalone.api.errors import Unauthorized
from arvados_fuse.standalone.core import Core
from arvados_fuse.standalone.records import access
from arvados_fuse.standalone.records.access import Caller, Rights
from arvados_fuse.standalone.records.conditions import Condition, any_of
from arvados_fuse.standalone.records.model import Resource

__all__ = ["Call", "Method", "Parameter"]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a method. `type` is a name from JSON schema."""

    type: str
    description: str
    default: Any = None
    required: bool = False


@dataclass(frozen=True)
class Call:
    """One request, ready for the method that it asks for.

    parameters: values by name, of the type that the method declares; defaults are filled in
    attributes: what the client wants a record to have
    readers: whose objects the request may read besides the caller's own
    external: the client says that it is outside the cluster's network
    peer: the address of the client
    now: the time that the whole request goes by
    """

    core: Core
    parameters: Mapping[str, Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    identified: Caller | None = None
    readers: tuple[Caller, ...] = ()
    external: bool = False
    peer: str = ""
    now: str = field(default_factory=clock.now)

    @property
    def caller(self) -> Caller:
        """On whose behalf this runs. Raises Unauthorized if the request had no token."""
        if self.identified is None:
            raise Unauthorized("Not logged in: the request has no token that is valid here")
        return self.identified

    def visible(
        self, db: sqlite3.Connection, resource: Resource, *, include_trash: bool, table: str = ""
    ) -> Condition:
        """Return the condition that a row may be seen in the answer to this request.

        It holds for the transaction of `db`. `table` is another name of the table in the query.
        """
        seers = (self.caller, *self.readers)
        return any_of(
            access.visible(db, resource, seer, self.now, include_trash=include_trash, table=table)
            for seer in seers
        )

    def may_see(
        self,
        db: sqlite3.Connection,
        resource: Resource,
        record: Mapping[str, Any],
        *,
        include_trash: bool,
    ) -> bool:
        """Whether one record, given with its small columns at least, may be seen in the answer."""
        return any(
            access.may_see(db, resource, seer, self.now, record, include_trash=include_trash)
            for seer in (self.caller, *self.readers)
        )

    @cached_property
    def rights(self) -> Rights:
        """The rights of the caller, as they are when they are first asked for."""
        return Rights(self.core.database, self.caller)


@dataclass(frozen=True)
class Method:
    """A method of the API.

    id: as in the discovery document, like "collections.get"
    path: below /arvados/v1/, like "collections/{uuid}"
    run: does it; the result becomes the JSON answer
    response: name of a schema, empty for an answer without one
    takes: the resource whose attributes the request body has
    anonymous: no token is needed
    other_path: a second path that means the same
    """

    id: str
    http_method: str
    path: str
    run: Callable[[Call], Any]
    description: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    response: str = ""
    takes: Resource | None = None
    anonymous: bool = False
    other_path: str = ""
