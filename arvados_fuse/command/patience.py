"""How long the end of a mount waits for a cluster that does not answer."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from arvados_fuse.command.units import duration_text

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LONGEST_SILENCE_S", "Patience"]

LONGEST_SILENCE_S = 120.0
"""After which a cluster is thought to be away. A large manifest takes it some seconds; and what the
network has taken and not delivered yet, which nobody sees moving, is through by then."""

log = logging.getLogger(__name__)


class Patience:
    """Is over when nothing has moved for long, or when somebody does not want to wait.

    moved_at: says when something last came from the cluster, or got there, on time.monotonic
    """

    def __init__(self, moved_at: Callable[[], float]) -> None:
        """Begin to wait."""
        self._moved_at = moved_at
        self._began_at = time.monotonic()
        self._is_over = threading.Event()

    def end(self) -> None:
        """Wait no longer. Any thread."""
        if not self._is_over.is_set():
            log.warning("Interrupted: what is not saved yet is left to the next mount.")
            self._is_over.set()

    def is_over(self) -> bool:
        """Whether to give up."""
        if self._is_over.is_set():
            return True
        if time.monotonic() < max(self._moved_at(), self._began_at) + LONGEST_SILENCE_S:
            return False
        log.warning(
            "The cluster has been silent for %s: what is not saved yet is left to the next mount.",
            duration_text(LONGEST_SILENCE_S),
        )
        self._is_over.set()
        return True
