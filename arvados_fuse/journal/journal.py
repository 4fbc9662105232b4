"""The journal of one mount: a directory, a lock, and a thread that syncs.

Call :meth:`Journal.create` once, :meth:`Journal.collection` when a collection is first changed,
:meth:`Journal.wait_for_room` before bytes are appended, and :meth:`Journal.close` at the end.
"""

import fcntl
import json
import logging
import secrets
import shutil
import threading
from pathlib import Path
from typing import NamedTuple

from arvados_fuse.errors import FileSystemError
from arvados_fuse.journal.collection import CollectionJournal
from arvados_fuse.journal.files import OpenFile, create_file, disk_error, sync_directory
from arvados_fuse.journal.reserve import Reserve
from arvados_fuse.journal.room import Room

__all__ = [
    "ABOUT",
    "LOCK",
    "RESERVE",
    "UNFINISHED_PREFIX",
    "UNKNOWN",
    "About",
    "Journal",
    "boot_id",
]

logger = logging.getLogger(__name__)

LOCK = "lock"
ABOUT = "about"
RESERVE = "reserve"
UNFINISHED_PREFIX = ".new-"
"""Begins the name of a mount's directory that is not locked yet."""

_SYNC_INTERVAL_S = 1.0
"""What a power cut can cost, of what was not forced to the disk by fsync."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class About(NamedTuple):
    """Whose journal it is.

    host: ARVADOS_API_HOST
    cluster_id: 5 characters
    user_uuid: of the user that mounted
    mount_point: where
    started: when, as a person reads it
    boot_id: of this run of the machine; "" when that is not known
    """

    host: str
    cluster_id: str
    user_uuid: str
    mount_point: str
    started: str
    boot_id: str

    @property
    def directory_prefix(self) -> str:
        """How the directories of all journals of this user begin."""
        return f"{self.cluster_id}-{self.user_uuid}-"


UNKNOWN = About("", "", "", "", "", "")
"""Of a journal that does not say, or that may not be read."""


def boot_id() -> str:
    """What tells this run of the machine from all others; "" when nothing does."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


class Journal:
    """What one mount has written and not committed. Threads: every method from any thread.

    Made by :meth:`create`.

    directory: where it is
    """

    def __init__(self, directory: Path, lock: OpenFile, limit_bytes: int) -> None:
        self.directory = directory
        self._lock_file: OpenFile | None = lock  # locked as long as it is open
        self._room = Room(limit_bytes)
        self._reserve = Reserve(directory / RESERVE)
        self._lock = threading.Lock()
        self._collections: dict[str, CollectionJournal] = {}
        self._is_unsynced = threading.Event()
        self._closing = threading.Event()
        self._last_failure = ""
        self._syncer = threading.Thread(target=self._sync_often, name="journal-sync", daemon=True)
        self._syncer.start()

    @classmethod
    def create(cls, root: Path, about: About, limit_bytes: int) -> "Journal":
        """Make the directory of a mount, locked, below `root`, which is made if need be.

        limit_bytes: what `wait_for_room` waits for

        Raises NoSpace or JournalError.
        """
        unfinished = root / f"{UNFINISHED_PREFIX}{secrets.token_hex(8)}"
        directory = root / f"{about.directory_prefix}{secrets.token_hex(8)}"
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished.mkdir(mode=0o700)
            lock = create_file(unfinished / LOCK)
            fcntl.flock(lock.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            description = create_file(unfinished / ABOUT)
            description.write_at(json.dumps(about._asdict(), indent=2).encode("ascii"), 0)
            description.sync()
            sync_directory(unfinished)
            unfinished.rename(directory)
            sync_directory(root)
        except OSError as error:
            raise disk_error(error, directory) from error
        return cls(directory, lock, limit_bytes)

    @property
    def limit_bytes(self) -> int:
        """Bytes that it should hold at most."""
        return self._room.limit_bytes

    @property
    def used_bytes(self) -> int:
        """Bytes that it holds now: what was written, the logs, and what is open though removed."""
        return self._room.used_bytes

    def wait_for_room(self, size: int, time_limit_s: float) -> None:
        """Wait until `size` more bytes are within the limit; at once when nothing is held.

        Call it without any lock. Raises NoSpace when it takes too long or the journal is closed.
        """
        self._room.wait(size, time_limit_s)

    def collection(self, uuid: str, portable_data_hash: str) -> CollectionJournal:
        """Begin the journal of a collection that is changed for the first time, or after a drop.

        portable_data_hash: of the version that the changes are on top of; "" when there is none

        Raises NoSpace or JournalError, and ValueError when it has a journal already or its name
        cannot be the name of a directory.
        """
        if not uuid or "/" in uuid or uuid.startswith("."):
            raise ValueError(f"{uuid!r} cannot be the name of a directory")
        with self._lock:
            if uuid in self._collections:
                raise ValueError(f"{uuid} has a journal already")
            if self._closing.is_set():
                raise ValueError("the journal is closed")
            journal = CollectionJournal(
                uuid,
                self.directory / uuid,
                portable_data_hash,
                room=self._room,
                reserve=self._reserve,
                unsynced=self._is_unsynced.set,
                dropped=lambda: self._dropped(uuid),
            )
            self._collections[uuid] = journal
            return journal

    def close(self) -> bool:
        """End. What is not committed stays on the disk, synced, for the next mount. Waits.

        Returns whether nothing was left; the directory is removed then. Raises NoSpace or
        JournalError when what is left may not survive a power cut.
        """
        self._closing.set()
        self._is_unsynced.set()
        self._room.close()
        self._syncer.join()
        with self._lock:
            journals = list(self._collections.values())
        for journal in journals:
            if journal.is_empty:
                journal.drop()
            else:
                journal.sync()
        with self._lock:
            is_empty = not self._collections
        if is_empty:
            shutil.rmtree(self.directory, ignore_errors=True)
        self._lock_file = None
        return is_empty

    def _dropped(self, uuid: str) -> None:
        with self._lock:
            del self._collections[uuid]

    def _sync_often(self) -> None:
        """Sync what was recorded, some time after it was. The background thread."""
        while True:
            self._is_unsynced.wait()
            if self._closing.wait(_SYNC_INTERVAL_S):
                return
            self._is_unsynced.clear()
            with self._lock:
                journals = list(self._collections.values())
            for journal in journals:
                self._sync_one(journal)

    def _sync_one(self, journal: CollectionJournal) -> None:
        try:
            journal.sync()
        except FileSystemError as error:
            if str(error) != self._last_failure:
                logger.error("the journal cannot be made safe against a power cut: %s", error)
            self._last_failure = str(error)
            self._is_unsynced.set()
