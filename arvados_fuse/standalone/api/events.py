"""Events: entries of the log as listeners get them, and who may get which.

(Arvados documentation, "API Reference", "Websocket event stream".)
"""

from __future__ import annotations

import json
import operator
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from arvados_fuse.standalone import clock
from arvados_fuse.standalone.api import auth, routes
from arvados_fuse.standalone.records import access, reach, sql
from arvados_fuse.standalone.records.access import Caller
from arvados_fuse.standalone.records.codec import decoded
from arvados_fuse.standalone.records.conditions import Condition
from arvados_fuse.standalone.records.listing import fetch_one
from arvados_fuse.standalone.records.model import Resource
from arvados_fuse.standalone.records.tables import LINKS, LOGS, resource_of_uuid

__all__ = ["Event", "Sight", "Subscription", "events_between", "newest_id", "subscription"]

_REDUCED = (
    "is_trashed",
    "name",
    "owner_uuid",
    "portable_data_hash",
    "requesting_container_uuid",
    "state",
)
"""The attributes that events tell about; who wants more asks for the record."""

_PIECE_LENGTH = 100
_PIECE_SIZE = 1 << 20
"""Bytes of messages, after which a piece of the log is long enough."""

_MOST_REMEMBERED = 200_000
_NOT_REMEMBERED = (LINKS, LOGS)
"""What can be seen because of other objects, which need not be projects or permissions."""

_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Event(NamedTuple):
    """One entry of the log.

    rest: the message for listeners as JSON, in UTF-8, from behind its opening brace
    """

    id: int
    event_type: str
    created_at: str
    object_uuid: str | None
    object_owner_uuid: str | None
    rest: bytes


class Subscription(NamedTuple):
    """Which events a listener wants.

    filters: as the listener sent them, to be recognized when it unsubscribes
    event_types: None for all
    times: comparisons with the time of the entry
    """

    filters: list[Any]
    event_types: frozenset[str] | None
    times: tuple[tuple[str, str], ...]

    @property
    def key(self) -> object:
        """What is the same for all who want the same; it can be hashed."""
        return self.event_types, self.times

    def wants(self, event: Event) -> bool:
        """Whether the event is one of those."""
        if self.event_types is not None and event.event_type not in self.event_types:
            return False
        return all(_COMPARISONS[sign](event.created_at, moment) for sign, moment in self.times)


def subscription(filters: Any) -> Subscription:
    """Return what `filters`, sent by a client, ask for. Raises ValueError.

    As on a real cluster, only the type of an event and its time can be filtered by; other
    conditions are taken for true.
    """
    if not isinstance(filters, list):
        raise ValueError("filters have to be an array")
    types: frozenset[str] | None = None
    times = []
    for one in filters:
        if not isinstance(one, list) or len(one) != 3:
            raise ValueError("a filter needs three elements")
        name, sign, operand = one
        if name == "event_type" and sign == "in" and isinstance(operand, list):
            wanted = frozenset(str(item) for item in operand)
            types = wanted if types is None else types & wanted
        elif name == "created_at" and sign in _COMPARISONS and isinstance(operand, str):
            times.append((sign, clock.timestamp(operand)))
    return Subscription(filters, types, tuple(times))


def newest_id(db: sqlite3.Connection) -> int:
    """Return the id of the last entry of the log; 0 if there has never been one."""
    (number,) = db.execute("SELECT coalesce(max(id), 0) FROM logs").fetchone()
    return int(number)


def events_between(
    db: sqlite3.Connection, after: int, upto: int, since: str = ""
) -> tuple[list[Event], int]:
    """Return the first events with after < id <= upto that happened after `since`.

    They are as many as make a good piece to work on. The second result says how far they reach:
    `upto` if there are no more.
    """
    condition = Condition("id > ? AND id <= ? AND created_at > ?", (after, upto, since))
    events = []
    size = 0
    for row in sql.select(db, LOGS.small_columns, LOGS.name, condition, "ORDER BY id"):
        events.append(_event(decoded(LOGS, row)))
        size += len(events[-1].rest)
        if len(events) == _PIECE_LENGTH or size > _PIECE_SIZE:
            return events, events[-1].id
    return events, max(after, upto)


def _event(entry: dict[str, Any]) -> Event:
    object_kind = resource_of_uuid(entry["object_uuid"])
    message = {
        "id": entry["id"],
        "uuid": entry["uuid"],
        "object_uuid": entry["object_uuid"],
        "object_owner_uuid": entry["object_owner_uuid"],
        "object_kind": object_kind.kind if object_kind else None,
        "event_type": entry["event_type"],
        "event_at": entry["event_at"],
        "properties": _reduced(entry["properties"]),
    }
    return Event(
        id=entry["id"],
        event_type=entry["event_type"] or "",
        created_at=entry["created_at"],
        object_uuid=entry["object_uuid"],
        object_owner_uuid=entry["object_owner_uuid"],
        rest=json.dumps(message)[1:].encode(),
    )


def _reduced(properties: dict[str, Any]) -> dict[str, Any]:
    if "text" in properties:
        return properties
    found = {}
    for side in ("old_attributes", "new_attributes"):
        attributes = properties.get(side)
        if isinstance(attributes, dict):
            found[side] = {name: attributes[name] for name in _REDUCED if name in attributes}
    return found


class Sight:
    """Who may see which events. Any number of threads may ask.

    What the permissions of a user give for an object is remembered, as long as no permission and
    no project changes.
    """

    def __init__(self) -> None:
        # One value, so that a thread that looks at an older state of the database cannot mix it
        # with a newer one.
        self._remembered: tuple[int, dict[object, bool]] = (-1, {})

    def seen_by(
        self, db: sqlite3.Connection, tokens: Iterable[str], events: Sequence[Event], now: str
    ) -> dict[str, list[Event]]:
        """Return for each token the events that may be seen with it, in their order."""
        known = self._known(db)
        subjects = [(event, _subject(db, event, now)) for event in events]
        seen = {}
        for token in tokens:
            caller = auth.identify(db, token, now)
            seen[token] = [
                event for event, subject in subjects if caller and _sees(db, caller, subject, known)
            ]
        return seen

    def _known(self, db: sqlite3.Connection) -> dict[object, bool]:
        version, known = self._remembered
        if version != reach.version(db) or len(known) > _MOST_REMEMBERED:
            known = {}
            self._remembered = (reach.version(db), known)
        return known


class _Subject(NamedTuple):
    """Who may get this record may see an event.

    record: None if there is none, or not any more: then nobody may
    path: of the request that gets it
    """

    resource: Resource | None
    record: Mapping[str, Any] | None
    path: str


def _subject(db: sqlite3.Connection, event: Event, now: str) -> _Subject:
    """Return the object of the event; of one that is gone, its owner."""
    uuid = event.object_owner_uuid if event.event_type == "delete" else event.object_uuid
    resource = resource_of_uuid(uuid)
    if resource is None:
        return _Subject(None, None, "")
    path = f"{routes.BASE_PATH}{resource.name}/{uuid}"
    row = fetch_one(db, resource, resource.small_columns, Condition("uuid = ?", (uuid,)))
    record = None if row is None else decoded(resource, row)
    if record is not None and access.is_trashed(db, resource, now, record, include_trash=True):
        record = None
    return _Subject(resource, record, path)


def _sees(
    db: sqlite3.Connection, caller: Caller, subject: _Subject, known: dict[object, bool]
) -> bool:
    resource, record, path = subject
    if resource is None:
        return caller.is_admin
    if record is None or not auth.in_scope(caller, "GET", path):
        return False
    if caller.is_admin or resource in _NOT_REMEMBERED:
        return access.may_read(db, resource, caller, record)
    key = (caller.user_uuid, caller.is_active, record["uuid"], record["owner_uuid"])
    if key not in known:
        known[key] = access.may_read(db, resource, caller, record)
    return known[key]
