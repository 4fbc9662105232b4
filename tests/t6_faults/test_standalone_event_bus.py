"""The event bus of the standalone cluster, in the process of the test: time and slow listeners."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest
from aiohttp import web
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from arvados_fuse.standalone.api.eventbus import EventBus
from arvados_fuse.standalone.api.frames import text_frame
from tests.support.local_cluster import LocalCluster

TIME_LIMIT_S = 60


class Bus:
    """A bus on the database of a cluster, and connections to it."""

    def __init__(self, cluster, **options):
        self.cluster = cluster
        self._options = options

    async def __aenter__(self):
        self._threads = ThreadPoolExecutor(2)
        self.bus = EventBus(self.cluster.database, self._threads, **self._options)
        app = web.Application()
        self.bus.add_routes(app)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        self._url = f"ws://127.0.0.1:{port}/websocket"
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_):
        await self._session.close()
        await self._runner.cleanup()
        self._threads.shutdown()

    async def connect(self, token=None, **request):
        """A connection that has subscribed to everything."""
        token = token or self.cluster.token
        socket = await self._session.ws_connect(f"{self._url}?api_token={token}", max_msg_size=0)
        await socket.send_json({"method": "subscribe", "filters": [], **request})
        assert await socket.receive_json() == {"status": 200}
        return socket

    def change(self, text="x"):
        """Write an entry of the log; return its id."""
        made = self.cluster.create("logs", event_type="note", properties={"text": text})
        self.bus.wake()
        return made["id"]


@pytest.fixture
def cluster(tmp_path):
    with LocalCluster(tmp_path) as cluster:
        yield cluster


def run(test, cluster, **options):
    async def inside():
        async with Bus(cluster, **options) as bus:
            await asyncio.wait_for(test(bus), TIME_LIMIT_S)

    asyncio.run(inside())


def pause(socket):
    """Let a client take nothing from the network."""
    transport = socket._response.connection.transport
    transport.pause_reading()
    return transport


def test_a_listener_that_hears_nothing_gets_an_empty_message_from_time_to_time(cluster):
    async def test(bus):
        socket = await bus.connect()
        for _ in range(2):
            assert await socket.receive_json() == {}
        number = bus.change()
        message = await socket.receive_json()
        while message == {}:
            message = await socket.receive_json()
        assert (message["id"], message["msgID"]) == (number, 1)

    run(test, cluster, keepalive_s=0.1)


def test_changes_of_other_processes_are_heard_without_being_told_of(cluster):
    async def test(bus):
        socket = await bus.connect()
        made = cluster.create(name="nobody wakes the bus")
        assert (await socket.receive_json())["object_uuid"] == made["uuid"]

    run(test, cluster)


def test_a_listener_that_takes_nothing_is_cut_off_and_others_hear_everything(cluster):
    async def test(bus):
        deaf, known = await bus.connect(), await bus.connect()
        transport = pause(deaf)
        for _ in range(90):
            number = bus.change("x" * 500_000)
            assert (await known.receive_json())["id"] == number
        await asyncio.sleep(0.6)
        transport.resume_reading()
        received = 0
        while (await deaf.receive()).type is aiohttp.WSMsgType.TEXT:
            received += 1
        assert received < 90

    run(test, cluster, patience_s=0.3)


def test_a_listener_that_pauses_hears_everything_in_order(cluster):
    async def test(bus):
        slow = await bus.connect()
        transport = pause(slow)
        made = [bus.change("x" * 500_000) for _ in range(90)]
        await asyncio.sleep(0.3)
        made += [bus.change("short") for _ in range(300)]
        transport.resume_reading()
        heard = [await slow.receive_json() for _ in made]
        assert [message["id"] for message in heard] == made
        assert [message["msgID"] for message in heard] == list(range(1, len(made) + 1))

    run(test, cluster)


def test_a_bus_that_is_late_itself_cuts_nobody_off(cluster):
    """A thousand changes at once: more than may wait for one who does not take them."""

    async def test(bus):
        sockets = [await bus.connect() for _ in range(20)]
        made = [bus.change("x" * 5000) for _ in range(1000)]

        async def hear(socket):
            return [(await socket.receive_json())["id"] for _ in made]

        heard = await asyncio.gather(*map(hear, sockets))
        assert all(numbers == made for numbers in heard)

    run(test, cluster)


def test_a_long_past_is_told_while_the_present_goes_on(cluster):
    async def test(bus):
        first = bus.change()
        past = [bus.change() for _ in range(500)]
        live = await bus.connect()
        late = await bus.connect(last_log_id=first)
        present = []
        for _ in range(50):
            present.append(bus.change())
            assert (await live.receive_json())["id"] == present[-1]
        heard = [(await late.receive_json())["id"] for _ in past + present]
        assert heard == past + present

    run(test, cluster)


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_frames_are_those_of_the_standard(size):
    """As a client of another library reads them."""
    reader = StreamReader()
    reader.feed_data(text_frame(b"x" * size))
    parsing = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as end:
        next(parsing)
    frame = end.value.value
    assert (frame.opcode, frame.fin, frame.data) == (Opcode.TEXT, True, b"x" * size)
