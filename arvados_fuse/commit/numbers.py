"""What the journal calls the files of a collection.

A record of a write names its file by a number. The number is given by the record that makes the
file or, where the file was there before, by one that says where it is and what is in it. Called
with the file system's lock held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from arvados_fuse.collection.extents import Stored
from arvados_fuse.journal.records import Attach

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from arvados_fuse.collection.draft import DraftFile
    from arvados_fuse.collection.extents import ExtentMap
    from arvados_fuse.journal.collection import CollectionJournal
    from arvados_fuse.journal.records import Content

__all__ = ["FileNumbers"]


class FileNumbers:
    """The numbers that files have in the journal of one collection. None is given twice."""

    def __init__(self, journal: CollectionJournal) -> None:
        self._journal = journal
        self._numbers: dict[DraftFile, int] = {}
        self._last = 0

    def number(self, file: DraftFile) -> int:
        """Return the number of a file, given now if it has none. Raises NoSpace or JournalError."""
        number = self._numbers.get(file)
        if number is None:
            number = self.next()
            if file.parent is not None:
                self._journal.record(Attach(number, file.path(), _content(file.extents)))
            self._numbers[file] = number  # only now: without the record it would mean nothing
        return number

    def next(self) -> int:
        """Return a number that no file has."""
        self._last += 1
        return self._last

    def give(self, file: DraftFile, number: int) -> None:
        """Note that the journal has a record that gives the file this number."""
        self._numbers[file] = number

    def keep(self, files: Collection[DraftFile]) -> None:
        """Forget the numbers of all files but these: the journal begins a new generation.

        A generation must not use a number that was given in one that may be gone before it.
        """
        self._numbers = {file: self._numbers[file] for file in files if file in self._numbers}

    def forget(self, files: Iterable[DraftFile]) -> None:
        """The cluster has these files as they are; their next change numbers them anew."""
        for file in files:
            self._numbers.pop(file, None)

    def contents(self, extents: Mapping[DraftFile, ExtentMap]) -> dict[int, Content]:
        """What those of the files have in Keep that have a number, by that."""
        found = {self._numbers[f]: _content(e) for f, e in extents.items() if f in self._numbers}
        return {number: content for number, content in found.items() if content is not None}

    def attached(self, paths: Mapping[DraftFile, str]) -> dict[int, str]:
        """The numbers of those of the files that have one, with their paths."""
        return {self._numbers[file]: path for file, path in paths.items() if file in self._numbers}


def _content(extents: ExtentMap) -> Content | None:
    """What a file has in Keep; None if it has something elsewhere."""
    content = []
    for _, size, source in extents.extents():
        if not isinstance(source, Stored):
            return None
        content.append((source.locator, source.offset, size))
    return tuple(content)
