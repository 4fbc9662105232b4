"""When tokens were used last, and from where.

No request waits for that: it is written at most once a minute for each token, and not at all while
somebody else writes; the next request will do. (Arvados documentation, "API Reference", "API client
authorizations".)
"""

from __future__ import annotations

import time

from arvados_fuse.standalone.records import sql
from arvados_fuse.standalone.records.conditions import Condition
from arvados_fuse.standalone.records.database import Database
from arvados_fuse.standalone.records.tables import TOKENS

__all__ = ["TokenUse"]

_PRECISION_S = 60.0


class TokenUse:
    """Notes the use of tokens in `database`. Any number of threads may do so."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._due: dict[str, float] = {}

    def note(self, token_uuid: str, peer: str, now: str) -> None:
        """Note that a request with the token came from the address `peer` at the time `now`."""
        if time.monotonic() < self._due.get(token_uuid, 0.0):
            return
        with self._database.write_unless_busy() as db:
            if db is None:
                return
            values = {"last_used_at": now, "last_used_by_ip_address": peer}
            sql.update(db, TOKENS.name, values, Condition("uuid = ?", (token_uuid,)))
        self._due[token_uuid] = time.monotonic() + _PRECISION_S
