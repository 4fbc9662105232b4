"""The event bus: hears of every change on the cluster while it happens.

Owns the connection to the cluster's websocket: connecting, subscribing, coming back after a loss,
and reading events into small typed values. What the events mean for the file system is none of its
business; it tells a `Listener`. Events come from the net and are checked here: a bad one is logged
once and ignored.

The connection lives in one thread with an event loop of its own. (The library's client for threads
reads and writes one TLS connection from two threads, which TLS does not bear: of some hundred
connections, one never got its answer.)

Source of the messages: Arvados documentation, "API Reference", "Websocket event stream".
"""

from __future__ import annotations

import datetime
import json
import logging
import random
import threading
import time
import urllib.parse
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import ciso8601

from arvados_fuse.clock import asleep_s, lasting_clock

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable, Sequence

    from websockets.asyncio.client import ClientConnection

    from arvados_fuse.metrics import Metrics

__all__ = ["Event", "EventError", "Listener", "State", "Subscriber", "parse_event"]

log = logging.getLogger(__name__)

EVENT_TYPES = ["create", "update", "delete"]
"""What we want to hear of. Trashing and its opposite are updates."""

OPEN_TIME_LIMIT_S = 20.0
"""How long connecting may take, TLS and the upgrade to a websocket included."""

PING_INTERVAL_S = 10.0
PING_TIME_LIMIT_S = 10.0
"""A network that has gone silent is noticed after both together."""

LONGEST_NAP_S = 5.0
"""A connection from before the machine slept for longer is given up. It may be dead, which would be
noticed late: while the machine sleeps, the time for pings stands still."""

CLOSE_TIME_LIMIT_S = 1.0
"""How long the bus may take to say goodbye."""

LOOK_UP_INTERVAL_S = 1.0
"""How often to look whether the token was changed, while nothing comes."""

MESSAGE_SIZE_LIMIT = 16 << 20
"""Bytes of the largest message. Events have less than 2 kB, unless somebody logs long texts."""

SHORTEST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
"""Between attempts to connect; twice as long after each that fails."""

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class EventError(ValueError):
    """A message that is no event."""


class State(NamedTuple):
    """What an event tells of an object, before or after the change; "" where it tells nothing."""

    name: str
    owner_uuid: str
    portable_data_hash: str
    is_trashed: bool


class Event(NamedTuple):
    """A change of one object.

    log_id: number of the entry in the cluster's log, growing
    object_uuid: of the object that changed
    owner_uuid: its owner after the change; "" if the event does not say
    at_ns: time of the change, nanoseconds since 1970: that of the record's last change
    before, after: the object's state; None if it did not exist then, or nothing is told of it
    """

    log_id: int
    object_uuid: str
    owner_uuid: str
    at_ns: int
    before: State | None
    after: State | None

    @property
    def object_type(self) -> str:
        """The part of the uuid that tells the type: "4zz18" for a collection."""
        return self.object_uuid[6:11]

    @property
    def keys(self) -> set[str]:
        """Who is concerned: the uuids of the object and its owners, and the object's type."""
        keys = {self.object_uuid, self.object_type, self.owner_uuid}
        if self.before is not None:
            keys.add(self.before.owner_uuid)
        if self.after is not None:
            keys.add(self.after.owner_uuid)
        keys.discard("")
        return keys

    @property
    def is_gone(self) -> bool:
        """Whether the object is in the trash now, or does not exist any more."""
        return self.after is None or self.after.is_trashed


def parse_event(message: dict[str, Any]) -> Event:
    """Return the event that a message of the bus describes. Raises EventError."""
    properties = message.get("properties")
    if not isinstance(properties, dict):
        properties = {}
    log_id, uuid = message.get("id"), message.get("object_uuid")
    if not isinstance(log_id, int) or not isinstance(uuid, str):
        raise EventError("an event without number or object")
    return Event(
        log_id=log_id,
        object_uuid=uuid,
        owner_uuid=_text(message, "object_owner_uuid"),
        at_ns=_time_ns(message.get("event_at")),
        before=_state(properties.get("old_attributes")),
        after=_state(properties.get("new_attributes")),
    )


def _state(attributes: Any) -> State | None:
    if not attributes:
        return None
    if not isinstance(attributes, dict):
        raise EventError("attributes that are no object")
    return State(
        name=_text(attributes, "name"),
        owner_uuid=_text(attributes, "owner_uuid"),
        portable_data_hash=_text(attributes, "portable_data_hash"),
        is_trashed=bool(attributes.get("is_trashed")),
    )


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise EventError(f"{name} that is no text")
    return value


def _time_ns(value: Any) -> int:
    try:
        moment = ciso8601.parse_datetime(value)
    except (TypeError, ValueError):
        raise EventError("an event without time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1) * 1000


class Listener(Protocol):
    """Who is told. Called from the subscriber's thread, one call at a time, in order."""

    def connected(self) -> None:
        """From now on every change is told. What happened before may have been missed."""

    def lost(self, heard_at: float) -> None:
        """No change is told any more. The last sign of life came at `heard_at` (lasting_clock)."""

    def changed(self, events: Sequence[Event]) -> None:
        """These changes happened."""


class _Ended(Exception):
    """The connection has to end; the message says why."""


class Subscriber:
    """Keeps one subscription to the cluster's events alive.

    One line is logged when the bus is lost and one when it is back, none for the attempts between.
    After a loss it says which event it has seen last, and the bus tells what was missed, as far as
    it knows (ten minutes); the listener has to check everything all the same.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        tls: ssl.SSLContext,
        listener: Listener,
        metrics: Metrics,
        *,
        shortest_pause_s: float = SHORTEST_PAUSE_S,
    ) -> None:
        """Make one for the bus at `url`. The thread is not started.

        token: returns the token to use now; when it returns another, the connection is made anew
        tls: used if `url` is a wss URL
        shortest_pause_s: between losing the bus and the first attempt to get it back
        """
        self._url = url
        self._token = token
        self._tls = tls if urllib.parse.urlsplit(url).scheme == "wss" else None
        self._listener = listener
        self._metrics = metrics
        self._shortest_pause_s = shortest_pause_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event bus", daemon=True)
        self._last_log_id = 0
        self._heard_at = 0.0
        self._subscribed = False
        self._loss_told = False
        self._bad_event_told = False

    def start(self) -> None:
        """Start to connect. Call after the process has gone into the background."""
        self._thread.start()

    def stop(self) -> None:
        """End the subscription. The thread ends by itself a moment later; nobody has to wait."""
        self._stopping.set()

    def _run(self) -> None:
        pause_s = self._shortest_pause_s
        while not self._stopping.is_set():
            started_at = time.monotonic()
            self._lost(self._attempt())
            if time.monotonic() - started_at > LONGEST_PAUSE_S:
                pause_s = self._shortest_pause_s
            # Not all clients of a cluster that was restarted should come back at one instant.
            self._stopping.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _attempt(self) -> str:
        """Connect, and stay connected for as long as that can be; return why it ended."""
        # Imported in this thread: the first listing of a mount need not wait for them.
        import asyncio  # noqa: PLC0415

        from websockets.exceptions import InvalidStatus, WebSocketException  # noqa: PLC0415

        try:
            asyncio.run(self._listen(self._token()))
        except _Ended as end:
            return str(end)
        except InvalidStatus as error:
            return f"it answered {error.response.status_code}"
        except (OSError, asyncio.TimeoutError) as error:
            return getattr(error, "strerror", None) or type(error).__name__
        except WebSocketException as error:
            # Only the kind of error: some messages contain the URL, and so the token.
            return type(error).__name__
        except Exception:
            self._metrics.unhandled_errors += 1
            log.exception("Unhandled exception in the event bus subscriber")
            return "an internal error"
        return "the mount is ending"

    def _lost(self, reason: str) -> None:
        if self._stopping.is_set():
            return
        if self._subscribed:
            self._subscribed = False
            self._listener.lost(self._heard_at)
        elif self._loss_told:
            return
        self._loss_told = True
        log.info(
            "There is no event bus (%s). Until it is back, changes by others are seen when"
            " --refresh-time is over.",
            reason,
        )

    # -- one connection ---------------------------------------------------------------------

    async def _listen(self, token: str) -> None:
        """Connect, subscribe, and pass on what comes until we are to stop, or something fails."""
        import asyncio  # noqa: PLC0415

        from websockets.asyncio.client import connect  # noqa: PLC0415

        separator = "&" if "?" in self._url else "?"
        url = f"{self._url}{separator}api_token={urllib.parse.quote(token, safe='')}"
        async with connect(
            url,
            ssl=self._tls,
            open_timeout=OPEN_TIME_LIMIT_S,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIME_LIMIT_S,
            close_timeout=CLOSE_TIME_LIMIT_S,
            max_size=MESSAGE_SIZE_LIMIT,
            compression=None,
        ) as socket:
            asleep_before_s = asleep_s()
            await socket.send(self._subscription())
            texts: list[str | bytes] = []
            arrived = asyncio.Event()
            collecting = asyncio.create_task(_collect(socket, texts, arrived))
            try:
                while not self._stopping.is_set():
                    with suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(arrived.wait(), LOOK_UP_INTERVAL_S)
                    arrived.clear()
                    if asleep_s() > asleep_before_s + LONGEST_NAP_S:
                        raise _Ended("the machine was asleep")
                    batch = texts[:]
                    texts.clear()
                    self._handle(batch)
                    if collecting.done():
                        collecting.result()
                        raise _Ended("it has closed the connection")
                    if self._token() != token:
                        raise _Ended("the token was changed")
            finally:
                collecting.cancel()

    def _subscription(self) -> str:
        request: dict[str, Any] = {
            "method": "subscribe",
            "filters": [["event_type", "in", EVENT_TYPES]],
        }
        if self._last_log_id:
            request["last_log_id"] = self._last_log_id
        return json.dumps(request)

    def _handle(self, texts: list[str | bytes]) -> None:
        if texts:
            self._heard_at = lasting_clock()
        events = []
        for text in texts:
            try:
                message = json.loads(text)
                if not isinstance(message, dict):
                    raise EventError("a message that is no object")
                if "status" in message:
                    self._answered(message["status"])
                elif message:  # an empty one only says that the bus is alive
                    events.append(parse_event(message))
            except (ValueError, RecursionError) as error:
                self._ignore(error)
        if events:
            self._metrics.events_received += len(events)
            self._last_log_id = max(self._last_log_id, *(event.log_id for event in events))
            self._listener.changed(events)

    def _answered(self, status: Any) -> None:
        if status != 200:
            raise _Ended("it refused the subscription")
        if not self._subscribed:
            self._subscribed = True
            self._loss_told = False
            self._listener.connected()
            log.info("The event bus is connected: changes by others are seen at once.")

    def _ignore(self, error: Exception) -> None:
        self._metrics.events_bad += 1
        if not self._bad_event_told:
            self._bad_event_told = True
            reason = str(error) if isinstance(error, EventError) else "it is not JSON"
            log.warning(
                "The event bus sent something that makes no sense (%s). It was ignored, as will be"
                " others, without a line for each.",
                reason,
            )


async def _collect(
    socket: ClientConnection, texts: list[str | bytes], arrived: asyncio.Event
) -> None:
    """Put what comes into `texts`. What has come together is handled together."""
    try:
        async for text in socket:
            texts.append(text)
            arrived.set()
    finally:
        arrived.set()
