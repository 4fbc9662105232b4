"""Services in trouble: what the log has of them, and which of them are asked last.

The log has each kind of trouble once, until the service works again. A service that is silent would
keep everybody who asks for the time limit, block by block, while others have the same blocks.
"""

import logging
import threading
import time
from collections.abc import Sequence

from arvados_fuse.keep.services import Service
from arvados_fuse.keep.verdicts import TryFailed, Verdict

__all__ = ["Troubles"]

logger = logging.getLogger(__name__)

_OF_THE_SERVICE = frozenset({Verdict.TIMED_OUT, Verdict.UNREACHABLE, Verdict.ERROR, Verdict.FULL})
"""Verdicts that say more about the service than about the block."""

_AVOIDED_S = 120.0
"""How long a service that did not answer in time is asked after all others."""


class Troubles:
    """What is known of failures of services. Threads: every method from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[str, set[tuple[Verdict, str]]] = {}
        self._silent_at: dict[str, float] = {}

    def failed(self, url: str, block_name: str, failure: TryFailed) -> None:
        """Log that a service failed for a block; again only with --debug."""
        trouble = failure.verdict, str(failure)
        with self._lock:
            told = self._told.setdefault(url, set())
            is_new = trouble not in told
            told.add(trouble)
            if failure.verdict is Verdict.TIMED_OUT:
                self._silent_at[url] = time.monotonic()
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
            self._silent_at.pop(url, None)
        if any(verdict in _OF_THE_SERVICE for verdict, _ in told):
            logger.info("%s works again.", url)

    def silent_last(self, services: Sequence[Service]) -> list[Service]:
        """Return services in the order in which to ask them: silent ones after all others."""
        with self._lock:
            since = time.monotonic() - _AVOIDED_S
            silent = {url for url, silent_at in self._silent_at.items() if silent_at > since}
        return sorted(services, key=lambda service: service.url_base in silent)
