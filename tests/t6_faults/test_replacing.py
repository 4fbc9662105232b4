"""The whole content of a collection is replaced while another client changes it."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from arvados_fuse.api import ArvadosCluster
from arvados_fuse.api.writing import ArvadosWriting
from arvados_fuse.metrics import Metrics
from tests.support.contents import create

pytestmark = pytest.mark.usefixtures("no_faults")

OURS = ". d41d8cd98f00b204e9800998ecf8427e+0 0:0:ours\n"
THEIRS = ". d41d8cd98f00b204e9800998ecf8427e+0 0:0:theirs\n"


@pytest.fixture
def writing(cluster):
    connected = ArvadosCluster(
        cluster.env["ARVADOS_API_HOST"],
        cluster.env["ARVADOS_API_TOKEN"],
        insecure=True,
        retries=0,
        metrics=Metrics(),
    )
    return ArvadosWriting(connected.connection)


@pytest.fixture
def record(cluster):
    return create(cluster.api(), "to be replaced", {"before": b"before"})


def test_what_is_as_expected_is_replaced(cluster, writing, record):
    replaced = writing.replace(record["uuid"], OURS, record["portable_data_hash"])
    assert replaced.before is None
    assert ":ours" in replaced.content.manifest_text
    now = cluster.api().collections().get(uuid=record["uuid"]).execute()
    assert now["portable_data_hash"] == replaced.content.item.portable_data_hash


def test_the_same_content_again_is_no_change_by_others(cluster, writing, record):
    first = writing.replace(record["uuid"], OURS, record["portable_data_hash"])
    again = writing.replace(record["uuid"], OURS, first.content.item.portable_data_hash)
    assert again.before is None


def test_what_is_not_as_expected_stays(cluster, writing, record):
    assert writing.replace(record["uuid"], OURS, "0" * 32 + "+0") is None
    now = cluster.api().collections().get(uuid=record["uuid"]).execute()
    assert now["portable_data_hash"] == record["portable_data_hash"]


def test_what_others_did_in_the_moment_between_is_told(cluster, writing, record):
    uuid = record["uuid"]
    late = {"route": "api", "method": "PUT", "path": uuid, "latency_s": 1.0, "times": 1}
    cluster.set_faults([late])
    cluster.request_counts(reset=True)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(writing.replace, uuid, OURS, record["portable_data_hash"])
        while cluster.request_counts().get("PUT /arvados/v1/collections/{uuid}", 0) < 1:
            assert not answer.done(), cluster.request_counts()
            time.sleep(0.01)
        body = {"collection": {"manifest_text": THEIRS}}
        cluster.api().collections().update(uuid=uuid, body=body).execute()
        replaced = answer.result()
    assert ":ours" in replaced.content.manifest_text
    assert ":theirs" in replaced.before.manifest_text
