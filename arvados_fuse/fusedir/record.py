"""Records of the cluster as JSON files, in the directories of what they describe."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

from arvados_fuse.fusefile import File

if TYPE_CHECKING:
    from collections.abc import Callable

    from arvados_fuse.api import Record
    from arvados_fuse.fusedir.directory import Directory

__all__ = ["COLLECTION_RECORD", "COMMIT", "PROJECT_RECORD", "RecordFile"]

COLLECTION_RECORD = ".arvados#collection"
PROJECT_RECORD = ".arvados#project"
COMMIT = ".arvados#commit"
"""The names of the files. They are found by name and not listed. The last is the record too, and
there only where something can be changed."""

_ticket = itertools.count()


class RecordFile(File):
    """The record as it was when its name was looked up.

    Each look-up asks the cluster and makes another file, which the kernel may not remember, so
    that who opens the path reads the present. The text is kept until it is opened for the first
    time; manifests can be large, and the kernel remembers files for long.
    """

    __slots__ = ("_ask", "_content", "_directory", "_name", "_size")

    transient = True

    def __init__(self, directory: Directory, name: str, ask: Callable[[], Record]) -> None:
        """Ask for the record. May give the lock up; raises as `ask`, which runs without it."""
        super().__init__(directory)
        self._directory = directory
        self._name = name
        self._ask = ask
        self._content: bytes | None = None
        self._size = 0
        self._fetch()

    def _fetch(self) -> bytes:
        def landed(content: bytes) -> None:
            self._content = content

        # Not shared with others who ask at the same time: who looks up after a change sees it.
        self._directory.once(f"{self._name} {next(_ticket)}", self._text, landed)
        assert self._content is not None
        self._size = len(self._content)
        return self._content

    def _text(self) -> bytes:
        """Return the file's content. Runs without the lock."""
        return (json.dumps(self._ask(), indent=4, sort_keys=True) + "\n").encode()

    @property
    def name(self) -> str:
        """The file's name."""
        return self._name

    @property
    def size(self) -> int:
        """Length of the content in bytes."""
        return self._size

    @property
    def mtime_ns(self) -> int:
        """Time of the record's last change, in nanoseconds since 1970."""
        return self._directory.mtime_ns

    def content(self) -> bytes:
        """Return the record as JSON. May give the lock up, if it was opened before."""
        content = self._content if self._content is not None else self._fetch()
        self._content = None
        return content
