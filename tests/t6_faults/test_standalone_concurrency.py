"""Clients that change one collection of the standalone cluster at the same time."""

from concurrent.futures import ThreadPoolExecutor

import pytest

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"
COLLECTIONS = "/arvados/v1/collections"
CLIENTS = 8
EACH = 5


@pytest.fixture
def collection(cluster):
    return cluster.request("POST", COLLECTIONS, {"manifest_text": f". {FOO} 0:3:foo\n"})[1]["uuid"]


def at_once(work):
    """Let all clients work at the same time; return what each got."""
    with ThreadPoolExecutor(CLIENTS) as threads:
        return list(threads.map(work, range(CLIENTS)))


def test_no_edit_overwrites_another(cluster, collection):
    def work(client):
        for number in range(EACH):
            edit = {"replace_files": {f"/d{client % 2}/file-{client}-{number}": "current/foo"}}
            status, answer = cluster.request("PUT", f"{COLLECTIONS}/{collection}", edit)
            assert status == 200, answer

    at_once(work)
    record = cluster.request("GET", f"{COLLECTIONS}/{collection}")[1]
    assert record["file_count"] == 1 + CLIENTS * EACH
    for client in range(CLIENTS):
        for number in range(EACH):
            assert f":file-{client}-{number}" in record["manifest_text"]


def test_one_file_is_renamed_once(cluster, collection):
    def work(client):
        edit = {"replace_files": {f"/taken-by-{client}": "current/foo", "/foo": ""}}
        return cluster.request("PUT", f"{COLLECTIONS}/{collection}", edit)[0]

    statuses = at_once(work)
    assert sorted(statuses) == [200] + [400] * (CLIENTS - 1)
    record = cluster.request("GET", f"{COLLECTIONS}/{collection}")[1]
    assert record["manifest_text"].endswith(f" 0:3:taken-by-{statuses.index(200)}\n")
    assert record["file_count"] == 1
