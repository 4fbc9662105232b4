"""Kept-alive HTTP connections to Keep services.

The standard library's client does the protocol. What is added: bytes of a body go from the socket
to their place with one copy and are handed on as they come; connections are reused, and one that
the server closed in the meantime is replaced without a fuss; all can be broken off at once.
"""

import contextlib
import http.client
import select
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from arvados_fuse.clock import lasting_clock

__all__ = ["BlockResponse", "Connection", "ConnectionPool", "Limits"]

_IDLE_LIMIT_S = 55.0
"""Unused connections are closed after this: just before the minute of common proxies and NATs."""

_IDLE_PER_SERVICE = 8
"""Unused connections kept for each service: a little more than there are fill threads."""

_SLICE = 1 << 20
"""Bytes of a body that are sent at once: a time limit is that of one slice."""

_DRAIN_LIMIT = 4096
"""Bytes of an unwanted body that are read to save a connection; beyond, a new one is cheaper."""


class Limits(NamedTuple):
    """Time limits of one request.

    connect_s: for making the connection, TLS included, where there is none yet
    silence_s: for each later wait for the server, also while a body goes over
    """

    connect_s: float
    silence_s: float


class BlockResponse(http.client.HTTPResponse):
    """An HTTP answer whose body can be received piecemeal into memory of the caller.

    is_early: whether it came before the whole request was sent, so that the connection is useless
    """

    is_early = False

    def receive_into(self, buffer: memoryview) -> int:
        """Put into `buffer` what has arrived of the body, waiting only when that is nothing.

        For bodies with a Content-Length. Returns the number of bytes, 0 at the body's end. Raises
        OSError (TimeoutError among them) as the socket does.
        """
        if not self.length:
            return 0
        received = self.fp.readinto1(buffer[: self.length])
        self.length -= received
        return received


class Connection:
    """One HTTP connection, used by one thread at a time.

    reused: whether it has answered before, so that the server may have closed it meanwhile
    """

    def __init__(self, url_base: str, context: ssl.SSLContext | None) -> None:
        parts = urlsplit(url_base)
        self.url_base = url_base
        self.reused = False
        self.idle_since = 0.0
        self._path = parts.path
        self._http: http.client.HTTPConnection
        if context is not None:
            self._http = http.client.HTTPSConnection(parts.netloc, context=context)
        else:
            self._http = http.client.HTTPConnection(parts.netloc)
        self._http.response_class = BlockResponse
        self._socket: socket.socket | None = None

    def ask(self, locator: str, headers: Mapping[str, str], limits: Limits) -> BlockResponse:
        """Send a GET and wait for the head of the answer.

        Raises OSError or http.client.HTTPException.
        """
        self._connect(limits)
        self._http.request("GET", self._path + locator, headers=dict(headers))
        return cast(BlockResponse, self._http.getresponse())

    def send_block(
        self,
        path: str,
        headers: Mapping[str, str],
        body: memoryview,
        sent: Callable[[int], None],
        limits: Limits,
    ) -> BlockResponse:
        """Send a PUT and wait for the head of the answer.

        sent: told the number of bytes of each slice that was sent; what it raises comes out
        limits: sending a slice is a wait, too

        A service that answers before it has the whole body (it may be full, or not like the token)
        does not get the rest of it. Raises OSError or http.client.HTTPException.
        """
        sock = self._connect(limits)
        self._http.putrequest("PUT", self._path + path, skip_accept_encoding=True)
        for name, value in headers.items():
            self._http.putheader(name, value)
        self._http.putheader("Content-Length", str(len(body)))
        self._http.endheaders()
        position = 0
        is_early = False
        try:
            while position < len(body) and not is_early:
                piece = body[position : position + _SLICE]
                self._http.send(piece)
                position += len(piece)
                sent(len(piece))
                is_early = position < len(body) and _has_input(sock)
        except ConnectionError:
            if self.reused:
                raise  # the server has closed it long ago
            is_early = True  # its last words may still be there to be read
        response = cast(BlockResponse, self._http.getresponse())
        response.is_early = is_early
        return response

    def finish(self, response: BlockResponse) -> bool:
        """Get ready for the next request. False when that is not possible: close it then."""
        if response.will_close or response.length is None or response.length > _DRAIN_LIMIT:
            return False
        try:
            response.read(response.length)
        except (OSError, http.client.HTTPException):
            return False
        response.close()  # the connection stays; the library wants to know that the body is done
        self.reused = True
        self.idle_since = lasting_clock()
        return True

    def _connect(self, limits: Limits) -> socket.socket:
        """The socket, connected."""
        if self._http.sock is None:
            self._http.timeout = limits.connect_s
            self._http.connect()
        self._socket = sock = cast(socket.socket, self._http.sock)
        sock.settimeout(limits.silence_s)
        return sock

    def break_off(self) -> None:
        """End the wait that another thread is in on this connection with an OSError there."""
        sock = self._socket
        if sock is not None:
            with contextlib.suppress(OSError):  # it may just have been closed
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def _has_input(sock: socket.socket) -> bool:
    """Whether there is something to read. Never so with TLS, where that need not be an answer."""
    if isinstance(sock, ssl.SSLSocket):
        return False
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class ConnectionPool:
    """The connections to all Keep services. Threads: every method from any thread.

    insecure: accept any TLS certificate (ARVADOS_API_HOST_INSECURE)
    ca_file: file of the certificate authorities to trust; None means the system's
    """

    def __init__(self, *, insecure: bool, ca_file: str | None) -> None:
        self._insecure = insecure
        self._ca_file = ca_file
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._idle: dict[str, list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._closed = False

    def take(self, url_base: str, *, fresh: bool) -> Connection:
        """A connection to a service: an unused one, or, always if `fresh`, one yet to be made.

        It is the caller's until given to :meth:`give_back` or :meth:`drop`. Raises ConnectionError
        when the pool is closed and OSError when the file of authorities cannot be read.
        """
        context = self._tls() if url_base.startswith("https:") else None
        with self._lock:
            if self._closed:
                raise ConnectionError("the mount is ending")
            connection = None if fresh else self._pop_idle(url_base)
            if connection is None:
                connection = Connection(url_base, context)
            self._busy.add(connection)
            return connection

    def give_back(self, connection: Connection, response: BlockResponse) -> None:
        """Keep a connection whose answer is no longer wanted, if it can be used again."""
        if not connection.finish(response):
            self.drop(connection)
            return
        with self._lock:
            self._busy.discard(connection)
            unused = self._idle.setdefault(connection.url_base, [])
            keep = len(unused) < _IDLE_PER_SERVICE and not self._closed
            if keep:
                unused.append(connection)
        if not keep:
            connection.close()

    def drop(self, connection: Connection) -> None:
        """Close a connection that cannot be used again."""
        connection.close()
        with self._lock:
            self._busy.discard(connection)

    def close(self) -> None:
        """Close unused connections, break off those in use, make no more."""
        with self._lock:
            self._closed = True
            unused = [each for connections in self._idle.values() for each in connections]
            self._idle.clear()
            busy = list(self._busy)
        for connection in unused:
            connection.close()
        for connection in busy:
            connection.break_off()

    def _pop_idle(self, url_base: str) -> Connection | None:
        """The most recently used connection that is not too old. The lock is held."""
        unused = self._idle.get(url_base, [])
        oldest = lasting_clock() - _IDLE_LIMIT_S
        while unused:
            connection = unused.pop()
            if connection.idle_since >= oldest:
                return connection
            connection.close()
        return None

    def _tls(self) -> ssl.SSLContext:
        """Whom to trust. Made when first needed, without the lock: a second one does no harm."""
        if self._context is None:
            context = ssl.create_default_context(cafile=self._ca_file)
            if self._insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._context = context
        return self._context
