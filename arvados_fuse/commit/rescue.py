"""What can be saved when a version that was changed, or the whole collection, is gone.

What was written is in the journal, all of it. A file that was only changed in part has the rest of
its bytes in blocks of the lost version. These may still be in Keep, and what the journal says of
them may still be signed well enough (Arvados documentation, "Keep locator format"). Where they
cannot be read, the file gets zeros in their place and a name that says so; one that has nothing
else goes. Of a collection in the trash the cluster signs nothing; who wants the rest of it takes it
out of there.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from arvados_fuse.collection.delta import full_manifest, snapshot
from arvados_fuse.collection.extents import Stored
from arvados_fuse.collection.locator import block_name
from arvados_fuse.collection.rename import rename
from arvados_fuse.collection.signing import signed_locators
from arvados_fuse.commit.reading import can_read
from arvados_fuse.errors import NoSuchEntry

if TYPE_CHECKING:
    from collections.abc import Set

    from arvados_fuse.api import Cluster
    from arvados_fuse.api.writing import ClusterWriting
    from arvados_fuse.collection.draft import DraftFile
    from arvados_fuse.collection.extents import Extent
    from arvados_fuse.commit.reading import BlockReader
    from arvados_fuse.commit.session import Session
    from arvados_fuse.commit.steps import Steps

__all__ = ["Rescue"]

log = logging.getLogger(__name__)

LONGEST_NAME = 200
"""Characters of a collection's name that are kept; the cluster takes some more."""


class Rescue:
    """Saves what there is. One thread at a time.

    keep: says whether a block can be read
    classes: storage classes of new collections; empty for the cluster's default
    """

    def __init__(
        self,
        cluster: Cluster,
        writing: ClusterWriting,
        steps: Steps,
        keep: BlockReader,
        classes: tuple[str, ...],
    ) -> None:
        self._cluster = cluster
        self._writing = writing
        self._steps = steps
        self._keep = keep
        self._classes = classes

    def leave_out_lost(self, session: Session, manifest: str) -> None:
        """Take what cannot be read any more out of the files of a session, which nobody else uses.

        Waits. Raises what asking Keep does, but for blocks that are lost.

        manifest: of the cluster, just fetched; its blocks are not asked for
        """
        locators = session.locators()
        vouched = signed_locators(manifest, locators)
        lost = {
            block
            for block, locator in locators.items()
            if block not in vouched and not can_read(self._keep, locator)
        }
        for path in session.paths_with(lost) if lost else []:
            directory, name = session.draft.locate(path)
            file = directory.open_file(name)
            size, rest = _blank(file, lost)
            if not rest:
                directory.unlink(name)
                log.error("%s of %s is lost: no service gives its blocks.", path, session.uuid)
                continue
            kept_as = f"{name}~{_now('%Y%m%d-%H%M%S')}~incomplete~"
            rename(directory, name, directory, kept_as)
            log.error(
                "%s of %s is incomplete: %d bytes that were there before it was changed cannot be"
                " read any more, and are zeros in %s.",
                path,
                session.uuid,
                size,
                kept_as,
            )

    def save_as_new(self, session: Session) -> None:
        """Save the content of a collection that is gone, as a new one in the user's home.

        Waits; raises what storing blocks and the requests do.
        """
        where, name = self._left_of(session.uuid)
        taken = snapshot(session.draft, whole=True)
        assert taken is not None, "a whole snapshot is never nothing"
        self._steps.bring_blocks(session, taken)
        item = self._writing.create_collection(
            self._cluster.user_uuid(),
            f"{name[:LONGEST_NAME]} recovered {_now('%Y-%m-%d %H:%M:%S')}",
            manifest_text=full_manifest(taken),
            classes=self._classes,
        )
        log.warning(
            "The collection %s is %s; what was written to it is in the new collection %s, %s, in"
            " your home project.",
            session.uuid,
            where,
            item.uuid,
            item.name,
        )

    def _left_of(self, uuid: str) -> tuple[str, str]:
        """Say where a collection is that is not there any more, and what it was called."""
        try:
            return "in the trash", self._cluster.collection_in_trash(uuid).name or uuid
        except NoSuchEntry:
            return "gone", uuid


def _blank(file: DraftFile, lost: Set[str]) -> tuple[int, int]:
    """Replace bytes of lost blocks by a hole; return how many, and how many others there are."""
    missing = [extent for extent in file.extents.extents() if _is_in(extent, lost)]
    holes = sum(extent.size for extent in file.extents.extents() if extent.source is None)
    for start, size, _ in missing:
        file.write(start, size, None)
    blanked = sum(size for _, size, _ in missing)
    return blanked, file.size - blanked - holes


def _is_in(extent: Extent, blocks: Set[str]) -> bool:
    return isinstance(extent.source, Stored) and block_name(extent.source.locator) in blocks


def _now(form: str) -> str:
    return time.strftime(form, time.gmtime())
