"""Doing again what a journal says."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from arvados_fuse.collection.extents import Pending
from arvados_fuse.collection.rename import rename
from arvados_fuse.collection.table import Segment
from arvados_fuse.collection.transfer import Parcel, remove, unpack
from arvados_fuse.errors import FileSystemError
from arvados_fuse.journal.records import (
    Attach,
    Create,
    Mkdir,
    NameChange,
    Receive,
    Remove,
    Rename,
    Times,
    Truncate,
    Unlink,
    Write,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from arvados_fuse.collection.draft import Draft, DraftFile
    from arvados_fuse.journal.records import Operation
    from arvados_fuse.journal.recovery import Recovered

__all__ = ["Replay"]

log = logging.getLogger(__name__)


class Replay:
    """Does it, to a draft of the version that the journal says.

    done: how many operations were done again
    sources: other collections that something came from
    """

    def __init__(self, recovered: Recovered, draft: Draft) -> None:
        self.done = 0
        self.sources: set[str] = set()
        self._recovered = recovered
        self._draft = draft
        self._files: dict[int, DraftFile] = {}
        for number, path in recovered.attached.items():
            directory, name = draft.locate(path)
            self._files[number] = directory.open_file(name)

    def do(self, operations: Iterable[Operation]) -> None:
        """Do these, which come next.

        A change of names that cannot be done again is left out, with a line in the log: the cluster
        has it already, or others have made it pointless. Raises FileSystemError if that holds for a
        file that was written to: what was written must not get lost.
        """
        for operation in operations:
            try:
                self._do(operation)
                self.done += 1
            except FileSystemError as error:
                if not isinstance(operation, NameChange):
                    raise
                log.info("Not done again, as it is done or pointless: %s (%s)", operation, error)

    def _do(self, operation: Operation) -> None:
        files = self._files
        match operation:
            case Create(number, path):
                directory, name = self._draft.locate(path)
                if directory.has(name):
                    directory.unlink(name)
                files[number] = directory.create(name)
            case Attach(number, path):
                directory, name = self._draft.locate(path)
                files[number] = directory.open_file(name)
            case Write(number, start, size, chunk, offset):
                if number in files:  # else it was unlinked
                    files[number].write(start, size, Pending(self._recovered.chunks[chunk], offset))
            case Truncate(number, size):
                if number in files:
                    files[number].truncate(size)
            case Times():
                pass  # the cluster has no place for them
            case _:
                self._do_to_names(operation)

    def _do_to_names(self, operation: NameChange) -> None:
        if isinstance(operation, Rename):
            old_directory, old_name = self._draft.locate(operation.old)
            new_directory, new_name = self._draft.locate(operation.new)
            rename(old_directory, old_name, new_directory, new_name)
            return
        directory, name = self._draft.locate(operation.path)
        if isinstance(operation, Mkdir):
            directory.mkdir(name)
        elif isinstance(operation, Receive):
            self.sources.add(operation.source)
            unpack(_parcel(operation), directory, name)
        elif isinstance(operation, Remove):
            remove(directory, name)
        elif isinstance(operation, Unlink):
            directory.unlink(name)
        else:
            directory.rmdir(name)


def _parcel(received: Receive) -> Parcel:
    files = {
        path: tuple(Segment(*run) for run in content) for path, content in received.files.items()
    }
    return Parcel(received.directories, files)
