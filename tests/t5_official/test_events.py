"""The event stream of the standalone cluster, as the official library and driver use it."""

import asyncio
import queue
import ssl
import time

import aiohttp
import arvados.config
import arvados.events
import pytest

from tests.support.cluster import RunningCluster
from tests.support.mounts import RunningMount
from tests.t5_official.test_official_driver import OFFICIAL

WAIT_S = 20


@pytest.fixture(scope="module")
def cluster(own_cluster):
    """One of its own: events of other tests would be seen."""
    return own_cluster


@pytest.fixture
def api(cluster):
    return cluster.api()


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """The settings of the library, which it has from the environment of a user."""
    settings = arvados.config.settings()
    monkeypatch.setitem(settings, "ARVADOS_API_HOST_INSECURE", "1")
    return settings


class Received:
    """Collects what a client of the library gets."""

    def __init__(self):
        self._queue = queue.Queue()

    def __call__(self, message):
        self._queue.put(message)

    def next(self):
        return self._queue.get(timeout=WAIT_S)

    def until(self, uuid, event_type):
        """The first event of this type about `uuid`, and all messages before it."""
        before = []
        while True:
            message = self.next()
            if (message.get("object_uuid"), message.get("event_type")) == (uuid, event_type):
                return message, before
            before.append(message)


@pytest.fixture
def listen(api):
    """Listen with the official library; return (its client, what it receives)."""
    clients = []

    def start(filters, **options):
        received = Received()
        client = arvados.events.subscribe(api, filters, received, poll_fallback=0, **options)
        clients.append(client)
        assert received.next() == {"status": 200}
        return client, received

    yield start
    for client in clients:
        client.close(timeout=5)


def make(api, name, **attributes):
    return api.collections().create(body={"name": name, **attributes}).execute()


class TestLibrary:
    """arvados.events.subscribe"""

    def test_changes_are_told(self, api, listen):
        _, received = listen([])
        uuid = make(api, "one")["uuid"]
        created, _ = received.until(uuid, "create")
        assert created["object_kind"] == "arvados#collection"
        assert "old_attributes" not in created["properties"]
        assert created["properties"]["new_attributes"]["name"] == "one"
        api.collections().update(uuid=uuid, body={"name": "two"}).execute()
        updated, _ = received.until(uuid, "update")
        properties = updated["properties"]
        assert properties["old_attributes"]["name"] == "one"
        assert set(properties["new_attributes"]) == {
            *("is_trashed", "name", "owner_uuid", "portable_data_hash")
        }
        assert updated["id"] > created["id"]
        assert updated["msgID"] > created["msgID"]
        api.collections().delete(uuid=uuid).execute()
        trashed, _ = received.until(uuid, "update")
        assert trashed["properties"]["new_attributes"]["is_trashed"] is True

    def test_types_of_events_are_chosen_by_the_server(self, api, listen):
        _, received = listen([["event_type", "in", ["update"]]])
        uuid = make(api, "chosen")["uuid"]
        api.collections().update(uuid=uuid, body={"name": "changed"}).execute()
        _, before = received.until(uuid, "update")
        assert before == []

    def test_filters_that_the_server_does_not_know_are_taken_for_true(self, api, listen):
        _, received = listen([["object_uuid", "=", "nonsense"]])
        received.until(make(api, "unknown filter")["uuid"], "create")

    def test_unsubscribing_ends_one_subscription(self, api, listen):
        client, received = listen([["event_type", "in", ["create"]]])
        client.subscribe([["event_type", "in", ["update"]]])
        assert received.next() == {"status": 200}
        client.unsubscribe([["event_type", "in", ["create"]]])
        assert received.next() == {"status": 200}
        uuid = make(api, "half heard")["uuid"]
        api.collections().update(uuid=uuid, body={"name": "heard"}).execute()
        _, before = received.until(uuid, "update")
        assert before == []

    def test_what_was_missed_comes_first_and_once(self, api, listen):
        first = make(api, "seen")["uuid"]
        (entry,) = api.logs().list(filters=[["object_uuid", "=", first]]).execute()["items"]
        missed = [make(api, f"missed {number}")["uuid"] for number in range(100)]
        _, received = listen([], last_log_id=entry["id"])
        last = make(api, "live")["uuid"]
        _, before = received.until(last, "create")
        assert [message["object_uuid"] for message in before] == missed

    def test_listeners_come_back_after_a_restart(self, tmp_path):
        with RunningCluster(tmp_path / "cluster") as cluster:
            api = cluster.api()
            received = Received()
            client = arvados.events.subscribe(api, [], received, poll_fallback=0)
            assert received.next() == {"status": 200}
            received.until(make(api, "before")["uuid"], "create")
            cluster.restart()
            uuid = make(cluster.api(), "after")["uuid"]
            received.until(uuid, "create")
            client.close(timeout=5)

    def test_polling_works_where_websockets_do_not(self, api, settings, monkeypatch):
        monkeypatch.setitem(settings, "ARVADOS_DISABLE_WEBSOCKETS", "1")
        received = Received()
        make(api, "old")
        client = arvados.events.subscribe(api, [], received, poll_fallback=1)
        try:
            assert received.next() == {"status": 200}
            for number in range(WAIT_S * 10):
                # The first poll only looks where the log ends.
                make(api, f"polled {number}")
                try:
                    message = received._queue.get(timeout=0.2)
                except queue.Empty:
                    continue
                break
            assert message["properties"]["new_attributes"]["name"].startswith("polled")
        finally:
            client.close(timeout=5)


class TestProtocol:
    """Messages as they are on the wire."""

    @pytest.fixture
    def run(self, cluster):
        """Run a coroutine function with a function that connects."""
        insecure = ssl.create_default_context()
        insecure.check_hostname = False
        insecure.verify_mode = ssl.CERT_NONE
        url = cluster.websocket_url()

        def run(test):
            async def inside():
                async with aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0)
                ) as session:

                    async def connect(token=None):
                        token = cluster.env["ARVADOS_API_TOKEN"] if token is None else token
                        return await session.ws_connect(
                            f"{url}?api_token={token}", ssl=insecure, max_msg_size=0
                        )

                    await test(connect)

            asyncio.run(asyncio.wait_for(inside(), 60))

        return run

    @pytest.mark.parametrize(
        "message",
        [
            "nonsense",
            "[]",
            "{}",
            '{"method": "nonsense"}',
            '{"method": "unsubscribe", "filters": []}',
            '{"method": "subscribe", "filters": "text"}',
            '{"method": "subscribe", "filters": [["created_at", ">", "nonsense"]]}',
            '{"method": "subscribe", "last_log_id": "x"}',
        ],
    )
    def test_bad_requests_are_answered_and_the_connection_lives(self, run, message):
        async def test(connect):
            socket = await connect()
            await socket.send_str(message)
            assert await socket.receive_json() == {"status": 400}
            await socket.send_json({"method": "subscribe"})
            assert await socket.receive_json() == {"status": 200}

        run(test)

    def test_nothing_comes_on_a_token_that_is_not_valid(self, run, api):
        async def test(connect):
            stranger, known = await connect("nonsense"), await connect()
            for socket in (stranger, known):
                await socket.send_json({"method": "subscribe", "filters": []})
                assert await socket.receive_json() == {"status": 200}
            await asyncio.to_thread(make, api, "not for strangers")
            assert (await known.receive_json())["event_type"] == "create"
            await stranger.send_str("a question, to have an answer after which nothing came")
            assert await stranger.receive_json() == {"status": 400}

        run(test)

    def test_listeners_hear_of_what_they_may_see_and_of_nothing_else(self, run, api):
        def user():
            made = api.users().create(body={"is_active": True}).execute()
            token = (
                api.api_client_authorizations().create(body={"owner_uuid": made["uuid"]}).execute()
            )
            return made["uuid"], f"v2/{token['uuid']}/{token['api_token']}"

        def project(name):
            return api.groups().create(body={"name": name, "group_class": "project"}).execute()

        def permit(tail, head):
            link = {"link_class": "permission", "name": "can_read"}
            return api.links().create(body={**link, "tail_uuid": tail, "head_uuid": head}).execute()

        uuid, token = user()
        shared, private = project("shared with one")["uuid"], project("private")["uuid"]
        permit(uuid, shared)

        async def test(connect):
            socket = await connect(token)
            await socket.send_json({"method": "subscribe", "filters": []})
            assert await socket.receive_json() == {"status": 200}

            async def heard():
                return (await socket.receive_json())["object_uuid"]

            await asyncio.to_thread(make, api, "unheard", owner_uuid=private)
            first = await asyncio.to_thread(make, api, "heard", owner_uuid=shared)
            assert await heard() == first["uuid"]
            # A permission that is given later counts for the next event.
            link = await asyncio.to_thread(permit, uuid, private)
            assert await heard() == link["uuid"]
            second = await asyncio.to_thread(make, api, "heard now", owner_uuid=private)
            assert await heard() == second["uuid"]
            await asyncio.to_thread(api.links().delete(uuid=link["uuid"]).execute)
            await asyncio.to_thread(make, api, "unheard again", owner_uuid=private)
            last = await asyncio.to_thread(make, api, "last", owner_uuid=shared)
            assert await heard() == last["uuid"]

        run(test)

    def test_hundreds_of_listeners_get_every_event_in_order(self, run, api):
        listeners, changes = 300, 20

        async def test(connect):
            sockets = [await connect() for _ in range(listeners)]
            for socket in sockets:
                await socket.send_json({"method": "subscribe", "filters": []})
                assert await socket.receive_json() == {"status": 200}

            def change():
                return [make(api, f"for {listeners}: {n}")["uuid"] for n in range(changes)]

            async def hear(socket):
                return [(await socket.receive_json())["object_uuid"] for _ in range(changes)]

            made, *heard = await asyncio.gather(
                asyncio.to_thread(change), *(hear(socket) for socket in sockets)
            )
            assert all(uuids == made for uuids in heard)
            await asyncio.gather(*(socket.close() for socket in sockets))

        run(test)


def test_the_official_driver_shows_changes_at_once(cluster, api, tmp_path):
    project = api.groups().create(body={"name": "live", "group_class": "project"}).execute()
    env = cluster.environment(tmp_path / "home")
    with RunningMount(
        tmp_path / "mnt", f"--project={project['uuid']}", env=env, command=OFFICIAL
    ) as mount:
        assert list(mount.directory.iterdir()) == []
        make(api, "appeared", owner_uuid=project["uuid"])
        deadline = time.monotonic() + WAIT_S
        while [path.name for path in mount.directory.iterdir()] != ["appeared"]:
            assert time.monotonic() < deadline, "the change does not show"
            time.sleep(0.05)
