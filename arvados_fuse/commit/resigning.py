"""New signatures for blocks that are part of what is to be committed.

The cluster takes a manifest only if each of its blocks is signed, for the token of the request and
for longer than now (Arvados documentation, "Keep locator format"). After a new token, or a long
time in which nothing could be committed, there are blocks of which neither is true any more, and
some may not even be in Keep.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from arvados_fuse.collection.signing import signed_locators
from arvados_fuse.errors import NoSuchEntry
from arvados_fuse.words import counted

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from arvados_fuse.api import Cluster
    from arvados_fuse.collection.delta import Snapshot
    from arvados_fuse.commit.session import Session
    from arvados_fuse.commit.uploads import Uploader

__all__ = ["Resigning"]

log = logging.getLogger(__name__)


class Resigning:
    """Gets new signatures. Any thread, for one session at a time.

    locked: takes the file system's lock, which must not be held
    """

    def __init__(
        self, cluster: Cluster, uploader: Uploader, locked: AbstractContextManager[object]
    ) -> None:
        self._cluster = cluster
        self._uploader = uploader
        self._locked = locked

    def sign_anew(self, session: Session) -> None:
        """Give the changed files of a session locators with new signatures, as far as there are.

        Blocks of the collection get theirs from its manifest; those that were sent and not yet
        committed are sent again, from the journal. Raises what the requests and sending raise.
        """
        with self._locked:
            wanted = session.blocks()
            idents = (session.uuid, session.portable_data_hash, *session.sources)
            copies = session.copies
            sent = {b: place for b, place in session.outbox.sent.items() if b in wanted}
        again = {
            block: self._uploader.upload_again(block, upload.chunk, upload.parts, copies)
            for block, upload in sent.items()
        }
        fresh = {block: done.result().spots[0].stored.locator for block, done in again.items()}
        # By uuid for what is there now, by hash for what was there when it was changed here; and
        # what was moved here is there still where it came from.
        for ident in idents:
            if missing := wanted - fresh.keys():
                fresh.update(self._signed(ident, missing))
        with self._locked:
            session.sign(fresh)
        log.info("Got new signatures for %s of %s.", counted(len(fresh), "block"), session.uuid)

    def send_again(self, session: Session, taken: Snapshot) -> None:
        """Send again what Keep may have collected as garbage since it was sent, or found there.

        That is what was not stored lately, and is not part of the present version either. Keep
        collects what no collection has and nobody has stored for the lifetime of a signature, and
        who is an administrator is not told (Arvados documentation, "Balancing Keep servers").

        taken: what is going to be committed; gets the new locators too
        Raises what sending raises.
        """
        with self._locked:
            copies, base, sent = session.copies, session.present, session.outbox.sent.copy()
        gone = {block for block in sent if not self._uploader.is_there(block, copies, base)}
        if not gone:
            return
        again = {
            block: self._uploader.upload_again(block, sent[block].chunk, sent[block].parts, copies)
            for block in gone & taken.blocks()
        }
        fresh = {block: done.result().spots[0].stored.locator for block, done in again.items()}
        taken.sign(fresh)
        with self._locked:
            session.sign(fresh)
        log.info("Sent %s of %s again.", counted(len(fresh), "block"), session.uuid)

    def _signed(self, ident: str, blocks: set[str]) -> dict[str, str]:
        """Return locators that the manifest of a collection has, if it is there."""
        try:
            content = self._cluster.collection(ident)
        except NoSuchEntry:
            return {}
        return signed_locators(content.manifest_text, blocks)
