"""Reading blocks from the Keep services.

The rules of whom to ask, how long to wait and when to try again are those of the official SDK, so
that a cluster sees the same behaviour (Arvados documentation, "Keep clients"). What differs: bytes
are handed on while they come, the time between rounds is jittered, and a service that has sent
wrong bytes twice is not asked a third time.
"""

import http.client
import logging
import random
import secrets
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from arvados_fuse.errors import ClusterUnreachable
from arvados_fuse.keep.connections import BlockResponse, Connection, ConnectionPool
from arvados_fuse.keep.locators import Locator, parse_locator
from arvados_fuse.keep.services import Service, ServiceList
from arvados_fuse.keep.transfer import SpeedLimit, Transfer
from arvados_fuse.keep.verdicts import TryFailed, Verdict, conclude, transport_failure
from arvados_fuse.metrics import Metrics
from arvados_fuse.version import __version__

__all__ = ["DEFAULT_TIMEOUTS", "KeepClient", "Timeouts"]

logger = logging.getLogger(__name__)


class Timeouts(NamedTuple):
    """Limits of every wait. The defaults are the official SDK's.

    connect_s, proxy_connect_s: making a connection, in the first round; doubled with each round
    slowest: a body that is slower is given up, and so is a service that is silent for the window
    backoff_s: time from the start of the first round to the second's; doubled with each round
    longest_s: where the doubling stops
    """

    connect_s: float = 2.0
    proxy_connect_s: float = 20.0
    slowest: SpeedLimit = SpeedLimit(bytes_per_s=32768, window_s=256.0)
    backoff_s: float = 4.0
    longest_s: float = 60.0


DEFAULT_TIMEOUTS = Timeouts()


class KeepClient:
    """Reads blocks. Threads: every method may be called from any thread.

    services: whom to ask
    token: gives the API token, each time anew, as it may be replaced during a long mount
    insecure, ca_file: whom to trust (see ConnectionPool)
    retries: rounds over the services after the first
    metrics: where requests and bytes are counted
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
        self._token = token
        self._retries = retries
        self._metrics = metrics
        self._timeouts = timeouts
        self._pool = ConnectionPool(insecure=insecure, ca_file=ca_file)
        self._closing = threading.Event()

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
        for round_number in range(self._retries + 1):
            started_at = time.monotonic()
            if self._run_round(round_number, locator, transfer, said):
                return
            if all(failure.permanent for failure in said.values()):
                break
            if round_number < self._retries:
                self._back_off(round_number, started_at)
                self._services.refresh()
        raise conclude(block.name, said)

    def close(self) -> None:
        """Break off every transfer and every wait; whoever waits gets ClusterUnreachable."""
        self._closing.set()
        self._pool.close()

    def _run_round(
        self, round_number: int, locator: str, transfer: Transfer, said: dict[str, TryFailed]
    ) -> bool:
        """Ask each service that may still have the block. True when one gave it.

        said: the last failure of each service, by its URL; brought up to date
        """
        block = transfer.block
        for service in self._services.for_block(block.hash, block.hints):
            before = said.get(service.url_base)
            if before is not None and before.permanent:
                continue
            try:
                self._try(
                    service, self._connect_timeout_s(service, round_number), locator, transfer
                )
            except TryFailed as failure:
                self._stop_if_closing()
                said[service.url_base] = _weigh(block, service, failure, before)
            else:
                return True
        return False

    def _connect_timeout_s(self, service: Service, round_number: int) -> float:
        is_proxy = service.kind == "proxy"
        first_s = self._timeouts.proxy_connect_s if is_proxy else self._timeouts.connect_s
        return min(first_s * 2.0**round_number, self._timeouts.longest_s)

    def _back_off(self, round_number: int, started_at: float) -> None:
        """Wait for the time of the next round, some jitter before the end of the spacing."""
        spacing_s = min(self._timeouts.backoff_s * 2.0**round_number, self._timeouts.longest_s)
        due_at = started_at + spacing_s * random.uniform(0.75, 1.0)  # noqa: S311 (no secret)
        self._closing.wait(max(0.0, due_at - time.monotonic()))
        self._stop_if_closing()

    def _stop_if_closing(self) -> None:
        if self._closing.is_set():
            raise ClusterUnreachable("the mount is ending: no more blocks are read")

    def _try(
        self, service: Service, connect_timeout_s: float, locator: str, transfer: Transfer
    ) -> None:
        """Read the block from one service, once. Raises TryFailed."""
        try:
            connection, response = self._ask(service, connect_timeout_s, locator)
        except (OSError, http.client.HTTPException) as error:
            raise transport_failure(error) from error
        is_reusable = False
        try:
            is_reusable = response.status != http.client.OK
            transfer.check_head(response)
            transfer.receive_body(response)
            is_reusable = True
        finally:
            if is_reusable:
                self._pool.give_back(connection, response)
            else:
                self._pool.drop(connection)
            response.close()

    def _ask(
        self, service: Service, connect_timeout_s: float, locator: str
    ) -> tuple[Connection, BlockResponse]:
        """Send the request and wait for the head of the answer.

        Raises OSError or http.client.HTTPException.
        """
        connection = self._pool.take(service.url_base, fresh=False)
        try:
            return connection, self._send(connection, connect_timeout_s, locator)
        except ConnectionError:
            if not connection.reused:
                raise
        # A kept-alive connection that the server has closed is no failure of the server.
        connection = self._pool.take(service.url_base, fresh=True)
        return connection, self._send(connection, connect_timeout_s, locator)

    def _send(
        self, connection: Connection, connect_timeout_s: float, locator: str
    ) -> BlockResponse:
        """Send the request on a connection, which is dropped when that fails."""
        token = self._token()
        if not (token.isascii() and token.isprintable()):
            self._pool.drop(connection)
            # Let the library refuse it and its message, which quotes the token, may get into a log.
            words = "the token has characters that no token has"
            raise TryFailed(Verdict.REFUSED, words, permanent=True)
        headers = {
            "Accept": "application/octet-stream",
            "Authorization": f"Bearer {token}",
            "User-Agent": f"arv-mount/{__version__}",
            "X-Request-Id": f"req-{secrets.token_hex(10)}",
        }
        self._metrics.keep_get_calls += 1
        try:
            return connection.ask(
                locator, headers, connect_timeout_s, self._timeouts.slowest.window_s
            )
        except BaseException:
            self._pool.drop(connection)
            raise


def _weigh(
    block: Locator, service: Service, failure: TryFailed, before: TryFailed | None
) -> TryFailed:
    """Log a failure and decide whether the service is given up.

    Wrong bytes can be an accident on the way once; a service that sends them twice has a bad copy.
    """
    is_corrupt = failure.verdict is Verdict.CORRUPT
    if is_corrupt and before is not None and before.verdict is Verdict.CORRUPT:
        failure.permanent = True
    level = logging.WARNING if is_corrupt else logging.INFO
    logger.log(level, "block %s from %s: %s", block.name, service.url_base, failure)
    return failure
