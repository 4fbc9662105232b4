"""Methods of users.

(Arvados documentation, "API Reference", "Users".)
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from arvados_fuse.standalone import identity
from arvados_fuse.standalone.api import records
from arvados_fuse.standalone.api.errors import Forbidden, Unprocessable
from arvados_fuse.standalone.api.lists import CREATE_PARAMETERS, SELECT, selected
from arvados_fuse.standalone.api.method import Call, Method, Parameter
from arvados_fuse.standalone.api.plain import UUID, get_method, get_record, list_method
from arvados_fuse.standalone.api.presentation import present
from arvados_fuse.standalone.records.tables import USERS

__all__ = ["METHODS", "create", "insert"]

Record = dict[str, Any]

_USERNAME = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_OWN_ATTRIBUTES = {"first_name", "last_name", "prefs"}
"""What users may say about themselves."""


def _current_user(call: Call) -> Record:
    return get_record(call, USERS, call.caller.user_uuid)


def _system_user(call: Call) -> Record:
    return get_record(call, USERS, call.core.system_user_uuid)


def create(call: Call) -> Record:
    """Make a user with the attributes of `call`. Raises Forbidden, Unprocessable."""
    names, _ = selected(call, USERS)
    with call.core.database.write() as db:
        record = insert(db, call, call.attributes)
    return present(call, USERS, record, names)


def insert(db: sqlite3.Connection, call: Call, attributes: Mapping[str, Any]) -> Record:
    """Store a new user with these attributes. Raises Forbidden, Unprocessable."""
    if not call.caller.is_admin:
        raise Forbidden("Only administrators make users")
    values = records.accepted(replace(call, attributes=attributes), USERS, None)
    _check_username(values)
    record = records.new_record(call, USERS, values)
    record["owner_uuid"] = call.core.system_user_uuid
    record = records.insert(db, call, USERS, record, is_permitted=True)
    _settle_activity(db, call, record)
    return record


def _update(call: Call) -> Record:
    names, columns = selected(call, USERS)
    with call.core.database.write() as db:
        current = records.find(db, call, USERS, call.parameters["uuid"], columns=columns)
        changes = records.accepted(call, USERS, current)
        if not call.caller.is_admin and changes.keys() - _OWN_ATTRIBUTES:
            raise Forbidden(f"Only administrators change {min(changes.keys() - _OWN_ATTRIBUTES)}")
        if "owner_uuid" in changes or "uuid" in changes:
            raise Unprocessable("uuid and owner_uuid of a user cannot be changed")
        _check_username(changes)
        record = records.update(db, call, USERS, current, changes)
        if "is_active" in changes:
            _settle_activity(db, call, record)
    return present(call, USERS, record, names)


def _check_username(values: Record) -> None:
    username = values.get("username")
    if username is not None and not _USERNAME.fullmatch(username):
        raise Unprocessable("Username has to be letters and digits, and to begin with a letter")


def _settle_activity(db: sqlite3.Connection, call: Call, record: Record) -> None:
    settle = identity.activate if record["is_active"] else identity.deactivate
    settle(db, call.core.cluster_id, record["uuid"])


METHODS = (
    get_method(USERS),
    list_method(USERS),
    Method(
        id="users.current",
        http_method="GET",
        path="users/current",
        run=_current_user,
        description="Get the user that the token of the request belongs to.",
        response=USERS.class_name,
    ),
    Method(
        id="users.system",
        http_method="GET",
        path="users/system",
        run=_system_user,
        description="Get the system user, which owns what belongs to nobody else.",
        response=USERS.class_name,
    ),
    Method(
        id="users.create",
        http_method="POST",
        path="users",
        run=create,
        description="Make a user, as an administrator.",
        parameters=CREATE_PARAMETERS,
        response=USERS.class_name,
        takes=USERS,
    ),
    Method(
        id="users.update",
        http_method="PUT",
        path="users/{uuid}",
        run=_update,
        description="Change attributes of a user; others than administrators only their own.",
        parameters={
            "uuid": UUID,
            "select": SELECT,
            "bypass_federation": Parameter(
                "boolean", "Do not tell other clusters of a federation.", default=False
            ),
        },
        response=USERS.class_name,
        takes=USERS,
    ),
)
