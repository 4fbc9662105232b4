"""What every part of a running cluster needs to know: its identity, limits, keys and database."""

from __future__ import annotations

from dataclasses import dataclass

from arvados_fuse.standalone import wellknown
from arvados_fuse.standalone.limits import Limits
from arvados_fuse.standalone.records.database import Database
from arvados_fuse.standalone.signatures import BlobSigner

__all__ = ["HOST", "WEBSOCKET_PATH", "Core"]

HOST = "127.0.0.1"
"""The address that the cluster listens on unless told otherwise."""

WEBSOCKET_PATH = "/websocket"
"""Of the event stream, on a port of its own."""


@dataclass(frozen=True)
class Core:
    """The parts that API methods work with.

    cluster_id: the five characters that every uuid of this cluster starts with
    api_port: where the REST API answers
    event_port: where the event stream is; 0 if there is none
    host: the name or address under which clients reach all of it
    """

    cluster_id: str
    database: Database
    signer: BlobSigner
    api_port: int
    limits: Limits
    event_port: int = 0
    host: str = HOST

    @property
    def system_user_uuid(self) -> str:
        """The user that owns roles and permission links, and whom the root token belongs to."""
        return wellknown.system_user(self.cluster_id)

    @property
    def root_url(self) -> str:
        """Where clients find the API, with a slash at the end."""
        return f"https://{self.host}:{self.api_port}/"

    @property
    def websocket_url(self) -> str:
        """Where clients find the event stream; empty if there is none."""
        return f"wss://{self.host}:{self.event_port}{WEBSOCKET_PATH}" if self.event_port else ""
