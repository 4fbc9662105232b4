"""What events mean for the file system: which objects to distrust, and what to refresh at once.

Owns `Changes`, the listener of the event bus, and `Refresher`, which refreshes directories that no
request waits for. Both run in threads of their own and take the file system's lock for a moment at
a time; events that concern nothing that is shown cost a few look-ups in dictionaries.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from arvados_fuse.errors import FileSystemError
from arvados_fuse.fusedir.directory import Directory
from arvados_fuse.fusedir.idents import GROUP, LINK
from arvados_fuse.fusefile import File

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from arvados_fuse.events import Event
    from arvados_fuse.fusedir.directory import Surroundings
    from arvados_fuse.inodes import Inodes

__all__ = ["REFRESH_THREADS", "Changes", "Jobs", "Refresher"]

log = logging.getLogger(__name__)

REFRESH_THREADS = 4
"""Directories that are refreshed at one time without a request: a slow one delays few others."""

MOST_TRIES = 3
"""How often to refresh a directory that changes again while it is being refreshed."""

RETRACTED_AT_ONCE = 1000
"""Files whose entries are retracted before other threads may have the lock again."""


class Jobs(Protocol):
    """Threads that do jobs; `keep.workers.Workers` is one."""

    def submit(self, job: Callable[[], None]) -> None:
        """Let some thread do `job`."""


class Refresher:
    """Refreshes directories without a request that waits. A `fusedir.directory.Background`."""

    def __init__(self, inodes: Inodes, lock: AbstractContextManager[object], jobs: Jobs) -> None:
        """Make one whose work is done by `jobs`, with the file system's `lock` held."""
        self._inodes = inodes
        self._lock = lock
        self._jobs = jobs
        self._waiting: set[Directory] = set()

    def refresh(self, directory: Directory) -> None:
        """Have `directory` refreshed soon, once however often that is asked before it happens."""
        if directory not in self._waiting:
            self._waiting.add(directory)
            directory.uses += 1
            self._jobs.submit(lambda: self._refresh(directory))

    def _refresh(self, directory: Directory) -> None:
        with self._lock:
            self._waiting.discard(directory)
            try:
                for _ in range(MOST_TRIES):
                    directory.refresh()
                    if not directory.stale:
                        break
                else:
                    directory.retract()
            except FileSystemError as error:
                # Whoever uses it next gets this error, or a better answer.
                log.debug("Cannot refresh %s: %s", directory.path(), error)
                directory.retract()
            finally:
                self._inodes.release(directory)


class Changes:
    """Takes notice of what the event bus tells. An `events.Listener`."""

    def __init__(self, around: Surroundings, lock: AbstractContextManager[object]) -> None:
        """Make one for the file system of `around`, guarded by `lock`."""
        self._around = around
        self._lock = lock

    def connected(self) -> None:
        """Trust what is learned from now on until an event says that it has changed."""
        with self._lock:
            self._around.trust.follow()

    def lost(self, heard_at: float) -> None:
        """Trust nothing longer than the refresh time, and the kernel must not either."""
        with self._lock:
            self._around.trust.lose(heard_at)
            numbers = self._around.inodes.transient()
        for start in range(0, len(numbers), RETRACTED_AT_ONCE):
            with self._lock:
                self._retract(numbers[start : start + RETRACTED_AT_ONCE])

    def _retract(self, numbers: list[int]) -> None:
        for number in numbers:
            thing = self._around.inodes.find(number)
            if isinstance(thing, File) and thing.parent is not None:
                self._around.kernel.invalidate_entry(thing.parent.inode, thing.name)

    def changed(self, events: Sequence[Event]) -> None:
        """Distrust what the events may have changed."""
        with self._lock:
            for event in events:
                self._apply(event)

    def _apply(self, event: Event) -> None:
        around = self._around
        keys = event.keys
        around.trust.touch(keys)
        if changes_permissions(event):
            around.trust.doubt()
        for thing in around.inodes.watchers(keys):
            if isinstance(thing, Directory) and thing.changed(event):
                around.background.refresh(thing)


def changes_permissions(event: Event) -> bool:
    """Whether the event may have changed who can see things that are nowhere named in it.

    Links give permissions; and what is in a project can be seen by whoever can see the project,
    unless that is in the trash. (Arvados documentation, "Permission model".)
    """
    if event.object_type == LINK:
        return True
    if event.object_type != GROUP or event.before is None:
        return False
    return event.after is None or (
        (event.before.owner_uuid, event.before.is_trashed)
        != (event.after.owner_uuid, event.after.is_trashed)
    )
