"""The command ``arv-standalone DIR user``: users of a cluster, and how each of them reaches it.

It works on the database with the methods that also answer requests, so it does not matter whether
the cluster runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from arvados_fuse.standalone import directory, identity
from arvados_fuse.standalone.api import tokens, users
from arvados_fuse.standalone.api.errors import ApiError
from arvados_fuse.standalone.api.method import Call
from arvados_fuse.standalone.core import HOST, Core
from arvados_fuse.standalone.identity import Identity
from arvados_fuse.standalone.limits import Limits
from arvados_fuse.standalone.records.access import Caller
from arvados_fuse.standalone.records.database import Database
from arvados_fuse.standalone.signatures import BlobSigner

__all__ = ["PeopleError", "add_user", "environment_of"]


class PeopleError(Exception):
    """What was asked for cannot be done; the message says why."""


def add_user(place: Path, username: str, email: str | None, *, is_admin: bool) -> str:
    """Make an active user in the cluster on the directory `place`; return the uuid.

    Raises PeopleError, DatabaseUnusable.
    """
    with _cluster(place) as (core, found):
        with core.database.read() as db:
            if db.execute("SELECT 1 FROM users WHERE username = ?", (username,)).fetchone():
                raise PeopleError(
                    f"cannot add the user {username!r}: there is one; see arv-standalone DIR user"
                    " env"
                )
        try:
            user = users.create(
                _call(
                    core,
                    found,
                    username=username,
                    first_name=username,
                    email=email or f"{username}@localhost",
                    is_active=True,
                    is_admin=is_admin,
                )
            )
        except ApiError as error:
            raise PeopleError(f"cannot add the user {username!r}: {error}") from error
        return str(user["uuid"])


def environment_of(place: Path, username: str) -> str:
    """Return the text of an env.sh for a user; he gets a token if he has none that lasts.

    Raises PeopleError, DatabaseUnusable.
    """
    with _cluster(place) as (core, found):
        with core.database.read() as db:
            user = db.execute("SELECT uuid FROM users WHERE username = ?", (username,)).fetchone()
            if user is None:
                raise PeopleError(f"there is no user {username!r}; see arv-standalone DIR user add")
            token = db.execute(_LASTING, (user["uuid"],)).fetchone()
        if token is None:
            token = tokens.create(_call(core, found, owner_uuid=user["uuid"]))
        secret = f"v2/{token['uuid']}/{token['api_token']}"
        return directory.environment_text(f"{core.host}:{core.api_port}", secret)


_LASTING = (
    "SELECT uuid, api_token FROM api_client_authorizations"
    " WHERE owner_uuid = ? AND expires_at IS NULL AND scopes = '[\"all\"]' ORDER BY id LIMIT 1"
)


@contextmanager
def _cluster(place: Path) -> Iterator[tuple[Core, Identity]]:
    path = place / directory.DATABASE
    if not path.exists():
        raise PeopleError(f"there is no cluster on {place}: start one with arv-standalone {place}")
    with closing(Database(path)) as database:
        found = identity.establish(database)
        limits = Limits()
        port = identity.get_port(database, "api")
        with database.read() as db:
            host = identity.get_value(db, "host") or HOST
        signer = BlobSigner(found.signing_key, limits.blob_signing_ttl_s)
        yield Core(found.cluster_id, database, signer, port, limits, host=host), found


def _call(core: Core, found: Identity, **attributes: Any) -> Call:
    caller = Caller(found.administrator_uuid, True, found.administrator_token, "")
    return Call(core=core, parameters={}, attributes=attributes, identified=caller)
