"""How long the end of a mount waits for a cluster that does not answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from arvados_fuse.command.units import duration_text

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LONGEST_SILENCE_S", "Patience"]

LONGEST_SILENCE_S = 120.0
"""After which a cluster is thought to be away. A large manifest takes it some seconds; and what the
network has taken and not delivered yet, which nobody sees moving, is through by then."""


class Patience:
    """Is over when nothing has moved for long, or when somebody does not want to wait.

    moved_at: says when something last came from the cluster, or got there, on time.monotonic
    why: the reason why it is over, in a few words; "" as long as it is not
    """

    def __init__(self, moved_at: Callable[[], float]) -> None:
        """Begin to wait."""
        self._moved_at = moved_at
        self._began_at = time.monotonic()
        self.why = ""

    def end(self) -> None:
        """Wait no longer. Any thread."""
        self.why = self.why or "Interrupted"

    def is_over(self) -> bool:
        """Whether to give up."""
        if time.monotonic() >= max(self._moved_at(), self._began_at) + LONGEST_SILENCE_S:
            silence = duration_text(LONGEST_SILENCE_S)
            self.why = self.why or f"The cluster has been silent for {silence}"
        return bool(self.why)
