"""The event bus: websockets on which clients hear of changes.

Who changes something only wakes a task; that task reads the new entries of the log and gives them
to the listeners that are up to date. A listener whose network is full, or that has just said what
it has seen last, reads the log for itself, at its own pace, until it is up to date. So there are no
queues: what waits for a listener is in the database. (Arvados documentation, "API Reference",
"Websocket event stream".)
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import NamedTuple, TypeVar

from aiohttp import WSCloseCode, WSMsgType, web

from arvados_fuse.standalone import clock
from arvados_fuse.standalone.api.events import (
    Event,
    Sight,
    Subscription,
    events_between,
    newest_id,
    subscription,
)
from arvados_fuse.standalone.api.frames import text_frame
from arvados_fuse.standalone.authorization import token_of_header
from arvados_fuse.standalone.core import WEBSOCKET_PATH
from arvados_fuse.standalone.records.database import Database

__all__ = ["EventBus"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_MAX_LAG = 64
"""Entries of the log that may wait for a listener that takes nothing. One that does not keep up is
cut off; when it comes back it says what it has seen last."""
_PATIENCE_S = 5.0
"""How long a listener may take nothing at all while more than that waits for it."""
_KEEPALIVE_S = 60.0
_LOG_CHECK_S = 1.0
"""How often the log is looked at without being woken: other processes write to it too."""
_SHORTEST_REST_S = 0.005
_MAX_FRAME_SIZE = 2 << 20
_CATCH_UP_S = 600.0
_DRAIN_POLL_S = 0.02
_CLOSE_TIME_LIMIT_S = 1.0
_FULL_SIZE = 1 << 16
"""Bytes that wait in this process for the network, from which on it counts as full."""


class _Listener:
    """One connection.

    position: the id of the last entry of the log that it was given, or did not want
    is_behind: it is not up to date, and reads the log for itself
    """

    def __init__(self, token: str, request: web.Request) -> None:
        self.token = token
        self.subscriptions: list[Subscription] = []
        self.position = 0
        self.is_behind = False
        self.last_sent_s = asyncio.get_running_loop().time()
        self.sent_count = 0
        self.socket = web.WebSocketResponse(
            timeout=_CLOSE_TIME_LIMIT_S, compress=False, max_msg_size=_MAX_FRAME_SIZE
        )
        self._request = request

    @property
    def is_gone(self) -> bool:
        """Whether the connection has ended."""
        transport = self._request.transport
        return transport is None or transport.is_closing() or self.socket.closed

    @property
    def is_full(self) -> bool:
        """Whether the network takes no more at the moment."""
        transport = self._request.transport
        return transport is not None and transport.get_write_buffer_size() >= _FULL_SIZE

    def answer(self, status: int) -> None:
        """Send the answer to a request of the client."""
        self.write(text_frame(json.dumps({"status": status}).encode()))

    def write(self, frames: bytes) -> None:
        """Send whole frames. They need no memory here that the network does not need anyway."""
        # Past aiohttp, which would make each frame anew for each listener.
        if self._request.transport is not None and not self.is_gone:
            self._request.transport.write(frames)
            self.last_sent_s = asyncio.get_running_loop().time()

    def send(self, frames: bytes, count: int) -> None:
        """Send the frames of so many events."""
        if count:
            self.write(frames)
            self.sent_count += count

    def cut_off(self) -> None:
        """End the connection at once: nothing can be said to a client that does not listen."""
        if self._request.transport is not None:
            self._request.transport.abort()


class _Piece(NamedTuple):
    """A piece of the log, and what listeners need to know of it.

    after, upto: it has the events with after < id <= upto
    seen: for each token that was asked about, the events that may be seen with it, in their order
    """

    after: int
    upto: int
    seen: dict[str, list[Event]]

    def wanted(self, token: str, subscriptions: Iterable[Subscription]) -> list[Event]:
        """Return the events for a listener with this token and these subscriptions."""
        wishes = tuple(subscriptions)
        return [event for event in self.seen[token] if any(one.wants(event) for one in wishes)]


def _frames(sent_count: int, events: Sequence[Event]) -> bytes:
    """Return the frames of `events` for a listener that has got so many before."""
    numbered = enumerate(events, sent_count + 1)
    return b"".join(text_frame(b'{"msgID":%d,%b' % (n, event.rest)) for n, event in numbered)


def _send(listener: _Listener, events: Sequence[Event]) -> None:
    listener.send(_frames(listener.sent_count, events), len(events))


class EventBus:
    """Serves the event stream of the cluster with this database. `threads` read the log.

    keepalive_s: how long nothing may be sent to a listener before it gets an empty message
    patience_s: how long a listener may take nothing while much waits for it
    """

    def __init__(
        self,
        database: Database,
        threads: Executor,
        *,
        keepalive_s: float = _KEEPALIVE_S,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._database = database
        self._threads = threads
        self._keepalive_s = keepalive_s
        self._patience_s = patience_s
        self._sight = Sight()
        self._listeners: set[_Listener] = set()
        # Of the listeners that are up to date.
        self._position = 0
        self._changed = asyncio.Event()
        self._catching_up: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """The log may have new entries. To be called in the thread of the event loop."""
        self._changed.set()

    def add_routes(self, app: web.Application) -> None:
        """Let `app` serve the event stream, as long as it runs."""
        app.router.add_get(WEBSOCKET_PATH, self._handle)
        app.cleanup_ctx.append(self._running)
        app.on_shutdown.append(self._close)

    async def _running(self, _app: web.Application) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work()) for work in (self._distribute, self._keep_alive)]
        yield
        for task in tasks:
            task.cancel()

    async def _close(self, _app: web.Application) -> None:
        closing = [one.socket.close(code=WSCloseCode.GOING_AWAY) for one in self._listeners]
        await asyncio.gather(*closing, return_exceptions=True)

    # Connections

    async def _handle(self, request: web.Request) -> web.WebSocketResponse:
        # As on a real cluster, a token that is not valid gets a connection on which nothing comes.
        header = request.headers.get("Authorization", "")
        token = request.query.get("api_token") or token_of_header(header)
        listener = _Listener(token, request)
        await listener.socket.prepare(request)
        newest = await self._in_thread(self._newest_id)
        if not self._listeners:
            # Nobody has listened, so nobody has followed the log.
            self._position = max(self._position, newest)
        listener.position = self._position
        self._listeners.add(listener)
        try:
            async for message in listener.socket:
                if message.type is WSMsgType.TEXT:
                    await self._obey(listener, message.data)
        finally:
            self._listeners.discard(listener)
        return listener.socket

    async def _obey(self, listener: _Listener, text: str) -> None:
        """Do what a client asks for."""
        try:
            request = json.loads(text)
            method = request["method"]
            wanted = subscription(request.get("filters") or [])
            last_id = int(request.get("last_log_id") or 0)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            listener.answer(400)
            return
        if method == "subscribe":
            await self._subscribe(listener, wanted, last_id)
        elif method == "unsubscribe" and wanted in listener.subscriptions:
            listener.subscriptions.remove(wanted)
            listener.answer(200)
        else:
            listener.answer(400)

    async def _subscribe(self, listener: _Listener, wanted: Subscription, last_id: int) -> None:
        listener.answer(200)
        if last_id <= 0:
            listener.subscriptions.append(wanted)
            return
        while listener.is_behind and not listener.is_gone:
            await asyncio.sleep(_DRAIN_POLL_S)
        listener.is_behind = True
        await self._replay(listener, wanted, last_id)
        listener.subscriptions.append(wanted)
        await self._catch_up(listener)

    # Listeners that are not up to date

    async def _replay(self, listener: _Listener, wanted: Subscription, last_id: int) -> None:
        """Send what a new subscription has missed, as far as the listener is with the others."""
        since = clock.plus(clock.now(), -_CATCH_UP_S)
        upto = listener.position
        while last_id < upto and await self._has_drained(listener, upto - last_id):
            piece = await self._in_thread(self._read, {listener.token}, last_id, upto, since)
            _send(listener, piece.wanted(listener.token, [wanted]))
            last_id = piece.upto

    async def _catch_up(self, listener: _Listener) -> None:
        """Let a listener read the log for itself until it is up to date, or gone."""
        while listener.position < self._position and await self._has_drained(listener):
            piece = await self._in_thread(
                self._read, {listener.token}, listener.position, self._position
            )
            _send(listener, piece.wanted(listener.token, listener.subscriptions))
            listener.position = piece.upto
        listener.is_behind = False

    async def _has_drained(self, listener: _Listener, more: int = 0) -> bool:
        """Wait until the network takes more for a listener; return whether it is still there.

        more: entries of the log that wait for it besides those after its position
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        while listener.is_full and not listener.is_gone:
            lag = self._position - listener.position + more
            if lag > _MAX_LAG and loop.time() > deadline:
                listener.cut_off()
            await asyncio.sleep(_DRAIN_POLL_S)
        return not listener.is_gone

    def _let_catch_up(self, listener: _Listener) -> None:
        async def catch_up() -> None:
            try:
                await self._catch_up(listener)
            except Exception:
                logger.exception("cannot read the log for a listener; it is cut off")
                listener.cut_off()

        listener.is_behind = True
        task = asyncio.create_task(catch_up())
        self._catching_up.add(task)
        task.add_done_callback(self._catching_up.discard)

    # Listeners that are up to date

    async def _distribute(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _LOG_CHECK_S)
            self._changed.clear()
            start = loop.time()
            try:
                if self._listeners and await self._next_piece():
                    self._changed.set()
            except Exception:
                logger.exception("cannot read the log; will try again")
            # At most half of the time: with many listeners, others get the processor, and several
            # changes share a message to the network.
            await asyncio.sleep(max(_SHORTEST_REST_S, loop.time() - start))

    async def _next_piece(self) -> bool:
        """Give the next piece of the log to the listeners; return whether there can be more."""
        tokens = {one.token for one in self._listeners if not one.is_behind}
        piece = await self._in_thread(self._read, tokens, self._position, sys.maxsize)
        self._position = max(self._position, piece.upto)
        events: dict[object, list[Event]] = {}
        frames: dict[object, bytes] = {}
        for listener in self._listeners:
            if listener.is_behind or listener.position != piece.after:
                continue
            if listener.is_full or listener.token not in piece.seen:
                self._let_catch_up(listener)
                continue
            listener.position = piece.upto
            # Many have the same token and want the same; many have got as many messages.
            wish = (listener.token, *(one.key for one in listener.subscriptions))
            if wish not in events:
                events[wish] = piece.wanted(listener.token, listener.subscriptions)
            same = (wish, listener.sent_count)
            if same not in frames:
                frames[same] = _frames(listener.sent_count, events[wish])
            listener.send(frames[same], len(events[wish]))
        return piece.upto > piece.after

    def _read(self, tokens: Iterable[str], after: int, upto: int, since: str = "") -> _Piece:
        """Return the next piece of the log. Runs in a thread."""
        now = clock.now()
        with self._database.read() as db:
            upto = min(upto, newest_id(db))
            events, reached = events_between(db, after, upto, since)
            return _Piece(after, reached, self._sight.seen_by(db, tokens, events, now))

    def _newest_id(self) -> int:
        with self._database.read() as db:
            return newest_id(db)

    async def _keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        nothing = text_frame(b"{}")
        while True:
            await asyncio.sleep(self._keepalive_s / 10)
            due = loop.time() - self._keepalive_s
            for listener in self._listeners:
                if listener.last_sent_s <= due and not listener.is_full:
                    listener.write(nothing)

    async def _in_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)
