"""Space set aside for the moment when the disk is full.

Only a commit makes room in a journal, and a commit has to write a few lines first. On a full disk
it gives this file up for them.
"""

import contextlib
import threading
from pathlib import Path

from arvados_fuse.errors import FileSystemError
from arvados_fuse.journal.files import create_file

__all__ = ["Reserve"]

_RESERVED = 1 << 20
"""Bytes: many times what a commit writes, and nothing on any disk."""


class Reserve:
    """A file that takes up space. Threads: every method from any thread.

    Raises NoSpace or JournalError when there is no space for it to begin with.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._exists = False
        self._create()

    def give_up(self) -> bool:
        """Let the space go. False when it was gone already."""
        with self._lock:
            existed, self._exists = self._exists, False
            if existed:
                with contextlib.suppress(OSError):  # then the next write says what is wrong
                    self._path.unlink(missing_ok=True)
            return existed

    def restore(self) -> None:
        """Take the space again, if it was given up and there is some."""
        with self._lock:
            if not self._exists:
                with contextlib.suppress(FileSystemError):  # still full: the next commit tries
                    self._create()

    def _create(self) -> None:
        self._path.unlink(missing_ok=True)
        file = create_file(self._path)
        data = bytes(_RESERVED)  # not allocated but written: not every file system allocates
        try:
            file.write_at(data, 0)
        except FileSystemError:
            self._path.unlink(missing_ok=True)
            raise
        self._exists = True
