"""Who hears of changes on the cluster while a file system is mounted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from arvados_fuse.api import tls_context
from arvados_fuse.command.ending import signals_blocked
from arvados_fuse.events import Subscriber
from arvados_fuse.fusedir.changes import Changes

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from arvados_fuse.command.arguments import Settings
    from arvados_fuse.command.clusters import Access
    from arvados_fuse.command.renewal import Renewal
    from arvados_fuse.fusedir.directory import Surroundings
    from arvados_fuse.metrics import Metrics

__all__ = ["start_listening"]

log = logging.getLogger(__name__)


def start_listening(
    settings: Settings,
    access: Access,
    renewal: Renewal,
    around: Surroundings,
    *,
    lock: AbstractContextManager[object],
    metrics: Metrics,
) -> Callable[[], None]:
    """Start to hear of changes, if that is wanted and the cluster tells of them.

    lock: the file system's
    Returns what ends it. Call in the process that serves the mount: it starts a thread.
    """
    if not settings.listen_for_events:
        return lambda: None
    cluster = renewal.cluster
    if not cluster.websocket_url:
        log.info("The cluster has no event bus: changes by others are seen after --refresh-time.")
        return lambda: None
    subscriber = Subscriber(
        cluster.websocket_url,
        lambda: renewal.token,
        tls_context(access.insecure),
        Changes(around, lock),
        metrics,
    )
    with signals_blocked():
        subscriber.start()
    return subscriber.stop
