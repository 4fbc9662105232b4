"""A Keep service that misbehaves on request.

It speaks just enough of the Keep protocol over real sockets, and each answer can be bent: another
status, other bytes, another length, a pause in the middle until the test says go, a cut, a trickle,
a connection that is closed although it was to be kept. Every request is noted.

Besides, what a test of the block cache needs around it: a source that follows a script, and a
witness that remembers.
"""

import hashlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from arvados_fuse.errors import FileSystemError
from arvados_fuse.keep.client import KeepClient, Timeouts
from arvados_fuse.keep.services import ServiceList
from arvados_fuse.keep.transfer import SpeedLimit
from arvados_fuse.metrics import Metrics

SIGNATURE = "A" + "0123456789" * 4 + "@70000000"


def locator_of(content: bytes) -> str:
    """The signed locator of a block."""
    return f"{hashlib.md5(content).hexdigest()}+{len(content)}+{SIGNATURE}"


@dataclass
class Bend:
    """How one answer differs from a good one.

    status: instead of 200, with a short text as body
    body: sent instead of the block
    announce: the Content-Length, instead of the body's; -1 leaves the header out
    pause_after: so many bytes are sent, then `go` is awaited
    cut_after: so many bytes are sent, then the connection is closed
    trickle: bytes are sent one by one, one in so many seconds, until the client hangs up
    hang_up: the connection is closed after the answer, without a word about it in the head
    silent: no answer at all until the client hangs up or `go` is set
    headers: more headers, or others; None leaves one out
    early: the answer is sent before the body of the request is read
    """

    status: int = 200
    body: bytes | None = None
    announce: int | None = None
    pause_after: int | None = None
    cut_after: int | None = None
    trickle: float | None = None
    hang_up: bool = False
    silent: bool = False
    headers: dict[str, str | None] = field(default_factory=dict)
    early: bool = False
    go: threading.Event = field(default_factory=threading.Event)
    paused: threading.Event = field(default_factory=threading.Event)


class FakeKeep:
    """One service on a port of its own. Use it as a context manager.

    requests: the paths of all requests, in order
    headers: the headers of each
    connections: how many were accepted
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self._blocks: dict[str, bytes] = {}
        self._bends: list[Bend] = []
        self._always: Bend | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def __enter__(self) -> "FakeKeep":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for bend in [*self._bends, *([self._always] if self._always else [])]:
            bend.go.set()
        self._server.shutdown()
        self._server.server_close()
        self.hang_up()
        self._thread.join()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/"

    def record(self, number: int, kind: str = "disk") -> dict[str, object]:
        """What the API server would say about this service."""
        return {
            "uuid": f"zzzzz-bi6l4-{number:015d}",
            "service_host": "127.0.0.1",
            "service_port": self.port,
            "service_ssl_flag": self._scheme == "https",
            "service_type": kind,
            "read_only": False,
        }

    def store(self, content: bytes) -> str:
        """Have a block, and return its locator."""
        locator = locator_of(content)
        self._blocks[locator[:32]] = content
        return locator

    def stored(self, block_hash: str) -> bytes | None:
        """The block that was stored here."""
        return self._blocks.get(block_hash)

    def bend(self, *bends: Bend) -> None:
        """Bend the next answers, one each."""
        self._bends += bends

    def bend_all(self, bend: Bend | None) -> None:
        """Bend every answer that has no bend of its own."""
        self._always = bend

    def hang_up(self) -> None:
        """Close every connection."""
        with self._lock:
            sockets = list(self._open)
        for each in sockets:
            with _ignoring_closed():
                each.shutdown(socket.SHUT_RDWR)

    # -- for the handler

    def next_bend(self, path: str, headers: dict[str, str]) -> Bend:
        with self._lock:
            self.requests.append(path)
            self.headers.append(headers)
            if self._bends:
                return self._bends.pop(0)
            return self._always or Bend()

    def take(self, path: str, content: bytes) -> str | None:
        """Store what a PUT brought. Returns its locator, or None when it is not what it says."""
        if hashlib.md5(content).hexdigest() != path.lstrip("/"):
            return None
        return self.store(content)

    def content(self, path: str) -> bytes | None:
        return self._blocks.get(path.lstrip("/")[:32])

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)


@contextmanager
def _ignoring_closed() -> Iterator[None]:
    try:
        yield
    except OSError:
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, keep: FakeKeep) -> None:
        self.keep = keep
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up here all the time."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.keep.opened(self.connection)

    def finish(self) -> None:
        self.server.keep.closed(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """The test looks at `requests`."""

    def do_GET(self) -> None:
        bend = self.server.keep.next_bend(self.path, dict(self.headers))
        if bend.silent:
            bend.paused.set()
            bend.go.wait(60)
            self.close_connection = True
            return
        content = self.server.keep.content(self.path)
        if bend.status == 200 and content is None and bend.body is None:
            bend = Bend(status=404)
        if bend.status != 200:
            self._send(bend, b"this is the body of an error\n")
        else:
            self._send(bend, bend.body if bend.body is not None else content or b"")
        if bend.hang_up:
            self.close_connection = True

    def do_PUT(self) -> None:
        bend = self.server.keep.next_bend(self.path, dict(self.headers))
        if bend.silent:
            bend.paused.set()
            bend.go.wait(60)
            self.close_connection = True
            return
        if bend.cut_after is not None:
            self.rfile.read(bend.cut_after)
            self.close_connection = True
            return
        if bend.early:
            self._send(bend, b"this is the body of an error\n")
            bend.go.wait(60)  # closing now could overtake the answer
            self.close_connection = True
            return
        content = self._receive(bend)
        if bend.status != 200:
            self._send(bend, b"this is the body of an error\n")
            return
        locator = self.server.keep.take(self.path, content)
        assert locator is not None, "the path of a PUT is the md5 of its body"
        classes = self.headers.get("X-Keep-Storage-Classes", "")
        confirmed = ", ".join(f"{name.strip()}=1" for name in classes.split(",") if name)
        bend.headers = {
            "X-Keep-Replicas-Stored": "1",
            "X-Keep-Storage-Classes-Confirmed": confirmed,
            **bend.headers,
        }
        self._send(bend, bend.body if bend.body is not None else f"{locator}\n".encode())
        if bend.hang_up:
            self.close_connection = True

    def _receive(self, bend: Bend) -> bytes:
        """The body of a request; where the bend pauses, `go` is awaited after the first bytes."""
        size = int(self.headers["Content-Length"])
        if bend.pause_after is None:
            return self.rfile.read(size)
        first = self.rfile.read(bend.pause_after)
        bend.paused.set()
        bend.go.wait(60)
        bend.pause_after = None
        return first + self.rfile.read(size - len(first))

    def _send(self, bend: Bend, body: bytes) -> None:
        self.send_response(bend.status)
        for name, value in bend.headers.items():
            if value is not None:
                self.send_header(name, value)
        if bend.announce != -1:
            announced = len(body) if bend.announce is None else bend.announce
            self.send_header("Content-Length", str(announced))
        self.end_headers()
        position = 0
        if bend.pause_after is not None:
            position = bend.pause_after
            self.wfile.write(body[:position])
            bend.paused.set()
            bend.go.wait(60)
        if bend.trickle is not None:
            for position in range(len(body)):
                self.wfile.write(body[position : position + 1])
                if bend.go.wait(bend.trickle):
                    break
            self.close_connection = True
        elif bend.cut_after is not None:
            self.wfile.write(body[position : bend.cut_after])
            self.close_connection = True
        else:
            self.wfile.write(body[position:])
            if bend.announce is not None:
                self.close_connection = True


def is_waiting(call: "Future[Any]") -> bool:
    """Whether a call in another thread has not returned, although it was given some time."""
    return not wait([call], timeout=0.05).done


class RecordingWitness:
    """A reader of blocks that remembers whether it was told of wrong bytes."""

    def __init__(self) -> None:
        self.poisons: list[FileSystemError] = []

    def poison(self, error: FileSystemError) -> None:
        self.poisons.append(error)


class ScriptedSource:
    """A source of blocks in memory: gives what it has, or does what the test's script says."""

    def __init__(self) -> None:
        self.gets: list[str] = []
        self._blocks: dict[str, bytes] = {}
        self._scripts: dict[str, Script] = {}

    def store(self, content: bytes, script: "Script | None" = None) -> str:
        """Have a block, or run `script` whenever it is asked for. Returns its locator."""
        locator = locator_of(content)
        self._blocks[locator] = content
        self._scripts.pop(locator, None)
        if script:
            self._scripts[locator] = script
        return locator

    def get(
        self,
        locator: str,
        sink: memoryview,
        progress: Callable[[int], None],
        restarted: Callable[[], None],
    ) -> None:
        self.gets.append(locator)
        if script := self._scripts.get(locator):
            script(sink, progress, restarted)
            return
        sink[:] = self._blocks[locator]
        progress(len(sink))


Script = Callable[[memoryview, Callable[[int], None], Callable[[], None]], None]


def impatient_client(
    *keeps: FakeKeep,
    services: ServiceList | None = None,
    retries: int = 0,
    metrics: Metrics | None = None,
    low_speed_s: float = 30.0,
    backoff_s: float = 0.001,
    trying_s: float = 450.0,
) -> KeepClient:
    """A client of some services, with next to no time between rounds."""
    records = [keep.record(number) for number, keep in enumerate(keeps)]
    return KeepClient(
        services or ServiceList(lambda: records),
        lambda: "v2/zzzzz-gj3su-000000000000000/secret",
        insecure=False,
        retries=retries,
        metrics=metrics or Metrics(),
        timeouts=Timeouts(
            backoff_s=backoff_s,
            longest_s=max(backoff_s, 2.0),
            trying_s=trying_s,
            slowest=SpeedLimit(bytes_per_s=32768, window_s=low_speed_s),
        ),
    )
