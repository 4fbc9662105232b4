"""Methods of tokens.

(Arvados documentation, "API Reference", "API client authorizations".)
"""

from __future__ import annotations

from typing import Any

from arvados_fuse.standalone.api import records
from arvados_fuse.standalone.api.errors import Forbidden, NotFound, Unprocessable
from arvados_fuse.standalone.api.lists import CREATE_PARAMETERS, SELECT, selected
from arvados_fuse.standalone.api.method import Call, Method
from arvados_fuse.standalone.api.plain import UUID, get_method, get_record, list_method
from arvados_fuse.standalone.api.presentation import present, usual_attributes
from arvados_fuse.standalone.randoms import base36
from arvados_fuse.standalone.records.conditions import Condition
from arvados_fuse.standalone.records.tables import TOKENS, USERS, resource_of_uuid

__all__ = ["CURRENT_TOKEN", "METHODS", "create"]

Record = dict[str, Any]

_SECRET_LENGTH = 50


def _current(call: Call) -> Record:
    return get_record(call, TOKENS, call.caller.token_uuid)


def _own(call: Call) -> Condition:
    """Lists show the caller's own tokens, even to administrators."""
    return Condition(f"{TOKENS.name}.owner_uuid = ?", (call.caller.user_uuid,))


def create(call: Call) -> Record:
    """Make a token with the attributes of `call`. Raises Forbidden, Unprocessable."""
    names, _ = selected(call, TOKENS)
    record = records.new_record(call, TOKENS, _values(call, None))
    record["api_token"] = base36(_SECRET_LENGTH)
    record["created_by_ip_address"] = call.peer or None
    owner_uuid = record["owner_uuid"]
    if owner_uuid != call.caller.user_uuid and not call.caller.is_admin:
        raise Forbidden("Only administrators make tokens for others")
    with call.core.database.write() as db:
        if resource_of_uuid(owner_uuid) is not USERS:
            raise Unprocessable("owner_uuid of a token has to be a user")
        try:
            records.find(db, call, USERS, owner_uuid)
        except NotFound:
            raise Unprocessable(f"Owner uuid {owner_uuid} not found") from None
        record = records.insert(db, call, TOKENS, record, is_permitted=True)
    return present(call, TOKENS, record, names)


def _update(call: Call) -> Record:
    names, columns = selected(call, TOKENS)
    with call.core.database.write() as db:
        current = records.find(db, call, TOKENS, call.parameters["uuid"], columns=columns)
        changes = _values(call, current)
        if "owner_uuid" in changes:
            raise Unprocessable("owner_uuid of a token cannot be changed")
        record = records.update(db, call, TOKENS, current, changes, is_permitted=True)
    return present(call, TOKENS, record, names)


def _values(call: Call, current: Record | None) -> Record:
    values = records.accepted(call, TOKENS, current)
    scopes = values.get("scopes", [])
    if not all(isinstance(scope, str) for scope in scopes):
        raise Unprocessable("scopes have to be an array of texts like 'GET /arvados/v1/groups/'")
    return values


def _delete(call: Call) -> Record:
    with call.core.database.write() as db:
        current = records.find(db, call, TOKENS, call.parameters["uuid"])
        records.delete(db, call, TOKENS, current, is_permitted=True)
    return present(call, TOKENS, current, usual_attributes(TOKENS, in_list=False))


CURRENT_TOKEN = Method(
    id="api_client_authorizations.current",
    http_method="GET",
    path="api_client_authorizations/current",
    run=_current,
    description="Get the record of the token that the request comes with.",
    response=TOKENS.class_name,
)

METHODS = (
    CURRENT_TOKEN,
    get_method(TOKENS),
    list_method(TOKENS, only=_own),
    Method(
        id="api_client_authorizations.create",
        http_method="POST",
        path="api_client_authorizations",
        run=create,
        description="Make a token; administrators can make one for any user.",
        parameters=CREATE_PARAMETERS,
        response=TOKENS.class_name,
        takes=TOKENS,
    ),
    Method(
        id="api_client_authorizations.update",
        http_method="PUT",
        path="api_client_authorizations/{uuid}",
        run=_update,
        description="Change the scopes or the end of a token.",
        parameters={"uuid": UUID, "select": SELECT},
        response=TOKENS.class_name,
        takes=TOKENS,
    ),
    Method(
        id="api_client_authorizations.delete",
        http_method="DELETE",
        path="api_client_authorizations/{uuid}",
        run=_delete,
        description="Remove a token: it is not valid any more.",
        parameters={"uuid": UUID},
        response=TOKENS.class_name,
    ),
)
