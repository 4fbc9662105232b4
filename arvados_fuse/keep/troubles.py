"""What the log has of services in trouble: each kind once, until they work again."""

import logging
import threading

from arvados_fuse.keep.verdicts import TryFailed, Verdict

__all__ = ["Troubles"]

logger = logging.getLogger(__name__)

_OF_THE_SERVICE = frozenset({Verdict.TIMED_OUT, Verdict.UNREACHABLE, Verdict.ERROR, Verdict.FULL})
"""Verdicts that say more about the service than about the block."""


class Troubles:
    """Logs failures of services. Threads: every method from any thread.

    A cluster that is away fails every try for every block, several times a minute.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[str, set[tuple[Verdict, str]]] = {}

    def failed(self, url: str, block_name: str, failure: TryFailed) -> None:
        """Log that a service failed for a block; again only with --debug."""
        trouble = failure.verdict, str(failure)
        with self._lock:
            told = self._told.setdefault(url, set())
            is_new = trouble not in told
            told.add(trouble)
        if failure.verdict is Verdict.CORRUPT:
            level = logging.WARNING
        else:
            level = logging.INFO if is_new else logging.DEBUG
        logger.log(level, "block %s from %s: %s", block_name, url, failure)

    def over(self, url: str) -> None:
        """Note that a service has done what it was asked for."""
        if url not in self._told:  # nearly always so
            return
        with self._lock:
            told = self._told.pop(url, set())
        if any(verdict in _OF_THE_SERVICE for verdict, _ in told):
            logger.info("%s works again.", url)
