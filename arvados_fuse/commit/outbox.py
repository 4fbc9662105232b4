"""What a collection has in the journal that has to get to Keep, and what has got there.

Called with the file system's lock held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from arvados_fuse.collection.locator import block_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Future

    from arvados_fuse.collection.draft import DraftFile
    from arvados_fuse.collection.extents import ChunkLike, ExtentMap
    from arvados_fuse.commit.uploads import Uploaded
    from arvados_fuse.journal.chunks import Chunk
    from arvados_fuse.journal.collection import CollectionJournal

__all__ = ["Outbox", "Sent", "live_parts"]


class Sent(NamedTuple):
    """Where in the journal the bytes of a block are: a chunk, and the parts of it in the block."""

    chunk: Chunk
    parts: Sequence[tuple[int, int]]


class Outbox:
    """The chunks that files have bytes from, and the blocks that became of others.

    sent: the blocks that were sent and are not committed, by hash and size
    """

    def __init__(
        self,
        journal: CollectionJournal,
        begin_upload: Callable[[Chunk, Sequence[tuple[int, int]]], Future[Uploaded]],
    ) -> None:
        """Begin with nothing. begin_upload: sends parts of a sealed chunk; see `Uploader.upload`"""
        self.sent: dict[str, Sent] = {}
        self._journal = journal
        self._begin_upload = begin_upload
        self._users: dict[ChunkLike, set[DraftFile]] = {}
        self._uploads: dict[ChunkLike, Future[Uploaded]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no file has bytes that are in the journal alone."""
        return not self._users

    @property
    def pending_bytes(self) -> int:
        """Bytes in chunks of the journal that are not known to be in Keep."""
        return sum(cast("Chunk", chunk).size for chunk in self._users)

    @property
    def pending_files(self) -> int:
        """How many files have bytes there."""
        return len(set().union(*self._users.values()))

    def add(self, chunk: ChunkLike, file: DraftFile) -> None:
        """Note that a file has bytes from a chunk."""
        self._users.setdefault(chunk, set()).add(file)

    def send_complete(self) -> None:
        """Begin to send the chunks that are full, while the rest is still being written."""
        for chunk in self._journal.take_complete():
            # What is left of unlinked files is read from the chunk itself.
            files = (file for file in self._users.get(chunk, ()) if file.parent is not None)
            if parts := live_parts(file.extents for file in files).get(chunk):
                self.upload(chunk, parts)

    def upload(self, chunk: ChunkLike, parts: Sequence[tuple[int, int]]) -> Future[Uploaded]:
        """Begin to send `parts` of a sealed chunk to Keep, unless it is on its way already."""
        future = self._uploads.get(chunk)
        if future is None or _has_failed(future):
            future = self._begin_upload(cast("Chunk", chunk), parts)
            self._uploads[chunk] = future
        return future

    def upload_failed(self, chunk: ChunkLike) -> None:
        """Forget an upload that failed, so that the next commit tries again."""
        self._uploads.pop(chunk, None)

    def users(self, chunk: ChunkLike) -> list[DraftFile]:
        """The files that have, or have had, bytes from a chunk."""
        return list(self._users.get(chunk, ()))

    @staticmethod
    def place(chunk: ChunkLike, uploaded: Uploaded, files: Iterable[DraftFile]) -> None:
        """Let files have their bytes from Keep: a part of `placed` that can be done before."""
        for file in files:
            if file.parent is not None:
                file.extents.place(chunk, uploaded.spots)

    def placed(self, chunk: ChunkLike, uploaded: Uploaded) -> str | None:
        """Let the files have their bytes from Keep that had them from this chunk.

        What was written to it after the upload began stays as it is, and what was unlinked. Returns
        hash and size of the block; None if nothing was left to be sent.
        """
        self._uploads.pop(chunk, None)
        self.place(chunk, uploaded, self._users.get(chunk, ()))
        spots = uploaded.spots
        if not spots:
            return None
        block = block_name(spots[0].stored.locator)
        parts = [(spot.offset, spot.size) for spot in spots]
        self.sent[block] = Sent(cast("Chunk", chunk), parts)
        return block

    def let_go(self) -> None:
        """Forget the chunks that only removed or overwritten bytes were in.

        Who reads an unlinked file has what is left of its chunks in its extents.
        """
        for chunk, users in list(self._users.items()):
            left = {f for f in users if f.parent is not None and f.extents.is_pending(chunk)}
            if left:
                self._users[chunk] = left
            else:
                del self._users[chunk]
                self._uploads.pop(chunk, None)

    def committed(self) -> None:
        """Forget what is committed: all that was sent, and the chunks that no file needs now."""
        self.let_go()
        self.sent.clear()


def live_parts(maps: Iterable[ExtentMap]) -> dict[ChunkLike, list[tuple[int, int]]]:
    """The parts of each chunk that files have bytes from: (offset, size), joined and sorted."""
    parts: dict[ChunkLike, list[tuple[int, int]]] = {}
    for extents in maps:
        for chunk, offset, size in extents.pending():
            parts.setdefault(chunk, []).append((offset, size))
    return {chunk: _joined(found) for chunk, found in parts.items()}


def _joined(parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for offset, size in sorted(parts):
        if joined and offset <= joined[-1][0] + joined[-1][1]:
            first, length = joined[-1]
            joined[-1] = first, max(length, offset + size - first)
        else:
            joined.append((offset, size))
    return joined


def _has_failed(upload: Future[Uploaded]) -> bool:
    """Whether an upload has ended in an error, of which the next commit knows nothing yet."""
    return upload.done() and upload.exception() is not None
