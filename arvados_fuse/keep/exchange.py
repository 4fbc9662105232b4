"""One request to one Keep service, and its answer.

What reading and writing have in common: the connection, the token, the headers, the time limits,
and what becomes of the connection afterwards.
"""

import contextlib
import http.client
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from arvados_fuse.keep.connections import BlockResponse, Connection, ConnectionPool, Limits
from arvados_fuse.keep.services import Service
from arvados_fuse.keep.transfer import SpeedLimit
from arvados_fuse.keep.verdicts import TryFailed, Verdict, transport_failure
from arvados_fuse.version import __version__

__all__ = ["DEFAULT_TIMEOUTS", "Exchange", "Exchanges", "Send", "Timeouts"]


class Timeouts(NamedTuple):
    """Limits of every wait. The defaults are the official SDK's.

    connect_s, proxy_connect_s: making a connection, in the first round; doubled with each round
    slowest: a body that is slower is given up, and so is a service that is silent for the window
    backoff_s: time from the start of the first round to the second's; doubled with each round
    longest_s: where the doubling stops
    trying_s: a block that has failed for so long is given up, however many retries are left: only
        services that are silent in each round take so long
    """

    connect_s: float = 2.0
    proxy_connect_s: float = 20.0
    slowest: SpeedLimit = SpeedLimit(bytes_per_s=32768, window_s=256.0)
    backoff_s: float = 4.0
    longest_s: float = 60.0
    trying_s: float = 450.0

    def connect_limit_s(self, service: Service, round_number: int) -> float:
        """How long making a connection may take."""
        first_s = self.proxy_connect_s if service.kind == "proxy" else self.connect_s
        return min(first_s * 2.0**round_number, self.longest_s)

    def spacing_s(self, round_number: int) -> float:
        """Time from the start of a round to the start of the next."""
        return min(self.backoff_s * 2.0**round_number, self.longest_s)


DEFAULT_TIMEOUTS = Timeouts()


Send = Callable[[Connection, Mapping[str, str], Limits], BlockResponse]
"""Sends a request with these headers on a connection and waits for the head of the answer."""


class Exchange:
    """An answer that is being received.

    is_reusable: whether the answer's body is received or not worth mentioning, so that the
        connection can be used again; to be set by who receives it
    """

    def __init__(self, response: BlockResponse) -> None:
        self.response = response
        self.is_reusable = False


class Exchanges:
    """Makes requests. Threads: every method from any thread.

    token: gives the API token, each time anew
    """

    def __init__(self, pool: ConnectionPool, token: Callable[[], str], timeouts: Timeouts) -> None:
        self._pool = pool
        self._token = token
        self._timeouts = timeouts

    @contextlib.contextmanager
    def begin(self, service: Service, round_number: int, send: Send) -> Iterator[Exchange]:
        """Send a request; the block receives the rest of the answer. Raises TryFailed."""
        try:
            connection, response = self._ask(service, round_number, send)
        except (OSError, http.client.HTTPException) as error:
            raise transport_failure(error) from error
        exchange = Exchange(response)
        try:
            yield exchange
        finally:
            if exchange.is_reusable:
                self._pool.give_back(connection, response)
            else:
                self._pool.drop(connection)
            response.close()

    def _ask(
        self, service: Service, round_number: int, send: Send
    ) -> tuple[Connection, BlockResponse]:
        """Send the request, if need be twice. Raises OSError or http.client.HTTPException."""
        limits = Limits(
            self._timeouts.connect_limit_s(service, round_number), self._timeouts.slowest.window_s
        )
        connection = self._pool.take(service.url_base, fresh=False)
        try:
            return connection, self._send(connection, limits, send)
        except ConnectionError:
            if not connection.reused:
                raise
        # A kept-alive connection that the server has closed is no failure of the server.
        connection = self._pool.take(service.url_base, fresh=True)
        return connection, self._send(connection, limits, send)

    def _send(self, connection: Connection, limits: Limits, send: Send) -> BlockResponse:
        """Send the request on a connection, which is dropped when that fails."""
        token = self._token()
        if not (token.isascii() and token.isprintable()):
            self._pool.drop(connection)
            # Let the library refuse it and its message, which quotes the token, may get into a log.
            words = "the token has characters that no token has"
            raise TryFailed(Verdict.REFUSED, words, permanent=True)
        headers = {
            "Authorization": f"Bearer {token}",
            "User-Agent": f"arv-mount/{__version__}",
            "X-Request-Id": f"req-{secrets.token_hex(10)}",
        }
        try:
            return send(connection, headers, limits)
        except BaseException:
            self._pool.drop(connection)
            raise
