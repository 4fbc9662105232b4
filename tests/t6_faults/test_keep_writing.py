"""Writing blocks to Keep services that answer badly, late, or not at all."""

import hashlib
import logging
import mmap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from arvados_fuse.errors import (
    AccessRefused,
    ClusterError,
    ClusterUnreachable,
    FileSystemError,
    NoSpace,
    TimedOut,
)
from arvados_fuse.journal.chunks import create_chunk
from arvados_fuse.journal.room import Room
from arvados_fuse.keep.client import KeepClient
from arvados_fuse.keep.services import ServiceList
from arvados_fuse.metrics import Metrics
from tests.support.cluster import RunningCluster
from tests.support.fake_keep import (
    SIGNATURE,
    Bend,
    FakeKeep,
    impatient_client,
    is_waiting,
    locator_of,
)

BLOCK = bytes(range(256)) * 16384  # 4 MiB: more than what sockets hold on the way
HASH = hashlib.md5(BLOCK).hexdigest()
SECRET = "secret"
WRITE_ERROR = pytest.mark.expects_log("Keep write error: block [0-9a-f]{32}")


@pytest.fixture
def keeps() -> Iterator[list[FakeKeep]]:
    """Three services, the one to ask first in front."""
    with ExitStack() as stack:
        yield [stack.enter_context(FakeKeep()) for _ in range(3)]


def client_of(
    keeps: list[FakeKeep],
    *,
    kind: str = "disk",
    retries: int = 0,
    read_only: int = 0,
    metrics: Metrics | None = None,
    low_speed_s: float = 30.0,
    backoff_s: float = 0.001,
) -> KeepClient:
    """A client that asks the services in their order. read_only: so many from the front are."""
    records = [keep.record(number, kind) for number, keep in enumerate(keeps)]
    ordered = ServiceList(lambda: records).for_block(HASH, ())
    records = [
        {**record, "uuid": service.uuid, "read_only": number < read_only}
        for number, (record, service) in enumerate(zip(records, ordered, strict=True))
    ]
    return impatient_client(
        services=ServiceList(lambda: records),
        retries=retries,
        metrics=metrics,
        low_speed_s=low_speed_s,
        backoff_s=backoff_s,
    )


def requests(keeps: list[FakeKeep]) -> list[int]:
    return [len(keep.requests) for keep in keeps]


# -- the plain way


def test_a_block_is_stored_and_its_signed_locator_returned(keeps: list[FakeKeep]) -> None:
    metrics = Metrics()
    client = client_of(keeps, metrics=metrics)
    assert client.put(BLOCK, classes=(), replicas=1) == locator_of(BLOCK)
    assert keeps[0].stored(HASH) == BLOCK
    assert (metrics.keep_put_calls, metrics.keep_put_bytes) == (1, len(BLOCK))
    client.close()


def test_the_request_is_that_of_the_arvados_clients(keeps: list[FakeKeep]) -> None:
    client = client_of(keeps)
    client.put(BLOCK, classes=("hot", "cold"), replicas=1)
    assert keeps[0].requests == [f"/{HASH}"]
    headers = keeps[0].headers[0]
    assert headers["Authorization"] == "Bearer v2/zzzzz-gj3su-000000000000000/secret"
    assert headers["Content-Length"] == str(len(BLOCK))
    assert headers["X-Keep-Desired-Replicas"] == "1"
    assert headers["X-Keep-Storage-Classes"] == "hot, cold"
    assert headers["X-Request-Id"].startswith("req-")
    client.close()


def test_no_storage_class_leaves_it_to_the_cluster(keeps: list[FakeKeep]) -> None:
    client = client_of(keeps)
    client.put(BLOCK, classes=(), replicas=1)
    assert "X-Keep-Storage-Classes" not in keeps[0].headers[0]
    client.close()


def test_the_empty_block_needs_no_request(keeps: list[FakeKeep]) -> None:
    client = client_of(keeps)
    assert client.put(b"", classes=(), replicas=2) == "d41d8cd98f00b204e9800998ecf8427e+0"
    assert requests(keeps) == [0, 0, 0]


def test_a_block_that_is_too_large_is_a_mistake_of_the_caller(keeps: list[FakeKeep]) -> None:
    with pytest.raises(ValueError, match="67108865"):
        client_of(keeps).put(bytes((64 << 20) + 1), classes=(), replicas=1)
    assert requests(keeps) == [0, 0, 0]


def test_any_memory_can_be_stored_and_is_let_go(keeps: list[FakeKeep]) -> None:
    client = client_of(keeps)
    with mmap.mmap(-1, len(BLOCK)) as mapping:
        mapping[:] = BLOCK
        assert client.put(mapping, classes=(), replicas=3) == locator_of(BLOCK)
    # a mapping that somebody still refers to cannot be closed
    client.close()


@WRITE_ERROR
def test_memory_is_let_go_after_a_failure_too(keeps: list[FakeKeep]) -> None:
    client = client_of(keeps)
    for keep in keeps:
        keep.bend_all(Bend(cut_after=100_000))
    with mmap.mmap(-1, len(BLOCK)) as mapping:
        mapping[:] = BLOCK
        with pytest.raises(ClusterUnreachable) as caught:
            client.put(mapping, classes=(), replicas=2)
    assert caught.value.__traceback__ is not None, "it is closed although the error still lives"
    client.close()


def test_one_connection_serves_many_requests(keeps: list[FakeKeep]) -> None:
    client = client_of(keeps)
    for _ in range(5):
        client.put(BLOCK, classes=(), replicas=1)
    assert (len(keeps[0].requests), keeps[0].connections) == (5, 1)
    client.close()


def test_reading_and_writing_share_connections(keeps: list[FakeKeep]) -> None:
    client = client_of(keeps)
    locator = client.put(BLOCK, classes=(), replicas=1)
    memory = bytearray(len(BLOCK))
    client.get(locator, memoryview(memory), lambda _: None, lambda: None)
    assert memory == BLOCK
    assert keeps[0].connections == 1
    client.close()


def test_a_connection_that_the_server_closed_costs_no_try(keeps: list[FakeKeep]) -> None:
    client = client_of(keeps)
    keeps[0].bend(Bend(hang_up=True))
    for _ in range(2):
        client.put(BLOCK, classes=(), replicas=1)
    assert (len(keeps[0].requests), keeps[0].connections) == (2, 2)
    client.close()


@pytest.mark.parametrize("begin", [b"", b"a block of"])
def test_an_answer_that_breaks_off_is_worth_another_try(
    keeps: list[FakeKeep], begin: bytes
) -> None:
    keeps[0].bend(Bend(body=begin, announce=100))
    client = client_of(keeps[:1], retries=1)
    assert client.put(BLOCK, classes=(), replicas=1).startswith(HASH)
    assert requests(keeps) == [2, 0, 0]
    client.close()


def test_a_silent_service_gets_no_more_blocks_while_there_are_others(
    keeps: list[FakeKeep],
) -> None:
    keeps[0].bend_all(Bend(silent=True))
    client = client_of(keeps, low_speed_s=0.2)
    for _ in range(4):
        client.put(BLOCK, classes=(), replicas=2)
    assert requests(keeps) == [1, 4, 4]
    client.close()


@WRITE_ERROR
def test_that_blocks_cannot_be_written_is_logged_once_until_one_is(
    keeps: list[FakeKeep], caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(keeps)
    for _ in range(2):
        for keep in keeps:
            keep.bend_all(Bend(status=503))
        for _ in range(3):
            with pytest.raises(ClusterError):
                client.put(BLOCK, classes=(), replicas=1)
        for keep in keeps:
            keep.bend_all(Bend())
        client.put(BLOCK, classes=(), replicas=1)
    assert caplog.text.count("Keep write error") == 2
    client.close()


# -- copies


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_copies_go_to_the_first_services(keeps: list[FakeKeep], replicas: int) -> None:
    client = client_of(keeps)
    client.put(BLOCK, classes=(), replicas=replicas)
    assert requests(keeps) == [1] * replicas + [0] * (3 - replicas)
    client.close()


def test_disk_services_get_their_copies_at_the_same_time(keeps: list[FakeKeep]) -> None:
    """The first answers only after the second has the whole block."""
    bends = [Bend(pause_after=1000), Bend(pause_after=1000)]
    keeps[0].bend(bends[0])
    keeps[1].bend(bends[1])
    client = client_of(keeps)
    with ThreadPoolExecutor(1) as pool:
        storing = pool.submit(client.put, BLOCK, classes=(), replicas=2)
        for bend in bends:
            assert bend.paused.wait(20)
        for bend in bends:
            bend.go.set()
        assert storing.result(20) == locator_of(BLOCK)
    client.close()


def test_a_proxy_is_trusted_to_make_the_copies(keeps: list[FakeKeep]) -> None:
    keeps[0].bend(Bend(headers={"X-Keep-Replicas-Stored": "2"}))
    client = client_of(keeps, kind="proxy")
    client.put(BLOCK, classes=(), replicas=2)
    assert requests(keeps) == [1, 0, 0]
    assert keeps[0].headers[0]["X-Keep-Desired-Replicas"] == "2"
    client.close()


def test_a_service_that_stores_several_copies_at_once_counts_for_them(
    keeps: list[FakeKeep],
) -> None:
    for keep in keeps:
        keep.bend_all(Bend(headers={"X-Keep-Replicas-Stored": "2"}))
    client = client_of(keeps[:1])
    assert client.put(BLOCK, classes=(), replicas=2) == locator_of(BLOCK)
    client.close()


@pytest.mark.parametrize("header", [None, "", "many"])
def test_a_service_that_does_not_say_has_stored_one(
    keeps: list[FakeKeep], header: str | None
) -> None:
    for keep in keeps:
        keep.bend_all(Bend(headers={"X-Keep-Replicas-Stored": header}))
    client = client_of(keeps)
    client.put(BLOCK, classes=(), replicas=2)
    assert requests(keeps) == [1, 1, 0]
    client.close()


def test_the_copy_of_a_failing_service_goes_to_the_next(keeps: list[FakeKeep]) -> None:
    keeps[0].bend_all(Bend(status=503))
    client = client_of(keeps)
    client.put(BLOCK, classes=(), replicas=2)
    assert requests(keeps) == [1, 1, 1]
    client.close()


def test_read_only_services_are_passed_over(keeps: list[FakeKeep]) -> None:
    client = client_of(keeps, read_only=2)
    client.put(BLOCK, classes=(), replicas=1)
    assert requests(keeps) == [0, 0, 1]
    client.close()


@WRITE_ERROR
def test_too_few_services(keeps: list[FakeKeep]) -> None:
    """More rounds would not help: who has stored it once does not store another copy."""
    client = client_of(keeps, retries=5)
    with pytest.raises(ClusterError, match="3 of 4 copies are stored"):
        client.put(BLOCK, classes=(), replicas=4)
    assert requests(keeps) == [1, 1, 1]
    client.close()


@WRITE_ERROR
def test_a_service_that_has_stored_it_is_not_asked_again(keeps: list[FakeKeep]) -> None:
    keeps[1].bend_all(Bend(status=503))
    keeps[2].bend_all(Bend(status=507))
    client = client_of(keeps, retries=2)
    with pytest.raises(ClusterError, match="1 of 2 copies"):
        client.put(BLOCK, classes=(), replicas=2)
    assert requests(keeps) == [1, 3, 1]
    client.close()


# -- storage classes


def test_every_class_needs_its_copies(keeps: list[FakeKeep]) -> None:
    """The second is asked for what the first has not confirmed, and only for that."""
    keeps[0].bend(Bend(headers={"X-Keep-Storage-Classes-Confirmed": "hot=1"}))
    client = client_of(keeps)
    client.put(BLOCK, classes=("hot", "cold"), replicas=1)
    assert requests(keeps) == [1, 1, 0]
    assert keeps[1].headers[0]["X-Keep-Storage-Classes"] == "cold"
    client.close()


@WRITE_ERROR
@pytest.mark.parametrize("confirmed", ["", "hot=1", "cold=0", "cold", "cold=x", "=1"])
def test_a_class_that_nobody_confirms(keeps: list[FakeKeep], confirmed: str) -> None:
    for keep in keeps:
        keep.bend_all(Bend(headers={"X-Keep-Storage-Classes-Confirmed": confirmed}))
    client = client_of(keeps)
    with pytest.raises(ClusterError, match="too few in storage class cold"):
        client.put(BLOCK, classes=("cold",), replicas=1)
    client.close()


@pytest.mark.expects_log("does not say which storage classes")
def test_services_that_know_no_classes_are_trusted(
    keeps: list[FakeKeep], caplog: pytest.LogCaptureFixture
) -> None:
    for keep in keeps:
        keep.bend_all(Bend(headers={"X-Keep-Storage-Classes-Confirmed": None}))
    client = client_of(keeps)
    for _ in range(2):
        client.put(BLOCK, classes=("hot",), replicas=1)
    assert requests(keeps) == [2, 0, 0]
    assert caplog.text.count("does not say") == 1
    client.close()


# -- failures


@WRITE_ERROR
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AccessRefused),
        (403, AccessRefused),
        (507, NoSpace),
        (400, ClusterError),
        (413, ClusterError),
        (500, ClusterError),
        (503, ClusterError),
        (504, TimedOut),
    ],
)
def test_a_status_of_all_services(
    keeps: list[FakeKeep], status: int, kind: type[FileSystemError]
) -> None:
    for keep in keeps:
        keep.bend_all(Bend(status=status))
    client = client_of(keeps)
    with pytest.raises(kind) as caught:
        client.put(BLOCK, classes=(), replicas=1)
    message = str(caught.value)
    assert all(keep.url in message for keep in keeps)
    assert f"{status}" in message
    assert SECRET not in message
    client.close()


@pytest.mark.parametrize("status", [408, 409, 423, 500, 502, 503, 504])
def test_a_temporary_status_is_tried_again(keeps: list[FakeKeep], status: int) -> None:
    keeps[0].bend(*[Bend(status=status)] * 3)
    client = client_of(keeps[:1], retries=3)
    client.put(BLOCK, classes=(), replicas=1)
    assert requests(keeps) == [4, 0, 0]
    assert keeps[0].connections == 1, "a service that has heard us out keeps its connection"
    client.close()


@WRITE_ERROR
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 413, 507])
def test_a_permanent_status_is_not_tried_again(keeps: list[FakeKeep], status: int) -> None:
    keeps[0].bend_all(Bend(status=status))
    client = client_of(keeps[:1], retries=3)
    with pytest.raises(FileSystemError):
        client.put(BLOCK, classes=(), replicas=1)
    assert requests(keeps) == [1, 0, 0]
    client.close()


@pytest.mark.parametrize("cut_after", [0, 1, 100_000])
def test_a_connection_that_is_cut(keeps: list[FakeKeep], cut_after: int) -> None:
    keeps[0].bend(Bend(cut_after=cut_after))
    client = client_of(keeps)
    assert client.put(BLOCK, classes=(), replicas=1) == locator_of(BLOCK)
    assert requests(keeps) == [1, 1, 0]
    client.close()


def test_a_service_that_answers_early_does_not_get_the_rest(keeps: list[FakeKeep]) -> None:
    bend = Bend(status=503, early=True)
    keeps[0].bend(bend)
    metrics = Metrics()
    client = client_of(keeps, metrics=metrics)
    block = BLOCK * 16
    client.put(block, classes=(), replicas=2)
    bend.go.set()
    assert keeps[0].stored(hashlib.md5(block).hexdigest()) is None
    assert metrics.keep_put_bytes < 3 * len(block), "two copies and a beginning"
    client.close()


@WRITE_ERROR
@pytest.mark.parametrize(
    "body", [b"", b"stored\n", b"\xff\xfe", locator_of(b"other").encode(), b"x" * 100_000]
)
def test_an_answer_that_is_no_locator_of_the_block(keeps: list[FakeKeep], body: bytes) -> None:
    keeps[0].bend_all(Bend(body=body))
    client = client_of(keeps[:1], retries=2)
    with pytest.raises(ClusterError, match="answer"):
        client.put(BLOCK, classes=(), replicas=1)
    client.close()


@WRITE_ERROR
def test_a_silent_service_is_given_up(keeps: list[FakeKeep]) -> None:
    keeps[0].bend_all(Bend(silent=True))
    client = client_of(keeps[:1], low_speed_s=0.05)
    with pytest.raises(TimedOut, match="no answer in time"):
        client.put(b"small", classes=(), replicas=1)
    client.close()


@WRITE_ERROR
def test_a_service_that_stops_taking_the_body_is_given_up(keeps: list[FakeKeep]) -> None:
    keeps[0].bend_all(Bend(pause_after=1000))
    client = client_of(keeps[:1], low_speed_s=0.1)
    with pytest.raises(TimedOut):
        client.put(BLOCK * 8, classes=(), replicas=1)
    client.close()


@WRITE_ERROR
def test_there_is_no_service_at_all() -> None:
    client = impatient_client(retries=2)
    with pytest.raises(ClusterError, match="no more Keep services to try"):
        client.put(BLOCK, classes=(), replicas=1)


def test_what_asking_for_the_services_raises_comes_out() -> None:
    def ask() -> list[dict[str, object]]:
        raise TimedOut("the API server is slow")

    client = impatient_client(services=ServiceList(ask))
    with pytest.raises(TimedOut, match="API server"):
        client.put(BLOCK, classes=(), replicas=1)


# -- ending


def test_close_breaks_off_a_transfer(keeps: list[FakeKeep]) -> None:
    bend = Bend(pause_after=1000)
    keeps[0].bend(bend)
    client = client_of(keeps, retries=5)
    with ThreadPoolExecutor(1) as pool:
        storing = pool.submit(client.put, BLOCK, classes=(), replicas=1)
        assert bend.paused.wait(20)
        client.close()
        with pytest.raises(ClusterUnreachable, match="ending"):
            storing.result(20)
    assert requests(keeps)[0] == 1


def test_close_ends_the_wait_between_rounds(keeps: list[FakeKeep]) -> None:
    keeps[0].bend_all(Bend(status=503))
    client = client_of(keeps[:1], retries=5, backoff_s=600.0)
    with ThreadPoolExecutor(1) as pool:
        storing = pool.submit(client.put, BLOCK, classes=(), replicas=1)
        assert is_waiting(storing)
        client.close()
        with pytest.raises(ClusterUnreachable, match="ending"):
            storing.result(20)


# -- a real cluster


@WRITE_ERROR
def test_a_cluster_takes_a_chunk_and_gives_it_back(tmp_path: Path) -> None:
    """As the journal hands it out; in a storage class that it has, and not in another."""
    chunk = create_chunk(tmp_path, 1, Room(0))
    chunk.append(BLOCK)
    with RunningCluster(tmp_path / "cluster") as cluster:
        client = KeepClient(
            ServiceList(list, keep_services=cluster.keep_url()),
            lambda: cluster.env["ARVADOS_API_TOKEN"],
            insecure=True,
            retries=0,
            metrics=Metrics(),
        )
        with chunk.view() as view:
            locator = client.put(view, classes=("default",), replicas=1)
        assert locator.startswith(f"{HASH}+{len(BLOCK)}+A")
        memory = bytearray(len(BLOCK))
        client.get(locator, memoryview(memory), lambda _: None, lambda: None)
        assert memory == BLOCK
        with pytest.raises(NoSpace, match="storage class"), chunk.view() as view:
            client.put(view, classes=("archive",), replicas=1)
        client.close()


# -- secrets


@WRITE_ERROR
def test_no_secret_is_logged(keeps: list[FakeKeep], caplog: pytest.LogCaptureFixture) -> None:
    keeps[0].bend(Bend(cut_after=5), Bend(status=503), Bend(status=401))
    client = client_of(keeps, retries=2)
    with caplog.at_level(logging.DEBUG), pytest.raises(FileSystemError):
        client.put(BLOCK, classes=("hot",), replicas=4)
    assert HASH in caplog.text
    assert SIGNATURE not in caplog.text
    assert SECRET not in caplog.text
    client.close()
