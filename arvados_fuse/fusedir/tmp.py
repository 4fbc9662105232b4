"""A collection that is never saved: for what a job writes before it says what to keep of it.

Its data goes to Keep like that of other collections. Its manifest is in `.arvados#collection`, and
when that is read, all that it names is in Keep.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from arvados_fuse.collection.manifest import portable_data_hash
from arvados_fuse.collection.tree import Tree
from arvados_fuse.commit.session import SCRATCH_PREFIX
from arvados_fuse.errors import NotPermitted
from arvados_fuse.fresh import FOREVER
from arvados_fuse.fusedir.record import COLLECTION_RECORD, RecordFile
from arvados_fuse.fusedir.writable import WritableCollection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arvados_fuse.api import Item, Record
    from arvados_fuse.collection.table import Segment
    from arvados_fuse.commit.committer import Committer
    from arvados_fuse.commit.session import Session
    from arvados_fuse.fresh import FreshBase
    from arvados_fuse.fusedir.directory import Directory, Surroundings

__all__ = ["TmpDirectory"]

_number = itertools.count(1)


class TmpDirectory(WritableCollection):
    """A collection that lives as long as the mount."""

    __slots__ = ("_journal_name",)

    def __init__(self, around: Surroundings, parent: Directory | None, name: str) -> None:
        super().__init__(around, parent, name, name)
        self.node = Tree.from_manifest("").root
        self.valid_until = FOREVER
        self._journal_name = f"{SCRATCH_PREFIX}{next(_number)}"

    @property
    def collection(self) -> TmpDirectory:
        """The directory itself."""
        return self

    @property
    def content_ns(self) -> int:
        """The time of the mount: there is no other."""
        return self.around.started_ns

    @property
    def version(self) -> str:
        """None: the cluster has none of its versions."""
        return ""

    @property
    def is_saved(self) -> bool:
        """No: it goes with the mount."""
        return False

    def sign_changes_anew(self) -> None:
        """Have what cannot be read with the token of now stored anew. May give the lock up."""
        if self.session is not None:
            self.committer.preserve(self.session)

    def signed_anew(self, segments: Sequence[Segment], version: str) -> Sequence[Segment] | None:
        """Nothing: there is no version that could be asked for again."""
        return None

    def content_lifetime(self, now: float) -> float:
        """For ever: nobody else changes it."""
        return FOREVER

    def file_lifetime(self, now: float) -> float:
        """For ever: nobody else changes it."""
        return FOREVER

    def refresh(self) -> None:
        """Nothing to do: nobody else changes it."""

    def shrink(self) -> None:
        """Nothing to do: there is nothing that could be fetched again."""

    def child(self, name: str) -> FreshBase:
        """Return the entry called `name`, or the record. May give the lock up."""
        if name == COLLECTION_RECORD:
            self.begin()
            file = RecordFile(self, name, self.record)
            self.around.inodes.add(file)
            return file
        return super().child(name)

    def record(self) -> Record:
        """Return what a record would say. Runs without the lock; raises what uploading raises."""
        writing, session = self.around.writing, self.session
        if writing is None or session is None:
            raise NotPermitted("The temporary collection needs a mount that can be written to.")
        manifest = writing.committer.compose(session)
        return {
            "manifest_text": manifest,
            "portable_data_hash": portable_data_hash(manifest),
            "storage_classes_desired": list(writing.classes),
            "uuid": None,
        }

    # -- changes ----------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """Whether the mount can be written to."""
        return self.around.writing is not None

    def check_writable(self) -> None:
        """Raise ReadOnly if the mount is."""
        _ = self.committer

    @property
    def journal_name(self) -> str:
        """What the journal calls the collection."""
        return self._journal_name

    def make_session(self, committer: Committer) -> Session:
        """Begin to change the collection. Raises NoSpace or JournalError."""
        return committer.begin_scratch(self._journal_name, self)

    def noted(self) -> None:
        """Nothing to do: it is never saved."""

    def closed(self) -> None:
        """Nothing to do: it is never saved."""

    def commit(self) -> None:
        """Nothing to do: it is never saved."""

    @property
    def signatures_hold(self) -> bool:
        """No: there is no content that the cluster has signed."""
        return False

    def committed(self, item: Item) -> None:
        """Never happens: it is never saved."""

    def rebased(self, item: Item, tree: Tree, manifest_size: int) -> None:
        """Never happens: it is never saved."""
