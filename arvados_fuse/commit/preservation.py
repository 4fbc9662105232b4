"""Blocks of collections that are never saved stay where they are, and can be read.

Only this mount knows of them. Keep serves a block only with a signature for the token of the
request, and may collect one as garbage that no collection has when the lifetime of a signature is
over since it was stored (Arvados documentation, "Keep locator format", "Balancing Keep servers").
So what was stored with another token, or long ago, is read and stored anew.

What was stored with a token that Keep refuses by now cannot be read any more. A Keep service checks
the signature alone, so that a token which has expired does as well; a proxy asks whether it is
still good.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from arvados_fuse.clock import lasting_clock
from arvados_fuse.commit.reading import read_block
from arvados_fuse.commit.session import Stay
from arvados_fuse.errors import AccessRefused, BlockCorrupt, BlockLost
from arvados_fuse.words import counted

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from arvados_fuse.commit.reading import BlockReader
    from arvados_fuse.commit.session import Session
    from arvados_fuse.commit.uploads import Uploader

__all__ = ["Preservation"]

log = logging.getLogger(__name__)

SHOWN_PATHS = 3
"""Files that an error names."""


class Preservation:
    """Keeps blocks alive. Any thread, for one session at a time.

    locked: takes the file system's lock, which must not be held
    signature_ttl_s: for how many seconds a signature is valid, and a block is kept that no
        collection has
    """

    def __init__(
        self,
        keep: BlockReader,
        uploader: Uploader,
        locked: AbstractContextManager[object],
        signature_ttl_s: float,
    ) -> None:
        self._keep = keep
        self._uploader = uploader
        self._locked = locked
        # A block may have been known for half of its time when it became part of the collection.
        self._longest_stay_s = signature_ttl_s / 4
        self.interval_s = signature_ttl_s / 8
        """How often to preserve a collection, at least."""

    def preserve(self, session: Session) -> None:
        """Store anew what was stored with another token, or long ago. Waits.

        Raises AccessRefused, which names files, when some of that cannot be read any more; all else
        is preserved then. Raises what reading and storing a block do.
        """
        token = self._uploader.token()
        with self._locked:
            blocks = session.locators()
            session.stays = {b: stay for b, stay in session.stays.items() if b in blocks}
            before = lasting_clock() - self._longest_stay_s
            old = {
                block: stay
                for block, stay in session.stays.items()
                if stay.token != token or stay.since < before
            }
        fresh: dict[str, str] = {}
        lost: set[str] = set()
        try:
            for block, stay in old.items():
                try:
                    data = self._read(blocks[block], stay.token)
                except (AccessRefused, BlockLost, BlockCorrupt) as error:
                    log.info("A block of %s cannot be stored anew: %s", session.uuid, error)
                    lost.add(block)
                else:
                    fresh[block] = self._uploader.put(data, session.copies)
        finally:
            with self._locked:
                session.sign(fresh)
                session.stays.update(dict.fromkeys(fresh, Stay(token, lasting_clock())))
        if fresh:
            log.info("Stored %s of %s anew.", counted(len(fresh), "block"), session.uuid)
        with self._locked:
            paths = session.paths_with(lost) if lost else []
        if paths:  # of what is open without a name, nothing is to be saved
            raise _unreadable(paths)

    def _read(self, locator: str, token: str) -> bytearray:
        """Read a block, by a locator that is signed for a token or for the one of now."""
        if token != self._uploader.token():
            try:
                return read_block(self._keep.with_token(token), locator)
            except AccessRefused:
                pass  # it may have been signed just after the token had changed
        return read_block(self._keep, locator)


def _unreadable(paths: list[str]) -> AccessRefused:
    shown = ", ".join(paths[:SHOWN_PATHS])
    if len(paths) > SHOWN_PATHS:
        shown += f" and {len(paths) - SHOWN_PATHS} more files"
    return AccessRefused(
        f"{shown} in a temporary collection: what was written there with an earlier token cannot be"
        " read with that of now, nor with the earlier one; write it again, or remove it"
    )
