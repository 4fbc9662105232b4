"""Methods of users that let an account begin and end: setup, activate, unsetup, delete.

(Arvados documentation, "API Reference", "Users"; "User management".)
"""

from __future__ import annotations

import sqlite3
from typing import Any

from arvados_fuse.standalone import identity, wellknown
from arvados_fuse.standalone.api import records, users
from arvados_fuse.standalone.api.errors import Forbidden, Unprocessable
from arvados_fuse.standalone.api.method import Call, Method, Parameter
from arvados_fuse.standalone.api.plain import UUID
from arvados_fuse.standalone.api.presentation import present, usual_attributes
from arvados_fuse.standalone.records import sql
from arvados_fuse.standalone.records.codec import decoded
from arvados_fuse.standalone.records.conditions import Condition
from arvados_fuse.standalone.records.model import Resource
from arvados_fuse.standalone.records.tables import (
    COLLECTIONS,
    GROUPS,
    LINKS,
    TOKENS,
    USERS,
    WORKFLOWS,
)

__all__ = ["METHODS"]

Record = dict[str, Any]


def _shown(call: Call, record: Record) -> Record:
    return present(call, USERS, record, usual_attributes(USERS, in_list=False))


def _check_administrator(call: Call) -> None:
    if not call.caller.is_admin:
        raise Forbidden("Only administrators manage accounts")


def _setup(call: Call) -> Record:
    """Make a user one of all users, so that he can be activated. He may be a new one."""
    _check_administrator(call)
    uuid, attributes = call.parameters["uuid"], call.parameters["user"]
    if (uuid is None) == (attributes is None):
        raise Unprocessable("Either uuid or user has to be given, and not both")
    with call.core.database.write() as db:
        if uuid is None:
            record = users.insert(db, call, attributes)
        else:
            record = records.find(db, call, USERS, uuid)
        identity.activate(db, call.core.cluster_id, record["uuid"])
        ends = (record["uuid"], wellknown.all_users(call.core.cluster_id))
        membership = Condition(
            "link_class = 'permission' AND tail_uuid = ? AND head_uuid = ?", ends
        )
        (link,) = sql.select(db, LINKS.small_columns, LINKS.name, membership)
    names = usual_attributes(LINKS, in_list=False)
    items = [present(call, LINKS, decoded(LINKS, link), names), _shown(call, record)]
    return {"kind": "arvados#HashList", "items": items}


def _activate(call: Call) -> Record:
    """Let a user work who has been set up; users may do so for themselves."""
    uuid = call.parameters["uuid"]
    if uuid != call.caller.user_uuid:
        _check_administrator(call)
    with call.core.database.write() as db:
        current = records.find(db, call, USERS, uuid)
        if not identity.is_set_up(db, call.core.cluster_id, uuid):
            raise Forbidden(f"{uuid} has not been set up by an administrator")
        changes = {"is_active": True}
        record = records.update(db, call, USERS, current, changes, is_permitted=True)
    return _shown(call, record)


def _unsetup(call: Call) -> Record:
    """Take from a user all that makes him one, but for his record and what he owns."""
    _check_administrator(call)
    with call.core.database.write() as db:
        current = records.find(db, call, USERS, call.parameters["uuid"])
        _check_may_end(call, current)
        identity.deactivate(db, call.core.cluster_id, current["uuid"])
        _remove(db, call, TOKENS, Condition("owner_uuid = ?", (current["uuid"],)))
        changes = {"is_active": False, "is_admin": False}
        record = records.update(db, call, USERS, current, changes)
    return _shown(call, record)


def _delete(call: Call) -> Record:
    _check_administrator(call)
    with call.core.database.write() as db:
        current = records.find(db, call, USERS, call.parameters["uuid"])
        uuid = current["uuid"]
        _check_may_end(call, current)
        for resource in (COLLECTIONS, GROUPS, LINKS, WORKFLOWS):
            if sql.count(db, resource.name, Condition("owner_uuid = ?", (uuid,))):
                raise Unprocessable(f"{uuid} owns {resource.name}: give them to another one first")
        _remove(db, call, TOKENS, Condition("owner_uuid = ?", (uuid,)))
        _remove(db, call, LINKS, Condition("? IN (head_uuid, tail_uuid)", (uuid,)))
        records.delete(db, call, USERS, current)
    return _shown(call, current)


def _check_may_end(call: Call, user: Record) -> None:
    cluster_id = call.core.cluster_id
    if user["uuid"] in (wellknown.system_user(cluster_id), wellknown.anonymous_user(cluster_id)):
        raise Forbidden(f"The cluster needs the user {user['username']}")
    if user["uuid"] == call.caller.user_uuid:
        raise Forbidden("You cannot end your own account")


def _remove(db: sqlite3.Connection, call: Call, resource: Resource, condition: Condition) -> None:
    rows = sql.select(db, resource.small_columns, resource.name, condition).fetchall()
    for row in rows:
        records.delete(db, call, resource, decoded(resource, row), is_permitted=True)


METHODS = (
    Method(
        id="users.setup",
        http_method="POST",
        path="users/setup",
        run=_setup,
        description="Make a user one of all users, as an administrator.",
        parameters={
            "uuid": Parameter("string", "The user."),
            "user": Parameter("object", "Attributes of a new user, if there is none yet."),
            "repo_name": Parameter("string", "Obsolete, has no effect."),
            "vm_uuid": Parameter("string", "There are no virtual machines, so it has no effect."),
            "send_notification_email": Parameter(
                "boolean", "No mail is sent, so it has no effect.", default=False
            ),
        },
        response=USERS.class_name,
    ),
    Method(
        id="users.activate",
        http_method="POST",
        path="users/{uuid}/activate",
        run=_activate,
        description="Let a user work who has been set up.",
        parameters={"uuid": UUID},
        response=USERS.class_name,
    ),
    Method(
        id="users.unsetup",
        http_method="POST",
        path="users/{uuid}/unsetup",
        run=_unsetup,
        description="Undo setup and activate, and remove the tokens of the user.",
        parameters={"uuid": UUID},
        response=USERS.class_name,
    ),
    Method(
        id="users.delete",
        http_method="DELETE",
        path="users/{uuid}",
        run=_delete,
        description="Remove a user who owns nothing, as an administrator.",
        parameters={"uuid": UUID},
        response=USERS.class_name,
    ),
)
