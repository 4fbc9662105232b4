"""A standalone cluster with several Keep services: copies, fail-over, growth."""

import hashlib

import arvados.errors
import arvados.keep
import pytest

from arvados_fuse.standalone import directory
from tests.support.cluster import RunningCluster


@pytest.fixture
def place(tmp_path):
    return tmp_path / "cluster"


@pytest.fixture
def cluster(place):
    with RunningCluster(place, "--keep-services", "3", "--sample") as running:
        yield running


def keep_client(cluster):
    """The official client, without a cache and without patience."""
    return arvados.keep.KeepClient(api_client=cluster.api(), num_retries=0, block_cache=NoCache())


class NoCache(arvados.keep.KeepBlockCache):
    """A cache that forgets everything at once."""

    def __init__(self):
        super().__init__(cache_max=1)


def services(cluster):
    return cluster.api().keep_services().accessible().execute()["items"]


def holders(cluster, block_hash):
    """The numbers of the services that hold a block."""
    stores = [directory.block_store(cluster.dir, number) for number in range(3)]
    return [n for n, store in enumerate(stores) if (store / block_hash[:3] / block_hash).exists()]


def test_each_service_has_a_port_and_blocks_of_its_own(cluster):
    found = services(cluster)
    assert len({service["service_port"] for service in found}) == 3
    assert len({service["uuid"] for service in found}) == 3
    assert {service["service_type"] for service in found} == {"disk"}
    assert cluster.api()._rootDesc["defaultCollectionReplication"] == 2


def test_as_many_copies_are_stored_as_are_wanted(cluster):
    keep = keep_client(cluster)
    for copies in (1, 2, 3):
        content = f"{copies} copies".encode()
        keep.put(content, copies=copies)
        # The official client sometimes stores one more.
        assert len(holders(cluster, hashlib.md5(content).hexdigest())) >= copies
    with pytest.raises(arvados.errors.KeepWriteError):
        keep.put(b"four copies", copies=4)


def test_copies_are_where_clients_look_first(cluster):
    content = b"foo"
    block_hash = hashlib.md5(content).hexdigest()
    keep_client(cluster).put(content, copies=2)
    weights = [
        hashlib.md5(f"{block_hash}{service['uuid'][-15:]}".encode()).hexdigest()
        for service in services(cluster)
    ]
    best = sorted(range(3), key=lambda number: weights[number], reverse=True)[:2]
    assert set(best) <= set(holders(cluster, block_hash))


def test_block_is_read_from_the_other_copy(cluster):
    locator = keep_client(cluster).put(b"content", copies=2)
    ports = [service["service_port"] for service in services(cluster)]
    for number in holders(cluster, locator[:32]):
        cluster.set_faults([{"route": "keep", "port": ports[number], "status": 503}])
        assert keep_client(cluster).get(locator) == b"content"
    cluster.set_faults([{"route": "keep", "status": 503}])
    with pytest.raises(arvados.errors.KeepReadError):
        keep_client(cluster).get(locator)


def test_sample_is_stored_twice(cluster):
    (primes,) = cluster.api().collections().list(filters=[["name", "=", "Primes"]]).execute()[
        "items"
    ]  # fmt: skip
    text = cluster.api().collections().get(uuid=primes["uuid"]).execute()["manifest_text"]
    assert len(holders(cluster, text.split(" ")[1][:32])) == 2


def test_number_stays_and_can_grow_but_not_shrink(place):
    with RunningCluster(place) as one:
        locator = keep_client(one).put(b"old", copies=1)
    with RunningCluster(place, "--keep-services", "2") as two:
        ports = [service["service_port"] for service in services(two)]
        assert len(ports) == 2
        assert keep_client(two).get(locator) == b"old"
    with RunningCluster(place) as again:
        assert [service["service_port"] for service in services(again)] == ports
    with pytest.raises(AssertionError, match="has had 2 Keep services"):
        RunningCluster(place, "--keep-services", "1").start()
