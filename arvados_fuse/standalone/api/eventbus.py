"""The event bus: websockets on which clients hear of changes.

Who changes something only wakes a task; that task reads the new entries of the log and gives
them to the listeners. So a change costs the same with one listener and with hundreds. (Arvados
documentation, "API Reference", "Websocket event stream".)
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import NamedTuple, TypeVar

from aiohttp import WSCloseCode, WSMsgType, web

from arvados_fuse.standalone import clock
from arvados_fuse.standalone.api import auth
from arvados_fuse.standalone.api.events import (
    Event,
    Subscription,
    events_between,
    is_visible,
    newest_id,
    subscription,
)
from arvados_fuse.standalone.authorization import token_of_header
from arvados_fuse.standalone.core import WEBSOCKET_PATH
from arvados_fuse.standalone.records.database import Database

__all__ = ["EventBus"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_QUEUE_LENGTH = 64
"""Events that may wait for a listener. One that does not keep up is cut off; when it comes back
it says what it has seen last."""
_KEEPALIVE_S = 60.0
_MAX_FRAME_SIZE = 2 << 20
_CATCH_UP_S = 600.0
_BATCH_LENGTH = 100
_CLOSE_TIME_LIMIT_S = 1.0


class _Overflow(Exception):
    """A listener does not keep up."""


class _Listener:
    """One connection."""

    def __init__(self, token: str, request: web.Request) -> None:
        self.token = token
        self.subscriptions: list[Subscription] = []
        self.socket = web.WebSocketResponse(
            timeout=_CLOSE_TIME_LIMIT_S, compress=False, max_msg_size=_MAX_FRAME_SIZE
        )
        self._request = request
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._capacity = _QUEUE_LENGTH
        self._sent_events = 0

    def answer(self, status: int) -> None:
        """Send the answer to a request of the client."""
        self._push(json.dumps({"status": status}))

    def send(self, event: Event) -> None:
        """Send an event. Raises _Overflow."""
        self._sent_events += 1
        self._push(f'{{"msgID":{self._sent_events},{event.rest}')

    def send_missed(self, events: Sequence[Event]) -> None:
        """Send what the client has missed, however much that is."""
        self._capacity = self._queue.qsize() + len(events) + _QUEUE_LENGTH
        for event in events:
            self.send(event)

    def _push(self, text: str) -> None:
        if self._queue.qsize() >= self._capacity:
            raise _Overflow
        self._queue.put_nowait(text)

    async def pump(self) -> None:
        """Bring what is to be sent to the network, until cancelled or cut off."""
        with suppress(ConnectionError):
            while True:
                try:
                    text = await asyncio.wait_for(self._queue.get(), _KEEPALIVE_S)
                except asyncio.TimeoutError:
                    text = "{}"
                await self.socket.send_str(text)
                if self._queue.empty():
                    self._capacity = _QUEUE_LENGTH

    def cut_off(self) -> None:
        """End the connection at once: nothing can be said to a client that does not listen."""
        if self._request.transport is not None:
            self._request.transport.abort()


class _Audience(NamedTuple):
    """What a thread needs to know of a listener."""

    listener: _Listener
    token: str
    subscriptions: tuple[Subscription, ...]


class EventBus:
    """Serves the event stream of the cluster with this database. `threads` read the log."""

    def __init__(self, database: Database, threads: Executor) -> None:
        self._database = database
        self._threads = threads
        self._listeners: set[_Listener] = set()
        self._position = 0
        self._changed = asyncio.Event()
        # Held while listeners get events or join, so that each gets all of them, in their order.
        self._distributing = asyncio.Lock()

    def add_routes(self, app: web.Application) -> None:
        """Let `app` serve the event stream, as long as it runs."""
        app.router.add_get(WEBSOCKET_PATH, self._handle)
        app.cleanup_ctx.append(self._running)
        app.on_shutdown.append(self._close)

    async def _running(self, _app: web.Application) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()

        def wake() -> None:
            if self._listeners:
                loop.call_soon_threadsafe(self._changed.set)

        self._database.call_after_commit(wake)
        distributing = asyncio.create_task(self._distribute())
        yield
        self._database.call_after_commit(None)
        distributing.cancel()

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
        await self._join(listener)
        pumping = asyncio.create_task(listener.pump())
        try:
            async for message in listener.socket:
                if message.type is WSMsgType.TEXT:
                    await self._obey(listener, message.data)
        except _Overflow:
            listener.cut_off()
        finally:
            self._listeners.discard(listener)
            pumping.cancel()
        return listener.socket

    async def _join(self, listener: _Listener) -> None:
        async with self._distributing:
            if not self._listeners:
                # Nobody has listened, so nobody has followed the log.
                self._position = await self._in_thread(self._newest_id)
            self._listeners.add(listener)

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
        async with self._distributing:
            listener.answer(200)
            if last_id > 0:
                missed = await self._in_thread(self._missed, listener.token, wanted, last_id)
                listener.send_missed(missed)
            listener.subscriptions.append(wanted)

    # Distribution

    async def _distribute(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                async with self._distributing:
                    while await self._next_batch():
                        pass
            except Exception:
                logger.exception("cannot read the log; will try again at the next change")

    async def _next_batch(self) -> bool:
        """Give the next events to their listeners; return whether there can be more."""
        audience = [
            _Audience(listener, listener.token, tuple(listener.subscriptions))
            for listener in self._listeners
        ]
        deliveries, position = await self._in_thread(self._deliveries, audience)
        is_more = position > self._position
        self._position = position
        for event, listeners in deliveries:
            for listener in listeners & self._listeners:
                try:
                    listener.send(event)
                except _Overflow:
                    self._listeners.discard(listener)
                    listener.cut_off()
        return is_more

    async def _in_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)

    # What runs in threads

    def _newest_id(self) -> int:
        with self._database.read() as db:
            return newest_id(db)

    def _missed(self, token: str, wanted: Subscription, last_id: int) -> list[Event]:
        now = clock.now()
        with self._database.read() as db:
            caller = auth.identify(db, token, now)
            since = clock.plus(now, -_CATCH_UP_S)
            events = events_between(db, last_id, self._position, -1, since)
            return [
                event
                for event in events
                if caller and wanted.wants(event) and is_visible(db, caller, event, now)
            ]

    def _deliveries(
        self, audience: Sequence[_Audience]
    ) -> tuple[list[tuple[Event, set[_Listener]]], int]:
        """Return the next events and who is to get each, and the id of the last of them."""
        now = clock.now()
        with self._database.read() as db:
            events = events_between(db, self._position, newest_id(db), _BATCH_LENGTH)
            callers = {token: auth.identify(db, token, now) for _, token, _ in audience}
            deliveries = []
            for event in events:
                wanting = [a for a in audience if any(s.wants(event) for s in a.subscriptions)]
                may_see = {
                    token
                    for token in {a.token for a in wanting}
                    if (caller := callers[token]) and is_visible(db, caller, event, now)
                }
                deliveries.append((event, {a.listener for a in wanting if a.token in may_see}))
        return deliveries, events[-1].id if events else self._position
