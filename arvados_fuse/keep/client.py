"""Reading blocks from the Keep services, and writing them.

The rules of whom to ask, how long to wait and when to try again are those of the official SDK, so
that a cluster sees the same behaviour (Arvados documentation, "Keep clients"). What differs: bytes
are handed on while they come, the time between rounds is jittered, and a service that has sent
wrong bytes twice is not asked a third time; one that was silent is asked last for a while.
"""

import contextlib
import copy
import hashlib
import http.client
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from mmap import mmap

from arvados_fuse.errors import ClusterUnreachable, FileSystemError
from arvados_fuse.keep.connections import BlockResponse, Connection, ConnectionPool, Limits
from arvados_fuse.keep.exchange import DEFAULT_TIMEOUTS, Exchanges, Timeouts
from arvados_fuse.keep.locators import EMPTY_BLOCK, MAX_BLOCK_SIZE, Locator, parse_locator
from arvados_fuse.keep.services import Service, ServiceList
from arvados_fuse.keep.transfer import SpeedWatch, Transfer
from arvados_fuse.keep.troubles import Troubles
from arvados_fuse.keep.verdicts import TryFailed, Verdict, conclude, conclude_write
from arvados_fuse.keep.writing import Placement
from arvados_fuse.metrics import Metrics

__all__ = ["DEFAULT_TIMEOUTS", "Buffer", "KeepClient", "Timeouts"]

logger = logging.getLogger(__name__)

_LAST_SPACING_S = 2.0
"""Longest wait between two rounds once patience is limited."""

Buffer = bytes | bytearray | memoryview | mmap
"""Memory that can be read without copying it."""


class KeepClient:
    """Reads and writes blocks. Threads: every method may be called from any thread.

    services: whom to ask
    token: gives the API token, each time anew, as it may be replaced during a long mount
    insecure, ca_file: whom to trust (see ConnectionPool)
    retries: rounds over the services after the first
    metrics: where requests and bytes are counted
    moved_at: when a service last took bytes of a block, or answered, in seconds of time.monotonic
    """

    def __init__(
        self,
        services: ServiceList,
        token: Callable[[], str],
        *,
        insecure: bool,
        retries: int,
        metrics: Metrics,
        ca_file: str | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self._services = services
        self._retries = retries
        self._metrics = metrics
        self._timeouts = timeouts
        self._pool = ConnectionPool(insecure=insecure, ca_file=ca_file)
        self.token = token
        self._exchanges = Exchanges(self._pool, token, timeouts)
        self._closing = threading.Event()
        self._hurried = threading.Event()  # also when closing
        self._patience_s = timeouts.trying_s
        self._troubles = Troubles()
        self._write_errors: set[type[FileSystemError]] = set()  # that the log has
        self._has_warned_of_classes = False
        self.moved_at = -math.inf

    def with_token(self, token: str) -> "KeepClient":
        """A client that shares everything with this one but asks with another token.

        It ends with this one.
        """
        other = copy.copy(self)
        other.token = lambda: token
        other._exchanges = Exchanges(self._pool, other.token, self._timeouts)
        return other

    def prepare(self) -> None:
        """Ask for the list of services, so that the first block need not wait for it.

        Waits. What goes wrong is told by who needs the list.
        """
        with contextlib.suppress(FileSystemError):
            self._services.prepare()

    def get(
        self,
        locator: str,
        sink: memoryview,
        progress: Callable[[int], None],
        restarted: Callable[[], None],
    ) -> None:
        """Read a block into `sink`, and return when all of it is there and its md5 is right.

        locator: the signed locator
        sink: writable memory of exactly the block's size
        progress: called with the number of bytes in place, often; they are not verified before get
            returns. What it raises ends the transfer and comes out of get.
        restarted: called when the bytes that `progress` announced are void, before others are
            written over them; also when no other try follows

        Waits as long as the time limits and the retries allow. Raises BlockLost, BlockCorrupt,
        AccessRefused, TimedOut, ClusterUnreachable or ClusterError, whose messages name the block
        and what every service said, and whatever asking for the list of services raises.
        """
        block = parse_locator(locator)
        if not block.size:
            return
        transfer = Transfer(
            block,
            sink,
            progress=progress,
            restarted=restarted,
            slowest=self._timeouts.slowest,
            metrics=self._metrics,
        )
        said: dict[str, TryFailed] = {}
        for round_number in self._rounds():
            if self._run_round(round_number, locator, transfer, said):
                return
            if all(failure.permanent for failure in said.values()):
                break
        raise conclude(block.name, said)

    def put(
        self, data: Buffer, *, classes: Sequence[str], replicas: int, md5: str | None = None
    ) -> str:
        """Store a block, and return its signed locator when enough copies of it are stored.

        data: at most 64 MiB; read where it is, in several passes, and not referred to afterwards
        classes: storage classes, in each of which the copies are wanted; none leaves it to the
            cluster
        replicas: how many copies
        md5: of the data, in hexadecimal digits; computed if it is not given

        Waits as long as the time limits and the retries allow. Raises NoSpace, AccessRefused,
        TimedOut, ClusterUnreachable or ClusterError, whose messages name the block and what every
        service said, after writing that to the log (each kind once, until a block is stored), and
        whatever asking for the list of services
        raises.
        """
        with memoryview(data) as view, view.cast("B") as body:
            if len(body) > MAX_BLOCK_SIZE:
                raise ValueError(f"a block of {len(body)} bytes is too large to be stored")
            if not body:
                return EMPTY_BLOCK
            md5 = md5 or hashlib.md5(body, usedforsecurity=False).hexdigest()
            block = Locator(md5, len(body), ())
            placement = Placement(block, classes, replicas)
            said: dict[str, TryFailed] = {}
            for round_number in self._rounds():
                may_go_on = self._store_round(round_number, placement, body, said)
                if placement.is_complete:
                    self._write_errors.clear()
                    self._warn_of_untracked_classes(placement)
                    return placement.locator
                if not may_go_on:
                    break
        error = conclude_write(block.name, placement.shortage, said)
        level = logging.DEBUG if type(error) in self._write_errors else logging.ERROR
        self._write_errors.add(type(error))
        logger.log(level, "Keep write error: %s", error)
        raise error

    def limit_patience(self, patience_s: float) -> None:
        """From now on give a block up that has failed for so long, however many retries are left.

        A transfer that goes on is not broken off.
        """
        self._patience_s = patience_s
        self._hurried.set()

    def close(self) -> None:
        """Break off every transfer and every wait; whoever waits gets ClusterUnreachable."""
        self._closing.set()
        self._hurried.set()
        self._pool.close()

    def _run_round(
        self, round_number: int, locator: str, transfer: Transfer, said: dict[str, TryFailed]
    ) -> bool:
        """Ask each service that may still have the block. True when one gave it.

        said: the last failure of each service, by its URL; brought up to date
        """
        block = transfer.block
        services = self._services.for_block(block.hash, block.hints)
        for service in self._troubles.silent_last(services):
            before = said.get(service.url_base)
            if before is not None and before.permanent:
                continue
            try:
                self._try(service, round_number, locator, transfer)
            except TryFailed as failure:
                self._stop_if_closing()
                said[service.url_base] = self._weigh(block, service, failure, before)
            else:
                self._troubles.over(service.url_base)
                return True
        return False

    def _rounds(self) -> Iterator[int]:
        """The numbers of the rounds; waits and asks for the services again between them."""
        failing_since = None
        for round_number in range(self._retries + 1):
            started_at = time.monotonic()
            yield round_number
            failing_since = failing_since or time.monotonic()
            if time.monotonic() >= failing_since + self._patience_s:
                return
            if round_number < self._retries:
                self._back_off(round_number, started_at)
                self._services.refresh()

    def _back_off(self, round_number: int, started_at: float) -> None:
        """Wait for the time of the next round, some jitter before the end of the spacing."""
        spacing_s = self._timeouts.spacing_s(round_number)
        due_at = started_at + spacing_s * random.uniform(0.75, 1.0)  # noqa: S311 (no secret)
        wait_s = max(0.0, due_at - time.monotonic())
        if self._hurried.is_set():
            self._closing.wait(min(wait_s, _LAST_SPACING_S))
        else:
            self._hurried.wait(wait_s)
        self._stop_if_closing()

    def _stop_if_closing(self) -> None:
        if self._closing.is_set():
            raise ClusterUnreachable("the mount is ending: no more blocks are read or written")

    def _try(self, service: Service, round_number: int, locator: str, transfer: Transfer) -> None:
        """Read the block from one service, once. Raises TryFailed."""

        def send(
            connection: Connection, headers: Mapping[str, str], limits: Limits
        ) -> BlockResponse:
            self._metrics.keep_get_calls += 1
            headers = {"Accept": "application/octet-stream", **headers}
            return connection.ask(locator, headers, limits)

        with self._exchanges.begin(service, round_number, send) as exchange:
            self.moved_at = time.monotonic()
            exchange.is_reusable = exchange.response.status != http.client.OK
            transfer.check_head(exchange.response)
            transfer.receive_body(exchange.response)
            exchange.is_reusable = True

    def _store_round(
        self, round_number: int, placement: Placement, body: memoryview, said: dict[str, TryFailed]
    ) -> bool:
        """Give the block to services until enough copies are stored.

        said: the last failure of each service, by its URL; brought up to date

        Returns whether another round makes sense.
        """
        services = self._troubles.silent_last(self._services.for_new_block(placement.block.hash))
        usable = [each for each in services if not _is_given_up(said.get(each.url_base))]
        for wave in placement.waves(usable):
            store = partial(self._store, round_number, placement, body)
            for service, failure in zip(wave, _in_parallel(store, wave), strict=True):
                said.pop(service.url_base, None)
                if failure is None:
                    self._troubles.over(service.url_base)
                else:
                    said[service.url_base] = self._weigh(placement.block, service, failure, None)
            self._stop_if_closing()
        return any(
            not placement.is_done(each) and not _is_given_up(said.get(each.url_base))
            for each in usable
        )

    def _store(
        self, round_number: int, placement: Placement, body: memoryview, service: Service
    ) -> TryFailed | None:
        """Give the block to one service, once. Returns what went wrong."""
        watch = SpeedWatch(self._timeouts.slowest)

        def sent(size: int) -> None:
            self.moved_at = time.monotonic()
            self._metrics.keep_put_bytes += size
            watch.count(size)

        def send(
            connection: Connection, headers: Mapping[str, str], limits: Limits
        ) -> BlockResponse:
            self._metrics.keep_put_calls += 1
            headers = {**headers, **placement.headers()}
            return connection.send_block(placement.block.hash, headers, body, sent, limits)

        try:
            with self._exchanges.begin(service, round_number, send) as exchange:
                self.moved_at = time.monotonic()
                placement.receive(service, exchange)
        except TryFailed as failure:
            # Without its traceback, which would hold on to the memory of the block.
            return TryFailed(failure.verdict, str(failure), permanent=failure.permanent)
        return None

    def _weigh(
        self, block: Locator, service: Service, failure: TryFailed, before: TryFailed | None
    ) -> TryFailed:
        """Log a failure and decide whether the service is given up.

        Wrong bytes can be an accident on the way once; a service that sends them twice has a bad
        copy.
        """
        if before is not None and before.verdict is failure.verdict is Verdict.CORRUPT:
            failure.permanent = True
        self._troubles.failed(service.url_base, block.name, failure)
        return failure

    def _warn_of_untracked_classes(self, placement: Placement) -> None:
        """Say once that a service does not tell which storage classes it has stored."""
        if not placement.tracks_classes and not self._has_warned_of_classes:
            self._has_warned_of_classes = True
            logger.warning(
                "a Keep service does not say which storage classes it has stored: it is taken on"
                " trust that they are those that were asked for"
            )


def _is_given_up(failure: TryFailed | None) -> bool:
    return failure is not None and failure.permanent


def _in_parallel(
    store: Callable[[Service], TryFailed | None], services: Sequence[Service]
) -> list[TryFailed | None]:
    """Call for all services at the same time and wait for all."""
    if len(services) == 1:
        return [store(services[0])]
    with ThreadPoolExecutor(len(services), thread_name_prefix="keep-put") as threads:
        return list(threads.map(store, services))
