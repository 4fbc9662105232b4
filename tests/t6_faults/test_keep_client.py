"""Reading blocks from Keep services that answer badly, late, or not at all."""

import datetime
import ipaddress
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from arvados_fuse.errors import (
    AccessRefused,
    BlockCorrupt,
    BlockLost,
    ClusterError,
    ClusterUnreachable,
    FileSystemError,
    TimedOut,
)
from arvados_fuse.keep import connections
from arvados_fuse.keep.client import KeepClient
from arvados_fuse.keep.services import ServiceList
from arvados_fuse.metrics import Metrics
from tests.support.fake_keep import SIGNATURE, Bend, FakeKeep, impatient_client, is_waiting
from tests.support.sleeping import Machine

BLOCK = bytes(range(256)) * 1024  # 256 KiB
SECRET = "secret"


class Sink:
    """Memory for a block, and what was said about it on the way."""

    def __init__(self, size: int = len(BLOCK)) -> None:
        self.memory = memoryview(bytearray(size))
        self.arrived: list[int] = []
        self.restarts: list[int] = []

    def fetch(self, client: KeepClient, locator: str) -> bytes:
        client.get(locator, self.memory, self.arrived.append, self.restarted)
        return bytes(self.memory)

    def restarted(self) -> None:
        self.restarts.append(self.arrived[-1] if self.arrived else 0)


@pytest.fixture
def keep() -> Iterator[FakeKeep]:
    with FakeKeep() as keep:
        yield keep


@pytest.fixture
def pair() -> Iterator[tuple[FakeKeep, FakeKeep, str]]:
    """Two services that have one block."""
    with FakeKeep() as first, FakeKeep() as second:
        first.store(BLOCK)
        yield first, second, second.store(BLOCK)


def client_of(pair: tuple[FakeKeep, FakeKeep, str], retries: int = 0) -> KeepClient:
    """A client that asks the first of a pair first."""
    first, second, locator = pair
    records = in_order(locator, first.record(0), second.record(1))
    return impatient_client(services=ServiceList(lambda: records), retries=retries)


def in_order(locator: str, *records: dict[str, object]) -> list[dict[str, object]]:
    """Records with uuids exchanged such that the services are asked for a block in this order."""
    services = ServiceList(lambda: records).for_block(locator[:32], ())
    return [
        {**record, "uuid": service.uuid} for record, service in zip(records, services, strict=True)
    ]


def refused_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# -- one of several is silent


def test_a_silent_service_is_waited_for_once_and_asked_last_then(
    pair: tuple[FakeKeep, FakeKeep, str],
) -> None:
    first, second, locator = pair
    first.bend_all(Bend(silent=True))
    client = impatient_client(
        services=ServiceList(lambda: in_order(locator, first.record(0), second.record(1))),
        low_speed_s=0.2,
    )
    for _ in range(5):
        assert Sink().fetch(client, locator) == BLOCK
    assert (len(first.requests), len(second.requests)) == (1, 5)
    client.close()


def test_a_service_that_was_silent_is_asked_again_when_others_fail(
    pair: tuple[FakeKeep, FakeKeep, str],
) -> None:
    first, second, locator = pair
    first.bend(Bend(silent=True))
    client = impatient_client(
        services=ServiceList(lambda: in_order(locator, first.record(0), second.record(1))),
        low_speed_s=0.2,
    )
    assert Sink().fetch(client, locator) == BLOCK
    second.bend_all(Bend(status=404))
    assert Sink().fetch(client, locator) == BLOCK
    second.bend_all(Bend())
    assert Sink().fetch(client, locator) == BLOCK
    assert len(first.requests) == 3, "it works again, and is the first to be asked"
    client.close()


# -- the end of patience


def test_a_block_that_has_failed_for_long_is_given_up_whatever_retries_are_left(
    keep: FakeKeep,
) -> None:
    """Services that are silent in each round would keep a reader for the better part of an hour."""
    locator = keep.store(BLOCK)
    keep.bend_all(Bend(status=503))
    client = impatient_client(keep, retries=1000, trying_s=0.0)
    with pytest.raises(ClusterError):
        Sink().fetch(client, locator)
    assert len(keep.requests) == 1
    client.close()


# -- the plain way


def test_a_block_is_streamed_into_its_place(keep: FakeKeep) -> None:
    metrics = Metrics()
    client = impatient_client(keep, metrics=metrics)
    sink = Sink()
    assert sink.fetch(client, keep.store(BLOCK)) == BLOCK
    assert sink.arrived == sorted(sink.arrived)
    assert sink.arrived[-1] == len(BLOCK)
    assert not sink.restarts
    assert (metrics.keep_get_calls, metrics.keep_get_bytes) == (1, len(BLOCK))
    client.close()


def test_the_request_is_that_of_the_arvados_clients(keep: FakeKeep) -> None:
    locator = keep.store(BLOCK) + "+Zhint"
    client = impatient_client(keep)
    Sink().fetch(client, locator)
    assert keep.requests == [f"/{locator}"]
    headers = keep.headers[0]
    assert headers["Authorization"] == "Bearer v2/zzzzz-gj3su-000000000000000/secret"
    assert headers["Accept"] == "application/octet-stream"
    assert headers["X-Request-Id"].startswith("req-")
    assert len(headers["X-Request-Id"]) == 24
    client.close()


def test_the_empty_block_needs_no_request(keep: FakeKeep) -> None:
    client = impatient_client(keep)
    assert Sink(0).fetch(client, "d41d8cd98f00b204e9800998ecf8427e+0") == b""
    assert not keep.requests


def test_the_first_page_is_announced_while_the_server_still_sends(keep: FakeKeep) -> None:
    bend = Bend(pause_after=4096)
    keep.bend(bend)
    client = impatient_client(keep)
    sink = Sink()
    first = threading.Event()

    def progress(arrived: int) -> None:
        sink.arrived.append(arrived)
        first.set()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(client.get, keep.store(BLOCK), sink.memory, progress, sink.restarted)
        assert first.wait(20)
        assert sink.arrived == [4096]
        assert bytes(sink.memory[:4096]) == BLOCK[:4096]
        bend.go.set()
        done.result(20)
    client.close()


def test_a_token_with_a_line_break_is_refused_and_not_shown(keep: FakeKeep) -> None:
    client = KeepClient(
        ServiceList(lambda: [keep.record(0)]),
        lambda: f"v2/x/{SECRET}\n",
        insecure=False,
        retries=0,
        metrics=Metrics(),
    )
    with pytest.raises(AccessRefused) as caught:
        Sink().fetch(client, keep.store(BLOCK))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    client.close()


# -- connections


def test_one_connection_serves_many_requests(keep: FakeKeep) -> None:
    client = impatient_client(keep)
    locator = keep.store(BLOCK)
    for _ in range(5):
        assert Sink().fetch(client, locator) == BLOCK
    assert (len(keep.requests), keep.connections) == (5, 1)
    client.close()


def test_an_error_answer_does_not_cost_the_connection(keep: FakeKeep) -> None:
    client = impatient_client(keep)
    locator = keep.store(BLOCK)
    keep.bend(Bend(status=404))
    with pytest.raises(BlockLost):
        Sink().fetch(client, locator)
    assert Sink().fetch(client, locator) == BLOCK
    assert keep.connections == 1
    client.close()


def test_a_connection_that_the_server_closed_costs_no_try(keep: FakeKeep) -> None:
    client = impatient_client(keep, retries=0)
    locator = keep.store(BLOCK)
    keep.bend(Bend(hang_up=True))
    for _ in range(2):
        assert Sink().fetch(client, locator) == BLOCK
    assert (len(keep.requests), keep.connections) == (2, 2)
    client.close()


def test_a_connection_that_was_long_unused_is_not_tried(
    keep: FakeKeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NAT may have forgotten it without telling us, and the request would wait for nothing."""
    client = impatient_client(keep)
    locator = keep.store(BLOCK)
    Sink().fetch(client, locator)
    monkeypatch.setattr(connections, "_IDLE_LIMIT_S", -1.0)
    Sink().fetch(client, locator)
    assert keep.connections == 2
    client.close()


def test_a_connection_from_before_the_machine_slept_is_not_tried(
    keep: FakeKeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch)
    client = impatient_client(keep)
    locator = keep.store(BLOCK)
    Sink().fetch(client, locator)
    machine.sleep(60.0)
    Sink().fetch(client, locator)
    assert keep.connections == 2
    client.close()


def test_a_fresh_connection_that_is_closed_is_a_failed_try(keep: FakeKeep) -> None:
    bend = Bend(silent=True)
    bend.go.set()
    keep.bend(bend)
    client = impatient_client(keep, retries=0)
    with pytest.raises(ClusterUnreachable):
        Sink().fetch(client, keep.store(BLOCK))
    client.close()


def test_eight_threads_use_eight_connections_at_most(keep: FakeKeep) -> None:
    client = impatient_client(keep)
    locator = keep.store(BLOCK)
    with ThreadPoolExecutor(8) as pool:
        for content in pool.map(lambda _: Sink().fetch(client, locator), range(40)):
            assert content == BLOCK
    assert keep.connections <= 8
    client.close()


# -- wrong bytes


@pytest.mark.expects_log("another checksum")
def test_a_corrupt_copy_is_replaced_by_a_good_one(pair: tuple[FakeKeep, FakeKeep, str]) -> None:
    first, second, locator = pair
    first.bend_all(Bend(body=bytes(len(BLOCK))))
    client = client_of(pair)
    sink = Sink()
    assert sink.fetch(client, locator) == BLOCK
    assert sink.restarts == [len(BLOCK)], "before the good bytes came, the bad ones were voided"
    assert (len(first.requests), len(second.requests)) == (1, 1)
    client.close()


@pytest.mark.expects_log("another checksum")
def test_a_block_that_is_corrupt_everywhere(pair: tuple[FakeKeep, FakeKeep, str]) -> None:
    """Each service gets a second chance, as the accident may have been on the way; no third."""
    first, second, locator = pair
    for each in (first, second):
        each.bend_all(Bend(body=bytes(len(BLOCK))))
    client = client_of(pair, retries=5)
    with pytest.raises(BlockCorrupt, match=locator[:32]):
        Sink().fetch(client, locator)
    assert (len(first.requests), len(second.requests)) == (2, 2)
    client.close()


@pytest.mark.expects_log("announced")
@pytest.mark.parametrize(
    "bend",
    [
        Bend(body=BLOCK[:-1]),
        Bend(body=BLOCK + b"x"),
        Bend(announce=-1, hang_up=True),
        Bend(body=b""),
    ],
    ids=["shorter", "longer", "no length", "empty"],
)
def test_an_answer_of_another_length_is_refused_unread(keep: FakeKeep, bend: Bend) -> None:
    keep.bend(bend)
    client = impatient_client(keep)
    sink = Sink()
    with pytest.raises(BlockCorrupt):
        sink.fetch(client, keep.store(BLOCK))
    assert not sink.arrived
    assert sink.fetch(client, keep.store(BLOCK)) == BLOCK, "the connection was not reused"
    client.close()


@pytest.mark.parametrize("cut_after", [0, 1, 4096, 100_000, len(BLOCK) - 1])
def test_a_connection_that_is_cut(pair: tuple[FakeKeep, FakeKeep, str], cut_after: int) -> None:
    first, second, locator = pair
    first.bend(Bend(cut_after=cut_after))
    client = client_of(pair)
    sink = Sink()
    assert sink.fetch(client, locator) == BLOCK
    assert sink.restarts == [cut_after]
    assert len(second.requests) == 1
    client.close()


# -- statuses


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, BlockLost),
        (403, AccessRefused),
        (401, AccessRefused),
        (400, AccessRefused),
        (500, ClusterError),
        (503, ClusterError),
    ],
)
def test_a_status_of_all_services(
    pair: tuple[FakeKeep, FakeKeep, str], status: int, kind: type[FileSystemError]
) -> None:
    first, second, locator = pair
    for each in (first, second):
        each.bend_all(Bend(status=status))
    client = client_of(pair)
    with pytest.raises(kind) as caught:
        Sink().fetch(client, locator)
    message = str(caught.value)
    assert all(words in message for words in (locator[:32], first.url, second.url, str(status)))
    assert SIGNATURE not in message
    assert SECRET not in message
    client.close()


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_temporary_status_is_tried_again(keep: FakeKeep, status: int) -> None:
    keep.bend(*[Bend(status=status)] * 3)
    client = impatient_client(keep, retries=3)
    assert Sink().fetch(client, keep.store(BLOCK)) == BLOCK
    assert len(keep.requests) == 4
    client.close()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 302])
def test_a_permanent_status_is_not_tried_again(keep: FakeKeep, status: int) -> None:
    keep.bend_all(Bend(status=status))
    client = impatient_client(keep, retries=3)
    with pytest.raises(FileSystemError):
        Sink().fetch(client, keep.store(BLOCK))
    assert len(keep.requests) == 1
    client.close()


def test_only_services_that_may_still_have_it_are_asked_again(
    pair: tuple[FakeKeep, FakeKeep, str],
) -> None:
    first, second, locator = pair
    first.bend_all(Bend(status=404))
    second.bend(Bend(status=503))
    client = client_of(pair, retries=1)
    assert Sink().fetch(client, locator) == BLOCK
    assert (len(first.requests), len(second.requests)) == (1, 2)
    client.close()


def test_the_list_of_services_is_refreshed_between_rounds(keep: FakeKeep) -> None:
    """A service that moved to another port is found again."""
    gone = keep.record(0) | {"service_port": refused_port()}
    answers = [[gone], [keep.record(0)]]
    client = impatient_client(services=ServiceList(lambda: answers.pop(0)), retries=1)
    assert Sink().fetch(client, keep.store(BLOCK)) == BLOCK
    client.close()


# -- no answer


def test_a_service_that_refuses_connections_is_passed_over(keep: FakeKeep) -> None:
    locator = keep.store(BLOCK)
    records = in_order(locator, keep.record(0) | {"service_port": refused_port()}, keep.record(1))
    metrics = Metrics()
    client = impatient_client(services=ServiceList(lambda: records), metrics=metrics)
    assert Sink().fetch(client, locator) == BLOCK
    assert metrics.keep_get_calls == 2
    client.close()


def test_nobody_listens() -> None:
    port = refused_port()
    proxy = ServiceList(list, keep_proxy=f"http://127.0.0.1:{port}/")
    client = impatient_client(services=proxy, retries=2)
    with pytest.raises(ClusterUnreachable, match=f"127.0.0.1:{port}/ said: .*refused"):
        Sink().fetch(client, f"{'0' * 32}+{len(BLOCK)}")
    client.close()


def test_there_is_no_service_at_all() -> None:
    client = impatient_client(retries=2)
    with pytest.raises(ClusterUnreachable, match="names no Keep service"):
        Sink().fetch(client, f"{'0' * 32}+{len(BLOCK)}")
    client.close()


def test_what_asking_for_the_services_raises_comes_out() -> None:
    def ask() -> list[dict[str, object]]:
        raise TimedOut("the API server is slow")

    client = impatient_client(services=ServiceList(ask))
    with pytest.raises(TimedOut, match="API server"):
        Sink().fetch(client, f"{'0' * 32}+{len(BLOCK)}")
    client.close()


def test_a_silent_service_is_given_up(keep: FakeKeep) -> None:
    keep.bend_all(Bend(silent=True))
    client = impatient_client(keep, low_speed_s=0.05)
    with pytest.raises(TimedOut, match="no answer in time"):
        Sink().fetch(client, keep.store(BLOCK))
    client.close()


def test_a_body_that_stops_is_given_up(keep: FakeKeep) -> None:
    keep.bend_all(Bend(pause_after=10_000))
    client = impatient_client(keep, low_speed_s=0.05)
    sink = Sink()
    with pytest.raises(TimedOut, match="no answer in time"):
        sink.fetch(client, keep.store(BLOCK))
    assert sink.restarts == [10_000]
    client.close()


def test_a_body_that_trickles_is_given_up(keep: FakeKeep) -> None:
    """Each byte comes in time for the socket; only their rate is too low."""
    keep.bend_all(Bend(trickle=0.005))
    client = impatient_client(keep, low_speed_s=0.2)
    with pytest.raises(TimedOut, match=r"only \d+ bytes in 0\.2 s"):
        Sink().fetch(client, keep.store(BLOCK))
    client.close()


# -- ending


def test_close_breaks_off_a_transfer(keep: FakeKeep) -> None:
    bend = Bend(pause_after=10_000)
    keep.bend(bend)
    client = impatient_client(keep, retries=5)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(Sink().fetch, client, keep.store(BLOCK))
        assert bend.paused.wait(20)
        client.close()
        with pytest.raises(ClusterUnreachable, match="ending"):
            reading.result(20)
    assert len(keep.requests) == 1


def test_close_ends_the_wait_between_rounds(keep: FakeKeep) -> None:
    keep.bend_all(Bend(status=503))
    client = impatient_client(keep, retries=5, backoff_s=600.0)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(Sink().fetch, client, keep.store(BLOCK))
        assert is_waiting(reading)
        client.close()
        with pytest.raises(ClusterUnreachable, match="ending"):
            reading.result(20)


def test_what_progress_raises_ends_the_transfer(keep: FakeKeep) -> None:
    client = impatient_client(keep, retries=5)
    locator = keep.store(BLOCK)

    def stop(_arrived: int) -> None:
        raise BlockLost("enough")

    with pytest.raises(BlockLost, match="enough"):
        client.get(locator, Sink().memory, stop, lambda: None)
    assert len(keep.requests) == 1
    assert Sink().fetch(client, locator) == BLOCK
    assert keep.connections == 2, "a connection with half a body on it is not used again"
    client.close()


# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fake keep")])
    now = datetime.datetime.now(datetime.timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "keep.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def tls_keep(certificate: Path) -> Iterator[FakeKeep]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FakeKeep(context) as keep:
        yield keep


def tls_client(keep: FakeKeep, *, insecure: bool, ca_file: Path | None) -> KeepClient:
    return KeepClient(
        ServiceList(lambda: [keep.record(0)]),
        lambda: "token",
        insecure=insecure,
        ca_file=str(ca_file) if ca_file else None,
        retries=0,
        metrics=Metrics(),
    )


def test_tls_with_a_trusted_authority(tls_keep: FakeKeep, certificate: Path) -> None:
    client = tls_client(tls_keep, insecure=False, ca_file=certificate)
    locator = tls_keep.store(BLOCK)
    for _ in range(2):
        assert Sink().fetch(client, locator) == BLOCK
    assert tls_keep.connections == 1
    client.close()


def test_tls_without_verification(tls_keep: FakeKeep) -> None:
    client = tls_client(tls_keep, insecure=True, ca_file=None)
    assert Sink().fetch(client, tls_keep.store(BLOCK)) == BLOCK
    client.close()


def test_a_certificate_that_is_not_trusted_is_refused_without_a_retry(tls_keep: FakeKeep) -> None:
    client = tls_client(tls_keep, insecure=False, ca_file=None)
    with pytest.raises(ClusterUnreachable, match="certificate is not trusted"):
        Sink().fetch(client, tls_keep.store(BLOCK))
    assert not tls_keep.requests, "the token was not sent"
    client.close()


# -- secrets


@pytest.mark.expects_log("another checksum")
def test_no_secret_is_logged(
    pair: tuple[FakeKeep, FakeKeep, str], caplog: pytest.LogCaptureFixture
) -> None:
    first, second, locator = pair
    first.bend(Bend(body=bytes(len(BLOCK))), Bend(cut_after=5), Bend(status=401))
    second.bend(Bend(status=503), Bend(status=500), Bend(status=404))
    client = client_of(pair, retries=2)
    with caplog.at_level(logging.DEBUG), pytest.raises(AccessRefused):
        Sink().fetch(client, locator)
    assert locator[:32] in caplog.text
    assert SIGNATURE not in caplog.text
    assert SECRET not in caplog.text
    client.close()
