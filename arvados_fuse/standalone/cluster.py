"""A running cluster: all parts put together on one directory, served until it is to end."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from arvados_fuse.standalone import clock, directory, identity, sample
from arvados_fuse.standalone.api.server import ApiServer, operation_name
from arvados_fuse.standalone.api.service import ApiService
from arvados_fuse.standalone.certificate import tls_context
from arvados_fuse.standalone.core import Core
from arvados_fuse.standalone.eventprocess import EventProcess
from arvados_fuse.standalone.faults import CONTROL_PATH, Faults
from arvados_fuse.standalone.keep.blocks import BlockStore
from arvados_fuse.standalone.keep.server import KeepServer
from arvados_fuse.standalone.limits import Limits
from arvados_fuse.standalone.network import LOCAL, Network
from arvados_fuse.standalone.records import trash
from arvados_fuse.standalone.records.database import Database
from arvados_fuse.standalone.signatures import BlobSigner

__all__ = ["MOST_KEEP_SERVICES", "PortTaken", "Settings", "TooFewServices", "run"]

logger = logging.getLogger(__name__)

MOST_KEEP_SERVICES = 16
_SWEEP_INTERVAL_S = 60.0
_THREADS = 8
"""For each of API and Keep: enough that a slow query or disk leaves some free."""
_EVENT_PATIENCE_S = 3.0
"""How long the event bus of a cluster that was killed may need to end, and give its port free."""
_POLL_S = 0.02
_END_TIME_LIMIT_S = 5.0
"""How long requests may go on when the cluster is to end."""


class PortTaken(Exception):
    """A port or an address that was asked for cannot be used."""


class TooFewServices(Exception):
    """Fewer Keep services are wanted than hold blocks."""


@dataclass(frozen=True)
class Settings:
    """How to run a cluster.

    api_port, keep_port: None for the ports of the last time if they are free, else any
    keep_services: None for as many as the last time
    network: where to listen, and what clients call that
    faults: let tests control misbehaviour
    sample: put the sample project into a new cluster
    while_used: end when nobody holds the users' lock of the directory any more
    """

    directory: Path
    api_port: int | None = None
    keep_port: int | None = None
    keep_services: int | None = None
    network: Network = LOCAL
    faults: bool = False
    sample: bool = False
    while_used: bool = False


def run(settings: Settings, ready: Callable[[str], None]) -> None:
    """Run a cluster until SIGTERM or SIGINT. `ready` is given the line that says it is ready.

    Raises DirectoryUnusable, DatabaseUnusable, PortTaken, TooFewServices.
    """
    os.umask(0o077)
    directory.prepare(settings.directory)
    with directory.take_lock(settings.directory):
        directory.remove_environment(settings.directory)
        try:
            asyncio.run(_Cluster(settings).serve(ready))
        finally:
            directory.remove_environment(settings.directory)


class _Cluster:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings.directory / directory.DATABASE)
        count = self._count_keep_services()
        self._limits = Limits(default_replication=min(count, 2))
        self._identity = identity.establish(self._database)
        self._signer = BlobSigner(self._identity.signing_key, self._limits.blob_signing_ttl_s)
        places = [directory.block_store(settings.directory, number) for number in range(count)]
        self._stores = [BlockStore(place) for place in places]
        self._host = settings.network.host
        self._tls = tls_context(settings.directory / directory.CERTIFICATE, self._host)
        with self._database.write() as db:
            identity.set_value(db, "host", self._host)

    async def serve(self, ready: Callable[[str], None]) -> None:
        """Serve until told to end."""
        end = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end.set)
        async with AsyncExitStack() as stack:
            stack.callback(self._database.close)
            api_socket = stack.enter_context(self._listen("api", self._settings.api_port))
            event_socket = stack.enter_context(self._listen("event", None, _EVENT_PATIENCE_S))
            keep_sockets = [stack.enter_context(listening) for listening in self._listen_as_keep()]
            # Manifests name the empty block although nobody writes it, and some clients read it.
            for store in self._stores:
                store.add(b"")
            core = self._core(api_socket, event_socket, keep_sockets)
            service = ApiService(core)
            faults = _faults(service) if self._settings.faults else None
            # Before the threads, so that it ends when they have ended and write no more.
            await stack.enter_async_context(self._event_bus(event_socket, faults))
            api_threads = stack.enter_context(ThreadPoolExecutor(_THREADS, "api"))
            keep_threads = stack.enter_context(ThreadPoolExecutor(_THREADS, "keep"))
            if self._settings.sample:
                await loop.run_in_executor(api_threads, self._add_sample, core)
            api = ApiServer(service, api_threads, self._limits.max_request_size)
            api_app, keep_apps = self._applications(faults)
            api.add_routes(api_app)
            for store, keep_app in zip(self._stores, keep_apps, strict=True):
                keep = KeepServer(store, self._signer, self._limits, keep_threads)
                keep.add_routes(keep_app)
            runners: list[web.AppRunner] = []
            stack.push_async_callback(_end, runners)
            runners.append(await _start(api_app, api_socket, self._tls))
            for keep_app, listening in zip(keep_apps, keep_sockets, strict=True):
                runners.append(await _start(keep_app, listening, None))
            sweeping = asyncio.create_task(self._sweep(api_threads))
            stack.callback(sweeping.cancel)
            self._announce(core, keep_sockets, ready)
            if self._settings.while_used:
                _watch_users(self._settings.directory, lambda: loop.call_soon_threadsafe(end.set))
            await end.wait()
            directory.remove_environment(self._settings.directory)

    def _count_keep_services(self) -> int:
        """Return how many Keep services there are to be, and remember that."""
        with self._database.write() as db:
            noted = identity.get_number(
                self._database, "keep_services", least=1, most=MOST_KEEP_SERVICES
            )
            last = noted or 1
            wanted = self._settings.keep_services or last
            if wanted < last:
                raise TooFewServices(
                    f"{self._settings.directory} has had {last} Keep services, which all hold"
                    f" blocks; {wanted} would hide some of them"
                )
            identity.set_value(db, "keep_services", str(wanted))
        return wanted

    @asynccontextmanager
    async def _event_bus(
        self, listening: socket.socket, faults: Faults | None
    ) -> AsyncIterator[None]:
        """Run the event bus in a process of its own, and tell it of all that is written."""
        process = EventProcess(self._settings.directory, listening, faults)
        running = asyncio.create_task(process.run())
        self._database.call_after_commit(process.wake)
        try:
            yield
        finally:
            self._database.call_after_commit(None)
            running.cancel()
            await asyncio.wait([running])

    def _core(
        self,
        api_socket: socket.socket,
        event_socket: socket.socket,
        keep_sockets: Sequence[socket.socket],
    ) -> Core:
        for number, listening in enumerate(keep_sockets):
            port = listening.getsockname()[1]
            identity.register_keep_service(
                self._database, self._identity.cluster_id, self._host, port, number
            )
        return Core(
            cluster_id=self._identity.cluster_id,
            database=self._database,
            signer=self._signer,
            api_port=api_socket.getsockname()[1],
            event_port=event_socket.getsockname()[1],
            limits=self._limits,
            host=self._host,
        )

    def _listen_as_keep(self) -> Iterator[socket.socket]:
        yield self._listen("keep", self._settings.keep_port)
        for number in range(1, len(self._stores)):
            yield self._listen(f"keep_{number}", None)

    def _listen(self, name: str, wanted: int | None, patience_s: float = 0) -> socket.socket:
        """Listen on the port wanted, or that of the last time, or any; remember which.

        That of the last time may become free within `patience_s`.
        """
        last = identity.get_port(self._database, name)
        address = self._settings.network.address
        if wanted is not None:
            try:
                found = _bound(address, wanted)
            except OSError as error:
                raise PortTaken(f"cannot use port {wanted}: {error.strerror}") from error
        else:
            try:
                found = _bound_in_time(address, last, patience_s)
            except OSError:
                found = self._listen_anywhere(address)
        port = found.getsockname()[1]
        if port != last:
            with self._database.write() as db:
                identity.set_value(db, f"{name}_port", str(port))
        return found

    @staticmethod
    def _listen_anywhere(address: str) -> socket.socket:
        try:
            return _bound(address, 0)
        except OSError as error:
            raise PortTaken(f"cannot listen on {address}: {error.strerror}") from error

    def _applications(self, faults: Faults | None) -> tuple[web.Application, list[web.Application]]:
        """Return the empty applications of the API and of each Keep service."""
        size = self._limits.max_request_size
        if faults is None:
            keep_apps = [web.Application() for _ in self._stores]
            for keep_app in keep_apps:
                keep_app.router.add_route("*", f"{CONTROL_PATH}{{rest:(/.*)?}}", _not_found)
            return web.Application(client_max_size=size), keep_apps
        api_misbehaviour = faults.middleware("api", operation_name)
        keep_misbehaviour = faults.middleware("keep", lambda request: f"{request.method} keep")
        return (
            web.Application(client_max_size=size, middlewares=[api_misbehaviour]),
            [web.Application(middlewares=[keep_misbehaviour]) for _ in self._stores],
        )

    def _add_sample(self, core: Core) -> None:
        sample.add(core, self._stores[: self._limits.default_replication], self._identity)

    async def _sweep(self, threads: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(threads, trash.sweep, self._database, clock.now())
            except Exception:
                logger.exception("cannot empty the trash; will try again")
            await asyncio.sleep(_SWEEP_INTERVAL_S)

    def _announce(
        self, core: Core, keep_sockets: Sequence[socket.socket], ready: Callable[[str], None]
    ) -> None:
        directory.write_environment(
            self._settings.directory,
            f"{self._host}:{core.api_port}",
            self._identity.administrator_token,
        )
        urls = [f"http://{self._host}:{listening.getsockname()[1]}/" for listening in keep_sockets]
        ready(
            f"cluster {core.cluster_id} is ready: API {core.root_url},"
            f" Keep {' '.join(urls)},"
            f" settings in {self._settings.directory / directory.ENVIRONMENT}"
        )


def _bound_in_time(address: str, port: int, patience_s: float) -> socket.socket:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return _bound(address, port)
        except OSError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_POLL_S)


def _bound(address: str, port: int) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # A port of a connection that is still closing may be used again.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((address, port))
        # Occupied from now on, so that nobody else can take it before we serve.
        found.listen(1024)
    except BaseException:
        found.close()
        raise
    return found


def _faults(service: ApiService) -> Faults:
    """Return the fault control, which administrators may use."""
    return Faults(lambda token: (c := service.identify(token)) is not None and c.is_admin)


async def _start(app: web.Application, listening: socket.socket, tls: Any) -> web.AppRunner:
    # It waits for so long twice: for requests to be done, and then for those whose bodies it ended.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_END_TIME_LIMIT_S / 2)
    await runner.setup()
    await web.SockSite(runner, listening, ssl_context=tls).start()
    return runner


async def _end(runners: Sequence[web.AppRunner]) -> None:
    """End all at the same time: what they wait for does not add up."""
    await asyncio.gather(*(runner.cleanup() for runner in runners))


async def _not_found(_request: web.Request) -> web.Response:
    raise web.HTTPNotFound(text="Not Found\n")


def _watch_users(place: Path, end: Callable[[], object]) -> None:
    """Call `end` in another thread when nobody holds the users' lock any more.

    The lock is then ours until this process is gone, so that who comes next waits for that
    and starts a new cluster, instead of joining one that is about to end.
    """
    file = directory.open_lock(place, directory.USERS_LOCK)

    def wait() -> None:
        fcntl.flock(file, fcntl.LOCK_EX)
        end()

    threading.Thread(target=wait, name="users", daemon=True).start()
