"""The subscriber of the event bus, against a bus that the tests play."""

from __future__ import annotations

import json
import logging
import queue
import ssl
import threading
import time
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from arvados_fuse.clock import lasting_clock
from arvados_fuse.events import Event, EventError, State, Subscriber, parse_event
from arvados_fuse.metrics import Metrics
from tests.support.sleeping import Machine

COLLECTION = "zzzzz-4zz18-000000000000001"
PROJECT = "zzzzz-j7d0g-000000000000001"
OTHER = "zzzzz-j7d0g-000000000000002"
PDH = "d41d8cd98f00b204e9800998ecf8427e+0"
TOKEN = "v2/zzzzz-gj3su-000000000000000/the&secret"
WITHIN_S = 10.0


def message(log_id: int = 1, **changes: Any) -> dict[str, Any]:
    """An update of a collection, as the bus tells it."""
    attributes = {
        "name": "run",
        "owner_uuid": PROJECT,
        "portable_data_hash": PDH,
        "is_trashed": False,
    }
    return {
        "msgID": 1,
        "id": log_id,
        "uuid": "zzzzz-57u5n-000000000000001",
        "object_uuid": COLLECTION,
        "object_owner_uuid": PROJECT,
        "object_kind": "arvados#collection",
        "event_type": "update",
        "event_at": "2026-01-02T03:04:05.678901000Z",
        "properties": {
            "old_attributes": {**attributes, "owner_uuid": OTHER},
            "new_attributes": attributes,
        },
        **changes,
    }


class TestParse:
    def test_update_tells_what_was_and_what_is(self):
        assert parse_event(message(7)) == Event(
            log_id=7,
            object_uuid=COLLECTION,
            owner_uuid=PROJECT,
            at_ns=1767323045_678901000,
            before=State("run", OTHER, PDH, False),
            after=State("run", PROJECT, PDH, False),
        )

    def test_it_concerns_the_object_its_type_and_the_owners_before_and_after(self):
        assert parse_event(message()).keys == {COLLECTION, "4zz18", PROJECT, OTHER}

    @pytest.mark.parametrize("side", ["old_attributes", "new_attributes"])
    def test_what_is_not_told_is_none(self, side):
        told = message()
        told["properties"][side] = None
        event = parse_event(told)
        assert (event.before if side == "old_attributes" else event.after) is None
        assert event.is_gone == (side == "new_attributes")

    def test_in_the_trash_is_gone(self):
        told = message()
        told["properties"]["new_attributes"]["is_trashed"] = True
        assert parse_event(told).is_gone

    @pytest.mark.parametrize(
        "changes",
        [
            {"id": None},
            {"id": "7"},
            {"object_uuid": None},
            {"object_uuid": ["x"]},
            {"object_owner_uuid": 7},
            {"event_at": None},
            {"event_at": "yesterday"},
            {"event_at": 7},
            {"properties": {"new_attributes": "text"}},
            {"properties": {"new_attributes": {"name": 7}}},
            {"properties": {"old_attributes": {"owner_uuid": {}}}},
        ],
    )
    def test_what_makes_no_sense_is_an_error(self, changes):
        with pytest.raises(EventError):
            parse_event(message(**changes))

    @pytest.mark.parametrize("properties", [None, [], "text", 7])
    def test_properties_may_be_missing(self, properties):
        event = parse_event(message(properties=properties))
        assert event.before is event.after is None


class Bus:
    """A websocket server. Each connection waits in `connections` for what the test does with it."""

    def __init__(self) -> None:
        self.connections: queue.Queue[Connection] = queue.Queue()
        self.refuse_with: int | None = None
        self.refused = 0
        self.server = serve(self._serve, "127.0.0.1", 0, process_request=self._process)
        port = self.server.socket.getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/websocket"

    def _process(self, connection: ServerConnection, request: Any) -> Any:
        if self.refuse_with is None:
            return None
        self.refused += 1
        return connection.respond(self.refuse_with, "no\n")

    def _serve(self, socket: ServerConnection) -> None:
        connection = Connection(socket)
        self.connections.put(connection)
        connection.ended.wait(WITHIN_S)

    def next(self) -> Connection:
        """The next connection, subscribed and told so."""
        connection = self.connections.get(timeout=WITHIN_S)
        connection.request = json.loads(connection.socket.recv(WITHIN_S))
        connection.send({"status": 200})
        return connection


class Connection:
    """One connection of the subscriber, as the bus sees it."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.path = socket.request.path
        self.request: dict[str, Any] = {}
        self.ended = threading.Event()

    def send(self, *messages: Any) -> None:
        for one in messages:
            self.socket.send(one if isinstance(one, str) else json.dumps(one))

    def end(self) -> None:
        self.ended.set()


class Heard:
    """A listener that notes what it is told, in order.

    lost_after_s: how long ago the last sign of life was when the bus was said to be lost
    """

    def __init__(self) -> None:
        self.lost_after_s = 0.0
        self.told: queue.Queue[Any] = queue.Queue()

    def connected(self) -> None:
        self.told.put("connected")

    def lost(self, heard_at: float) -> None:
        assert heard_at <= lasting_clock()
        self.lost_after_s = lasting_clock() - heard_at
        self.told.put("lost")

    def changed(self, events: list[Event]) -> None:
        for event in events:
            self.told.put(event.log_id)

    def next(self) -> Any:
        return self.told.get(timeout=WITHIN_S)


@pytest.fixture
def bus():
    bus = Bus()
    serving = threading.Thread(target=bus.server.serve_forever, daemon=True)
    serving.start()
    yield bus
    while not bus.connections.empty():
        bus.connections.get().end()
    bus.server.shutdown()


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def metrics():
    return Metrics()


@contextmanager
def subscribed(url, heard, metrics, token=lambda: TOKEN):
    tls = ssl.create_default_context()
    subscriber = Subscriber(url, token, tls, heard, metrics, shortest_pause_s=0.01)
    subscriber.start()
    try:
        yield
    finally:
        subscriber.stop()


@pytest.fixture
def subscriber(bus, heard, metrics):
    with subscribed(bus.url, heard, metrics):
        yield


@pytest.mark.usefixtures("subscriber")
class TestSubscriber:
    def test_asks_for_changes_with_its_token(self, bus, heard):
        connection = bus.next()
        assert heard.next() == "connected"
        assert connection.path.endswith(
            "?api_token=v2%2Fzzzzz-gj3su-000000000000000%2Fthe%26secret"
        )
        assert connection.request == {
            "method": "subscribe",
            "filters": [["event_type", "in", ["create", "update", "delete"]]],
        }
        connection.end()

    def test_passes_events_on_in_order(self, bus, heard, metrics):
        connection = bus.next()
        connection.send({}, message(5), message(6), {}, message(7))
        assert [heard.next() for _ in range(4)] == ["connected", 5, 6, 7]
        assert metrics.events_received == 3
        connection.end()

    def test_comes_back_and_says_what_it_has_heard_last(self, bus, heard):
        first = bus.next()
        first.send(message(41), message(42))
        assert [heard.next() for _ in range(3)] == ["connected", 41, 42]
        first.end()
        assert heard.next() == "lost"
        second = bus.next()
        assert second.request["last_log_id"] == 42
        assert heard.next() == "connected"
        second.end()

    def test_connection_that_is_cut_is_lost(self, bus, heard):
        connection = bus.next()
        assert heard.next() == "connected"
        connection.socket.socket.shutdown(2)
        assert heard.next() == "lost"
        connection.end()
        bus.next().end()

    def test_connection_from_before_the_machine_slept_is_lost(self, bus, heard, monkeypatch):
        """It may be dead, and nobody would notice for as long as pings are waited for."""
        machine = Machine(monkeypatch)
        connection = bus.next()
        assert heard.next() == "connected"
        machine.sleep(600)
        connection.send(message(43))
        assert heard.next() == "lost"
        assert heard.lost_after_s >= 600
        again = bus.next()
        assert "last_log_id" not in again.request  # so that the event of before is told again
        assert heard.next() == "connected"
        connection.end()
        again.end()

    @pytest.mark.expects_log("makes no sense")
    def test_bad_events_are_logged_once_and_ignored(self, bus, heard, metrics, log_guard):
        connection = bus.next()
        deep = "[" * 100_000
        connection.send("{", "[]", "7", "null", deep, {"id": 1}, message(2, event_at="?"))
        connection.send(message(3))
        assert [heard.next() for _ in range(2)] == ["connected", 3]
        assert metrics.events_bad == 7
        assert len(log_guard.records) == 1
        connection.end()

    def test_refused_subscription_is_no_connection(self, bus, heard):
        connection = bus.connections.get(timeout=WITHIN_S)
        connection.send({"status": 400})
        again = bus.next()
        assert heard.next() == "connected"
        connection.end()
        again.end()


def test_changes_of_state_get_one_line_each(bus, heard, metrics, caplog):
    caplog.set_level(logging.INFO, "arvados_fuse")
    bus.refuse_with = 503
    with subscribed(bus.url, heard, metrics):
        deadline = time.monotonic() + WITHIN_S
        while bus.refused < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        bus.refuse_with = None
        connection = bus.next()
        assert heard.next() == "connected"
        connection.end()
        assert heard.next() == "lost"
        bus.next().end()
    lines = [record.getMessage() for record in caplog.records]
    assert "There is no event bus (it answered 503)" in lines[0]
    assert "The event bus is connected" in lines[1]
    assert "There is no event bus (it has closed the connection)" in lines[2]
    assert not [line for line in lines if "secret" in line]


def test_changed_token_is_used_at_once(bus, heard, metrics):
    token = ["first"]
    with subscribed(bus.url, heard, metrics, token=lambda: token[0]):
        first = bus.next()
        assert heard.next() == "connected"
        token[0] = "second"
        first.send({})
        assert heard.next() == "lost"
        second = bus.next()
        assert second.path.endswith("?api_token=second")
        first.end()
        second.end()


def test_no_url_of_a_bus_is_logged_with_its_token(heard, metrics, caplog):
    caplog.set_level(logging.INFO, "arvados_fuse")
    with subscribed("gopher://nowhere", heard, metrics):
        deadline = time.monotonic() + WITHIN_S
        while not caplog.records:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert "There is no event bus (InvalidURI)" in caplog.records[0].getMessage()
    assert "secret" not in caplog.text
