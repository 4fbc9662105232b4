"""Who the cluster is: its id, keys, first users and tokens, made at the first start.

All of it is in the database and is made in one transaction, so it is there whole or not at all.
"""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

from arvados_fuse.standalone import clock, wellknown
from arvados_fuse.standalone.randoms import base36, new_uuid
from arvados_fuse.standalone.records import sql
from arvados_fuse.standalone.records.codec import encoded
from arvados_fuse.standalone.records.conditions import Condition
from arvados_fuse.standalone.records.database import Database
from arvados_fuse.standalone.records.model import Resource
from arvados_fuse.standalone.records.tables import (
    GROUPS,
    KEEP_SERVICES,
    LINKS,
    TOKENS,
    USERS,
)

__all__ = [
    "Identity",
    "activate",
    "deactivate",
    "establish",
    "get_number",
    "get_port",
    "get_value",
    "is_set_up",
    "register_keep_service",
    "set_value",
]

_SECRET_LENGTH = 50


class Identity(NamedTuple):
    """What makes a cluster this one.

    cluster_id: five characters that all its uuids start with
    signing_key: of block signatures
    administrator_uuid, administrator_token: the user of whom env.sh has the token, in its v2 form
    """

    cluster_id: str
    signing_key: bytes
    administrator_uuid: str
    administrator_token: str


def establish(database: Database) -> Identity:
    """Return the identity of the cluster; make it if the database is new.

    Raises DatabaseUnusable if the database has lost a part of it.
    """
    with database.write() as db:
        if get_value(db, "cluster_id") is None and get_value(db, "signing_key") is None:
            _found(db)

        def noted(key: str) -> str:
            value = get_value(db, key)
            if value is None:
                raise database.damaged(f"the cluster has no {key}")
            return value

        cluster_id = noted("cluster_id")
        token = _lasting_token(db, noted("administrator_token_uuid"))
        if token is None:
            token = _lasting_token(db, _replace_administrator_token(db, cluster_id))
        return Identity(
            cluster_id=cluster_id,
            signing_key=noted("signing_key").encode(),
            administrator_uuid=token["owner_uuid"],
            administrator_token=f"v2/{token['uuid']}/{token['api_token']}",
        )


def _lasting_token(db: sqlite3.Connection, uuid: str) -> Any:
    """Return the row of a token; None if there is none, or it does not let its user do all."""
    return db.execute(
        "SELECT uuid, api_token, owner_uuid FROM api_client_authorizations"
        " WHERE uuid = ? AND expires_at IS NULL AND scopes = '[\"all\"]'",
        (uuid,),
    ).fetchone()


def _replace_administrator_token(db: sqlite3.Connection, cluster_id: str) -> str:
    """Make another token for env.sh, for who has it may have removed it; return its uuid.

    It is for the first administrator there is; the system user, who always is one, comes last.
    """
    (administrator_uuid,) = db.execute(
        "SELECT uuid FROM users WHERE is_admin AND is_active ORDER BY uuid = ?, id LIMIT 1",
        (wellknown.system_user(cluster_id),),
    ).fetchone()
    return _give_administrator_token(db, cluster_id, administrator_uuid)


def _give_administrator_token(
    db: sqlite3.Connection, cluster_id: str, administrator_uuid: str
) -> str:
    """Make the token of env.sh; return its uuid."""
    uuid = new_uuid(cluster_id, TOKENS.infix)
    _insert(db, TOKENS, administrator_uuid, uuid=uuid, api_token=base36(_SECRET_LENGTH))
    set_value(db, "administrator_token_uuid", uuid)
    return uuid


def get_value(db: sqlite3.Connection, key: str) -> str | None:
    """Return a value that the cluster has noted; None if there is none."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row["value"])


def get_number(database: Database, key: str, *, least: int, most: int) -> int | None:
    """Return a number that the cluster has noted; None if there is none.

    Raises DatabaseUnusable if it is not a number from `least` to `most`.
    """
    with database.read() as db:
        text = get_value(db, key)
    if text is None:
        return None
    # A number of some thousand digits is none for int().
    if text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most:
        return int(text)
    raise database.damaged(f"{key} is {text[:20]!r}, not a number from {least} to {most}")


def get_port(database: Database, name: str) -> int:
    """Return the port on which a part of the cluster was reached last; 0 if it never was.

    Raises DatabaseUnusable.
    """
    return get_number(database, f"{name}_port", least=1, most=65535) or 0


def set_value(db: sqlite3.Connection, key: str, value: str) -> None:
    """Note a value."""
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))


def _found(db: sqlite3.Connection) -> None:
    """Make a cluster."""
    # Ids of clusters that are known to the world do not start with x.
    cluster_id = f"x{base36(4)}"
    system_uuid = wellknown.system_user(cluster_id)
    set_value(db, "cluster_id", cluster_id)
    set_value(db, "signing_key", base36(_SECRET_LENGTH))
    _insert(
        db,
        USERS,
        system_uuid,
        uuid=system_uuid,
        email="root",
        username="root",
        first_name="root",
        is_active=True,
        is_admin=True,
    )
    administrator_uuid = new_uuid(cluster_id, USERS.infix)
    _insert(
        db,
        USERS,
        system_uuid,
        uuid=administrator_uuid,
        email="admin@localhost",
        username="admin",
        first_name="Standalone",
        last_name="Administrator",
        is_active=True,
        is_admin=True,
    )
    root_token_uuid = wellknown.system_token(cluster_id)
    _insert(db, TOKENS, system_uuid, uuid=root_token_uuid, api_token=base36(_SECRET_LENGTH))
    _found_public(db, cluster_id)
    activate(db, cluster_id, administrator_uuid)
    _give_administrator_token(db, cluster_id, administrator_uuid)


def _found_public(db: sqlite3.Connection, cluster_id: str) -> None:
    """Make the roles of all users and of visitors, and the anonymous user."""
    system_uuid = wellknown.system_user(cluster_id)
    all_users, visitors = wellknown.all_users(cluster_id), wellknown.anonymous_group(cluster_id)
    anonymous = wellknown.anonymous_user(cluster_id)
    for uuid, name in ((all_users, "All users"), (visitors, "Anonymous users")):
        _insert(db, GROUPS, system_uuid, uuid=uuid, name=name, group_class="role")
    _insert(
        db,
        USERS,
        system_uuid,
        uuid=anonymous,
        email="anonymous",
        username="anonymous",
        first_name="Anonymous",
        is_active=True,
    )
    _insert(
        db,
        TOKENS,
        anonymous,
        uuid=wellknown.anonymous_token(cluster_id),
        api_token=base36(_SECRET_LENGTH),
        scopes=["GET /"],
    )
    for tail_uuid in (anonymous, all_users):
        _permit(db, cluster_id, tail_uuid, "can_read", visitors)


def activate(db: sqlite3.Connection, cluster_id: str, user_uuid: str) -> None:
    """Make a user one of all users, who see each other."""
    role_uuid = wellknown.all_users(cluster_id)
    _permit(db, cluster_id, user_uuid, "can_write", role_uuid)
    _permit(db, cluster_id, role_uuid, "can_read", user_uuid)


def is_set_up(db: sqlite3.Connection, cluster_id: str, user_uuid: str) -> bool:
    """Whether a user is one of all users."""
    return sql.count(db, LINKS.name, _membership(cluster_id, user_uuid)) > 0


def _membership(cluster_id: str, user_uuid: str) -> Condition:
    return Condition(
        "link_class = 'permission' AND tail_uuid = ? AND head_uuid = ?",
        (user_uuid, wellknown.all_users(cluster_id)),
    )


def deactivate(db: sqlite3.Connection, cluster_id: str, user_uuid: str) -> None:
    """Take from a user what all users may."""
    sql.delete(db, LINKS.name, _membership(cluster_id, user_uuid))


def _permit(
    db: sqlite3.Connection, cluster_id: str, tail_uuid: str, name: str, head_uuid: str
) -> None:
    ends = (tail_uuid, head_uuid)
    known = Condition("link_class = 'permission' AND tail_uuid = ? AND head_uuid = ?", ends)
    if sql.count(db, LINKS.name, known):
        return
    _insert(
        db,
        LINKS,
        wellknown.system_user(cluster_id),
        uuid=new_uuid(cluster_id, LINKS.infix),
        link_class="permission",
        name=name,
        tail_uuid=tail_uuid,
        head_uuid=head_uuid,
    )


def register_keep_service(
    database: Database, cluster_id: str, host: str, port: int, number: int = 0
) -> None:
    """Note where the Keep service with this number is now. Its uuid never changes."""
    uuid = f"{cluster_id}-{KEEP_SERVICES.infix}-{number:015d}"
    with database.write() as db:
        found = db.execute(
            "SELECT service_host, service_port FROM keep_services WHERE uuid = ?", (uuid,)
        ).fetchone()
        if found is not None and tuple(found) == (host, port):
            return
        db.execute("DELETE FROM keep_services WHERE uuid = ?", (uuid,))
        _insert(
            db,
            KEEP_SERVICES,
            f"{cluster_id}-tpzed-000000000000000",
            uuid=uuid,
            service_host=host,
            service_port=port,
            service_type="disk",
        )


def _insert(db: sqlite3.Connection, resource: Resource, owner_uuid: str, **values: Any) -> None:
    record = {attribute.name: attribute.default for attribute in resource.columns}
    moment = clock.now()
    record.update(values, owner_uuid=owner_uuid, created_at=moment, modified_at=moment)
    sql.insert(db, resource.name, encoded(resource, record))
