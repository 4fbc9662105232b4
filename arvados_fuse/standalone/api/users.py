"""Methods of users and of the tokens with which they come.

(Arvados documentation, "API Reference", "Users" and "API client authorizations".)
"""

from __future__ import annotations

from typing import Any

from arvados_fuse.standalone.api.method import Call, Method
from arvados_fuse.standalone.api.plain import get_method, get_record, list_method
from arvados_fuse.standalone.records.tables import TOKENS, USERS

__all__ = ["CURRENT_TOKEN", "METHODS"]


def _current_user(call: Call) -> dict[str, Any]:
    return get_record(call, USERS, call.caller.user_uuid)


def _system_user(call: Call) -> dict[str, Any]:
    return get_record(call, USERS, call.core.system_user_uuid)


def _current_token(call: Call) -> dict[str, Any]:
    return get_record(call, TOKENS, call.caller.token_uuid)


CURRENT_TOKEN = Method(
    id="api_client_authorizations.current",
    http_method="GET",
    path="api_client_authorizations/current",
    run=_current_token,
    description="Get the record of the token that the request comes with.",
    response=TOKENS.class_name,
)

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
    CURRENT_TOKEN,
)
