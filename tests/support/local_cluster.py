"""The API of a standalone cluster without a network: requests are function calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from arvados_fuse.standalone import identity
from arvados_fuse.standalone.api.service import ApiService, Reply, Request
from arvados_fuse.standalone.core import Core
from arvados_fuse.standalone.limits import Limits
from arvados_fuse.standalone.records import sql
from arvados_fuse.standalone.records.conditions import Condition
from arvados_fuse.standalone.records.database import Database
from arvados_fuse.standalone.records.tables import RESOURCES
from arvados_fuse.standalone.signatures import BlobSigner


class LocalCluster:
    """A cluster with a database in `directory`. Use it as a context manager.

    token: whom requests come from; the administrator at first
    """

    def __init__(self, directory: Path) -> None:
        self.database = Database(directory / "cluster.sqlite")
        self.identity = identity.establish(self.database)
        self.limits = Limits()
        self.signer = BlobSigner(self.identity.signing_key, self.limits.blob_signing_ttl_s)
        self.core = Core(self.identity.cluster_id, self.database, self.signer, 12345, self.limits)
        self.service = ApiService(self.core)
        self.token = self.identity.administrator_token
        identity.register_keep_service(self.database, self.core.cluster_id, "127.0.0.1", 9)

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.database.close()

    def request(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        peer: str = "127.0.0.1",
    ) -> Request:
        """A request to a path below /arvados/v1/, with the token of this object."""
        headers = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        path = path if path.startswith("/") else f"/arvados/v1/{path}"
        return Request(method, path, query, headers, body, peer)

    def send(self, *arguments: Any, **more: Any) -> Reply:
        """Send what `request` makes of the arguments, and return the answer."""
        return self.service.handle(self.request(*arguments, **more))

    def call(self, method: str, path: str, body: Any = None, **parameters: Any) -> Any:
        """Send a request; return the JSON of a good answer, (status, errors) of another."""
        query = urlencode(
            {k: v if isinstance(v, str) else json.dumps(v) for k, v in parameters.items()}
        )
        reply = self.send(method, path, query, b"" if body is None else json.dumps(body).encode())
        answer = json.loads(reply.body)
        return answer if reply.status == 200 else (reply.status, " ".join(answer["errors"]))

    def create(self, resource: str = "collections", **attributes: Any) -> Any:
        """Make a record, and return it."""
        return self.call("POST", resource, attributes)

    def project(self, name: str, **attributes: Any) -> Any:
        """Make a project, and return it."""
        return self.create("groups", name=name, group_class="project", **attributes)

    def names(self, path: str = "collections", **parameters: Any) -> list[str]:
        """The names of the records in a list, in their order."""
        return [item["name"] for item in self.call("GET", path, **parameters)["items"]]

    def add_user(
        self, scopes: tuple[str, ...] = ("all",), expires_at: str | None = None, **attributes: Any
    ) -> str:
        """Make a user who is no administrator, with a token; return the token."""
        with self.acting(self.identity.administrator_token):
            user = self.create("users", **{"is_active": True, **attributes})
            token = self.create(
                "api_client_authorizations",
                owner_uuid=user["uuid"],
                scopes=list(scopes),
                expires_at=expires_at,
            )
        return f"v2/{token['uuid']}/{token['api_token']}"

    @contextmanager
    def acting(self, token: str) -> Iterator[str]:
        """Let requests come from another token for a while; yields the uuid of its user."""
        before, self.token = self.token, token
        try:
            yield self.user_uuid(token)
        finally:
            self.token = before

    def user_uuid(self, token: str) -> str:
        """The user that a token belongs to."""
        caller = self.service.identify(token)
        return "" if caller is None else caller.user_uuid

    def permit(self, tail_uuid: str, name: str, head_uuid: str) -> Any:
        """Make a permission link, as the administrator."""
        with self.acting(self.identity.administrator_token):
            return self.create(
                "links",
                link_class="permission",
                name=name,
                tail_uuid=tail_uuid,
                head_uuid=head_uuid,
            )

    def set_columns(self, uuid: str, **values: Any) -> None:
        """Change a record behind the API's back, to let time pass."""
        infix = uuid.split("-")[1]
        (resource,) = [resource for resource in RESOURCES if resource.infix == infix]
        with self.database.write() as db:
            sql.update(db, resource.name, values, Condition("uuid = ?", (uuid,)))
