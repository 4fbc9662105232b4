"""Which chunk the bytes of a write go to.

Small files share a chunk. A file that has grown large has one of its own while it is being written,
so that two of them written side by side do not interleave, block by block, for ever. What such a
file leaves of its chunk is taken by the next one.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from arvados_fuse.journal.chunks import Chunk

__all__ = ["Packing"]

_MOST_OWNED = 8
"""Large files that have a chunk of their own at one time; one more takes over the chunk of the one
that was not written for the longest. Each costs a descriptor and a block that may stay small."""


class Packing:
    """The open chunks of one collection. Threads: one at a time.

    create: makes a chunk; what it raises comes out of `choose`
    """

    def __init__(self, create: Callable[[], Chunk]) -> None:
        self._create = create
        self._shared: Chunk | None = None
        self._owned: OrderedDict[Hashable, Chunk] = OrderedDict()  # last written last
        self._free: list[Chunk] = []

    def choose(self, big: Hashable | None) -> Chunk:
        """An open chunk for the next bytes of a small file, or of the large file `big`."""
        if big is None:
            if self._shared is None or self._shared.is_sealed:
                self._shared = self._next()
            return self._shared
        chunk = self._owned.get(big)
        if chunk is not None and not chunk.is_sealed:
            self._owned.move_to_end(big)
            return chunk
        self._owned.pop(big, None)
        if len(self._owned) >= _MOST_OWNED:
            self._free.append(self._owned.popitem(last=False)[1])
        chunk = self._owned[big] = self._next()
        return chunk

    def finished(self, big: Hashable) -> None:
        """A large file is written no more for now: its chunk is free for others."""
        chunk = self._owned.pop(big, None)
        if chunk is not None:
            self._free.append(chunk)

    def seal(self) -> None:
        """Append nothing more to any of the chunks."""
        shared = [self._shared] if self._shared is not None else []
        for chunk in (*shared, *self._owned.values(), *self._free):
            chunk.seal()
        self._shared = None
        self._owned.clear()
        self._free.clear()

    def _next(self) -> Chunk:
        """A chunk that was left by a large file, or a new one."""
        while self._free:
            chunk = self._free.pop()
            if not chunk.is_sealed:
                return chunk
        return self._create()
