"""The process of the event bus: ``python -m arvados_fuse.standalone.eventserver``.

``eventprocess`` starts it, in the process of the cluster. It has a processor's attention only as
far as requests to the API leave some, and ends with the cluster, however that ends: the kernel then
closes the pipe that both have.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

from aiohttp import web

from arvados_fuse.standalone import directory
from arvados_fuse.standalone.api.eventbus import EventBus
from arvados_fuse.standalone.certificate import tls_context
from arvados_fuse.standalone.faults import remote_misbehaviour
from arvados_fuse.standalone.records.database import Database

__all__ = ["LOG_FORMAT", "main"]

LOG_FORMAT = "%(asctime)s arv-standalone[%(process)d] %(levelname)s: %(message)s"
_NICENESS = 10
_MOST_FILES = 1 << 16
_THREADS = 2
_END_TIME_LIMIT_S = 1.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the event stream until the cluster is gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--listening", type=int, required=True, metavar="FD")
    parser.add_argument("--wake", type=int, required=True, metavar="FD")
    parser.add_argument("--faults", type=int, metavar="FD")
    given = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=LOG_FORMAT)
    # They can reach all processes of a group; this one ends when the cluster has ended.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    _allow_many_connections()
    faults = None if given.faults is None else socket.socket(fileno=given.faults)
    listening = socket.socket(fileno=given.listening)
    asyncio.run(_serve(given.directory, listening, given.wake, faults))


def _allow_many_connections() -> None:
    """Raise the limit of open files, of which each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _serve(
    place: Path, listening: socket.socket, wake: int, faults: socket.socket | None
) -> None:
    with (
        closing(Database(place / directory.DATABASE, is_ready=True)) as database,
        ThreadPoolExecutor(_THREADS, "log") as threads,
    ):
        bus = EventBus(database, threads)
        app = web.Application(middlewares=[remote_misbehaviour(faults)] if faults else [])
        bus.add_routes(app)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_END_TIME_LIMIT_S)
        await runner.setup()
        tls = tls_context(place / directory.CERTIFICATE)
        await web.SockSite(runner, listening, ssl_context=tls).start()
        await _until_closed(wake, bus)
        await runner.cleanup()


async def _until_closed(wake: int, bus: EventBus) -> None:
    """Wake the bus at each byte from the pipe `wake`; return when nobody can send one any more."""
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()

    def read() -> None:
        with suppress(BlockingIOError):
            if not os.read(wake, 1 << 16):
                loop.remove_reader(wake)
                closed.set()
            bus.wake()

    os.set_blocking(wake, False)
    loop.add_reader(wake, read)
    await closed.wait()


if __name__ == "__main__":
    main()
