"""What a mount says of itself in `.arvados#mount`."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING

from arvados_fuse.metrics import UNITS
from arvados_fuse.version import __version__

if TYPE_CHECKING:
    from arvados_fuse.api import Record
    from arvados_fuse.command.arguments import Settings
    from arvados_fuse.command.writing import Writer
    from arvados_fuse.commit.pending import PendingCollection
    from arvados_fuse.keep.cache import BlockCache
    from arvados_fuse.metrics import Metrics
    from arvados_fuse.trust import Trust

__all__ = ["MountStatus"]


class MountStatus:
    """Gathers it. Asks nobody, and waits for nothing but short locks.

    host: of the cluster
    has_event_bus: whether the cluster has one
    writer: None if the mount is read-only
    """

    def __init__(
        self,
        settings: Settings,
        host: str,
        *,
        has_event_bus: bool,
        trust: Trust,
        blocks: BlockCache,
        metrics: Metrics,
        writer: Writer | None,
    ) -> None:
        self._settings = settings
        self._host = host
        self._has_event_bus = has_event_bus
        self._trust = trust
        self._blocks = blocks
        self._metrics = metrics
        self._writer = writer
        self._started = datetime.datetime.now().astimezone()

    def record(self) -> Record:
        """Return the state as it is now. Called with the file system's lock held."""
        record: Record = {
            "version": __version__,
            "cluster": self._host,
            "mount_point": str(self._settings.mount_dir),
            "started": _text(self._started),
            "mode": "read-only" if self._writer is None else "read-write",
            "event_bus": self._event_bus(),
            "block_cache": {
                "memory_bytes": self._blocks.ram_held,
                "disk_bytes": self._blocks.disk_held,
                "blocks_on_their_way": self._blocks.filling,
            },
            "counters": {
                name: {"value": value, "unit": UNITS[name]}
                for name, value in dataclasses.asdict(self._metrics).items()
            },
        }
        if self._writer is not None:
            record["journal"] = self._writer.journal_use()
            record["pending"] = [_pending(each) for each in self._writer.pending()]
        return record

    def _event_bus(self) -> str:
        if not self._settings.listen_for_events:
            return "off"
        if not self._has_event_bus:
            return "none"
        return "connected" if self._trust.following else "lost"


def _pending(collection: PendingCollection) -> Record:
    since = collection.failing_since
    next_try_s = collection.next_try_s
    return {
        "uuid": collection.uuid,
        "state": "committing" if collection.is_committing else "dirty",
        "bytes": collection.pending_bytes,
        "files": collection.pending_files,
        "last_error": collection.error or None,
        "failing_since": None if since is None else _text(datetime.datetime.fromtimestamp(since)),
        "failures": collection.failures,
        "next_try_s": None if next_try_s is None else round(next_try_s, 1),
    }


def _text(moment: datetime.datetime) -> str:
    """Return a time as people and programs read it, with its offset from UTC."""
    return moment.astimezone().isoformat(timespec="seconds")
