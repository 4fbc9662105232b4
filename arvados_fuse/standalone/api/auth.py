"""Who sends a request: from the token to the caller.

(Arvados documentation, "API token", "Token scopes".)
"""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections.abc import Mapping

from arvados_fuse.standalone.authorization import token_of_header
from arvados_fuse.standalone.records.access import Caller

__all__ = ["identify", "in_scope", "token_anywhere"]


_QUERY = (
    "SELECT tokens.uuid, tokens.api_token, tokens.scopes, users.uuid AS user_uuid,"
    " users.is_admin, users.is_active"
    " FROM api_client_authorizations AS tokens JOIN users ON users.uuid = tokens.owner_uuid"
    " WHERE (tokens.expires_at IS NULL OR tokens.expires_at > ?) AND "
)


def identify(db: sqlite3.Connection, token: str, now: str) -> Caller | None:
    """Return the caller that `token` stands for; None if it is not valid at the time `now`.

    A token is a bare secret, or ``v2/<uuid of its record>/<secret>``. A fourth part would name a
    container that runs with the token; this cluster runs none, so such a token is not valid.
    """
    parts = token.split("/")
    if len(parts) == 3 and parts[0] == "v2":
        condition, key, secret = "tokens.uuid = ?", parts[1], parts[2]
    elif len(parts) == 1 and token:
        condition, key, secret = "tokens.api_token = ?", token, token
    else:
        return None
    row = db.execute(_QUERY + condition, (now, key)).fetchone()
    if row is None or not hmac.compare_digest(row["api_token"].encode(), secret.encode()):
        return None
    return Caller(
        user_uuid=row["user_uuid"],
        is_admin=bool(row["is_admin"]),
        token=token,
        token_uuid=row["uuid"],
        scopes=tuple(json.loads(row["scopes"])),
        is_active=bool(row["is_active"]),
    )


def in_scope(caller: Caller, http_method: str, path: str) -> bool:
    """Whether the scopes of the caller's token allow a request.

    A scope is ``all``, or a method and a path; a path that ends with a slash stands for all that
    start with it. GET includes HEAD.
    """
    request = f"{'GET' if http_method == 'HEAD' else http_method} {path}"
    return any(
        scope in ("all", request) or (scope.endswith("/") and request.startswith(scope))
        for scope in caller.scopes
    )


def token_anywhere(headers: Mapping[str, str], values: Mapping[str, object]) -> str:
    """Return the token of a request, from its header or its parameters; empty if it has none."""
    token = token_of_header(headers.get("Authorization", ""))
    if not token and isinstance(values.get("api_token"), str):
        token = str(values["api_token"])
    return token
