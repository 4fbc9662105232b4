"""The standalone cluster misbehaves as it is told to, and counts what is asked of it."""

import asyncio
import hashlib
import http.client
import ssl
import time
import urllib.error

import pytest
import websockets.exceptions
import websockets.sync.client
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from arvados_fuse.standalone.faults import Faults
from arvados_fuse.standalone.pace import pieces_of_body
from tests.support.cluster import RunningCluster
from tests.support.keep_client import KeepClient

CONTENT = bytes(range(256)) * 1000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with RunningCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running
        assert "ERROR" not in running.log


@pytest.fixture
def keep(cluster):
    yield KeepClient(cluster)
    cluster.set_faults([])


@pytest.fixture
def locator(keep):
    return keep.put(CONTENT)


CUT = (http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionError)


def seconds(function):
    before = time.monotonic()
    function()
    return time.monotonic() - before


def test_status_instead_of_doing_anything(cluster, keep):
    block_hash = hashlib.md5(b"never stored").hexdigest()
    cluster.set_faults([{"route": "keep", "method": "PUT", "status": 503}])
    assert keep.request("PUT", f"/{block_hash}", b"never stored")[0] == 503
    assert not cluster.block_path(block_hash).exists()


def test_rule_applies_so_many_times(cluster, keep, locator):
    cluster.set_faults([{"route": "keep", "status": 500, "times": 2}])
    assert [keep.get(locator)[0] for _ in range(3)] == [500, 500, 200]


def test_first_rule_that_fits_applies(cluster, keep, locator):
    cluster.set_faults(
        [
            {"method": "GET", "status": 500, "times": 1},
            {"path": locator[:32], "status": 502},
            {"route": "api", "status": 503},
        ]
    )
    assert [keep.get(locator)[0] for _ in range(2)] == [500, 502]
    assert keep.get("0" * 32 + "+1")[0] == 400


def test_rules_for_the_api_leave_keep_alone(cluster, keep, locator):
    cluster.set_faults([{"route": "api", "path": "users", "status": 500}])
    assert cluster.request("GET", "/arvados/v1/users/current")[0] == 500
    assert cluster.request("GET", "/arvados/v1/groups")[0] == 200
    assert keep.get(locator)[0] == 200


def test_latency(cluster, keep, locator):
    cluster.set_faults([{"route": "keep", "latency_s": 0.2}])
    assert seconds(lambda: keep.get(locator)) >= 0.2


def test_bandwidth_in_both_directions(cluster, keep, locator):
    cluster.set_faults([{"route": "keep", "bytes_per_s": len(CONTENT) * 5}])
    assert seconds(lambda: keep.get(locator)) >= 0.15
    assert seconds(lambda: keep.put(CONTENT)) >= 0.2
    assert keep.get(locator)[2] == CONTENT


def test_a_slow_body_is_sent_while_it_is_read():
    """Nothing of it is held back until the rest is there."""

    class Body(web.StreamResponse):
        content_length = 2

        def __init__(self):
            super().__init__()
            self.pieces = [b"x", b"y"]
            self.may_go_on = asyncio.Event()
            self.may_go_on.set()

        async def read(self, size):
            await asyncio.wait_for(self.may_go_on.wait(), 20)
            self.may_go_on.clear()
            return self.pieces.pop(0)

        def close(self):
            self.pieces = None

    async def talk():
        body = Body()

        async def answer(_request):
            return body

        faults = Faults(may_control=lambda _token: True)
        app = web.Application(middlewares=[faults.middleware("keep", lambda _request: "any")])
        app.router.add_get("/", answer)
        async with TestClient(TestServer(app)) as client:
            await client.put("/_control", json=[{"method": "GET", "bytes_per_s": 1e9}])
            response = await client.get("/")
            first = await response.content.readexactly(1)
            body.may_go_on.set()
            assert first + await response.read() == b"xy"
        assert body.pieces is None, "the body is closed"

    asyncio.run(talk())


def test_a_slow_body_is_taken_while_it_comes():
    """Not all at once when its time is over, which a client takes for a server that hangs."""

    async def talk():
        async def take(request):
            return web.Response(body=await anext(pieces_of_body(request)))

        async def body():
            yield b"first"
            await asyncio.Event().wait()

        faults = Faults(may_control=lambda _token: True)
        app = web.Application(middlewares=[faults.middleware("keep", lambda _request: "any")])
        app.router.add_put("/", take)
        async with TestClient(TestServer(app)) as client:
            await client.put("/_control", json=[{"path": "^/$", "bytes_per_s": 1e5}])
            day = {"Content-Length": str(24 * 3600 * 10**5)}
            response = await asyncio.wait_for(client.put("/", data=body(), headers=day), 20)
            assert await response.read() == b"first"

    asyncio.run(talk())


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_a_slow_body_is_whole(cluster, keep, size):
    cluster.set_faults([{"bytes_per_s": 1e7}])
    content = CONTENT[:1] * size
    assert keep.get(keep.put(content))[2] == content
    collection = {"collection": {"name": f"{size} " * 20, "manifest_text": ""}}
    answer = cluster.request("POST", "/arvados/v1/collections", collection)[1]
    assert answer["name"] == f"{size} " * 20


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_cut(cluster, keep, locator, size):
    cluster.set_faults([{"route": "keep", "cut_after_bytes": size}])
    with pytest.raises(CUT) as caught:
        keep.get(locator)
    if isinstance(caught.value, http.client.IncompleteRead):
        assert CONTENT.startswith(caught.value.partial)
        assert len(caught.value.partial) <= size


def test_answer_of_a_put_can_be_lost_after_it_was_done(cluster, keep):
    cluster.set_faults([{"route": "keep", "method": "PUT", "cut_after_bytes": 0}])
    content = b"stored all the same"
    with pytest.raises(CUT):
        keep.put(content)
    assert cluster.block_path(hashlib.md5(content).hexdigest()).read_bytes() == content


def test_answers_of_the_api_can_be_cut(cluster, keep):
    cluster.set_faults([{"route": "api", "path": "config", "cut_after_bytes": 10}])
    with pytest.raises((*CUT, urllib.error.URLError, ValueError)):
        cluster.request("GET", "/arvados/v1/config")


def test_corruption_flips_one_bit(cluster, keep, locator):
    cluster.set_faults([{"route": "keep", "corrupt": True}])
    body = keep.get(locator)[2]
    flipped = [a ^ b for a, b in zip(CONTENT, body, strict=True) if a != b]
    assert flipped == [1]


def test_large_blocks_are_bent_too(cluster, keep):
    content = CONTENT * 20
    locator = keep.put(content)
    cluster.set_faults([{"corrupt": True, "route": "keep"}])
    body = keep.get(locator)[2]
    assert len(body) == len(content)
    assert sum(a != b for a, b in zip(content, body, strict=True)) == 1


def test_a_share_of_the_requests_fails(cluster, keep, locator):
    cluster.set_faults([{"route": "keep", "status": 503, "probability": 0.3}])
    failed = [keep.get(locator)[0] for _ in range(60)].count(503)
    assert 5 < failed < 35  # the same number each time: chance has a fixed seed
    cluster.set_faults([{"status": 503, "probability": 0}])
    assert keep.get(locator)[0] == 200


def test_a_clock_that_is_fast_finds_signatures_expired(cluster, keep, locator):
    two_weeks = 14 * 24 * 3600
    cluster.set_faults([{"route": "keep", "clock_skew_s": two_weeks - 60}])
    assert keep.get(locator)[0] == 200
    cluster.set_faults([{"route": "keep", "clock_skew_s": two_weeks + 60}])
    assert keep.get(locator)[0] == 401
    assert keep.get(keep.put(CONTENT))[0] == 200  # signed by the same clock


def test_websockets_can_be_refused(cluster, keep):
    address = cluster.websocket_url()
    cluster.request_counts(reset=True)
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    with websockets.sync.client.connect(address, ssl=trust) as websocket:
        assert websocket.protocol.state.name == "OPEN"
    cluster.set_faults([{"route": "api", "path": "^/websocket", "status": 503}])
    with pytest.raises(websockets.exceptions.InvalidStatus):
        with websockets.sync.client.connect(address, ssl=trust):
            pytest.fail("it was accepted")
    assert cluster.request_counts()["GET /websocket"] == 2


def test_delete_ends_all_rules(cluster, keep, locator):
    cluster.set_faults([{"route": "keep", "status": 500}])
    assert cluster.request("DELETE", "/_control")[0] == 200
    assert keep.get(locator)[0] == 200


def test_requests_are_counted_by_operation(cluster, keep, locator):
    cluster.request_counts(reset=True)
    keep.get(locator)
    keep.get(locator)
    keep.put(b"x")
    cluster.request("GET", "/arvados/v1/collections/zzzzz-4zz18-012345678901234")
    cluster.request("POST", "/arvados/v1/groups", headers={"X-Http-Method-Override": "GET"})
    cluster.request("GET", "/nonsense")
    expected = {
        "GET keep": 2,
        "PUT keep": 1,
        "GET /arvados/v1/collections/{uuid}": 1,
        "GET /arvados/v1/groups": 1,
        "GET /nonsense": 1,
    }
    assert cluster.request_counts() == expected
    assert cluster.request_counts(reset=True) == expected
    assert cluster.request_counts() == {}


def test_control_is_on_both_ports(keep):
    assert keep.request("GET", "/_control/requests")[0] == 200


@pytest.mark.parametrize("token", [None, "other"])
def test_control_is_for_administrators(keep, token):
    assert keep.request("DELETE", "/_control", token=token)[0] == 403


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{}",
        b"[1]",
        b'[{"nonsense": 1}]',
        b'[{"path": "("}]',
        b'[{"path": 1}]',
        b'[{"route": "nonsense"}]',
        b'[{"bytes_per_s": 0}]',
        b'[{"probability": 2}]',
        b'[{"probability": "x"}]',
    ],
)
def test_rules_that_make_no_sense_are_refused(keep, body):
    assert keep.request("PUT", "/_control", body)[0] == 400


def test_control_has_no_other_paths(keep):
    assert keep.request("GET", "/_control")[0] == 404
    assert keep.request("GET", "/_control/nonsense")[0] == 404
