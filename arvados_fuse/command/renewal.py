"""A new token for a mount that runs, on SIGHUP."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from arvados_fuse.command.problem import CommandError
from arvados_fuse.fusedir.collection import CollectionDirectory

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from arvados_fuse.api import ArvadosCluster
    from arvados_fuse.inodes import Inodes

__all__ = ["Renewal"]

log = logging.getLogger(__name__)


class Renewal:
    """The token of a mount, and how it is replaced.

    cluster: what is asked with it
    token: the one to use now; read it anew for each request
    on_renewal: called with the lock held when there is another; None if nobody has to know
    """

    def __init__(
        self,
        token: str,
        read_token: Callable[[], str],
        cluster: ArvadosCluster,
        inodes: Inodes,
        lock: AbstractContextManager[object],
    ) -> None:
        """Begin with `token`.

        read_token: returns the token of the settings as they are now. Raises CommandError
        lock: the file system's
        """
        self.token = token
        self._read_token = read_token
        self.cluster = cluster
        self._inodes = inodes
        self._lock = lock
        self.on_renewal: Callable[[], None] | None = None

    def renew(self) -> None:
        """Read the token again, and use it if it is another. Called without the lock."""
        try:
            token = self._read_token()
        except CommandError as error:
            log.warning("Keeping the token: %s", error)
            return
        if token == self.token:
            log.info("Keeping the token: the settings have no other.")
            return
        self.token = token
        self.cluster.use_token(token)
        with self._lock:
            # Block signatures are good for the token alone that they were made for. (Arvados
            # documentation, "Keep locator format".)
            for thing in self._inodes:
                if isinstance(thing, CollectionDirectory):
                    thing.invalidate()
            if self.on_renewal is not None:
                self.on_renewal()
        log.info("Using a new token from the settings.")
