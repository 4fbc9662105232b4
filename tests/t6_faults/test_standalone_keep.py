"""The Keep service of the standalone cluster, request by request, on good and damaged disks."""

import hashlib
import http.client
import os
import socket
import time

import pytest

from tests.support.cluster import RunningCluster
from tests.support.contents import BLOCK, pseudo_random
from tests.support.keep_client import KeepClient

EMPTY = "d41d8cd98f00b204e9800998ecf8427e"


@pytest.fixture(scope="module")
def keep(cluster):
    return KeepClient(cluster)


@pytest.fixture(scope="module")
def large():
    return pseudo_random(3_000_000, seed=1)


def damage(path, offset):
    """Flip a bit of a file, without a change of its size."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def incoming(cluster):
    """Names of blocks that are being written."""
    return list((cluster.dir / "blocks" / "incoming").iterdir())


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 65537, 1 << 20, 3_000_000, BLOCK])
def test_block_goes_there_and_back(keep, size):
    content = pseudo_random(size, seed=size)
    locator = keep.put(content)
    assert locator.startswith(f"{hashlib.md5(content).hexdigest()}+{size}+A")
    for _ in range(2):  # the second time it is known to be good
        status, headers, body = keep.get(locator)
        assert status == 200
        assert headers["Content-Length"] == str(size)
        assert headers["Vary"] == "X-Keep-Signature"
        assert body == content


def test_block_is_a_file(cluster, keep):
    keep.put(b"foo")
    assert cluster.block_path(hashlib.md5(b"foo").hexdigest()).read_bytes() == b"foo"


def test_large_block_is_good_after_a_restart(cluster, keep, large):
    """Nothing is remembered: the checksum is computed while the block is being sent."""
    locator = keep.put(large)
    cluster.restart()
    assert keep.get(locator)[2] == large


def test_answer_to_put_says_what_was_stored(keep):
    block_hash = hashlib.md5(b"x").hexdigest()
    _, headers, _ = keep.request("PUT", f"/{block_hash}", b"x")
    assert headers["X-Keep-Replicas-Stored"] == "1"
    assert headers["X-Keep-Storage-Classes-Confirmed"] == "default=1"


def test_put_without_a_token_is_not_signed(keep):
    assert keep.put(b"foo", token=None) == "acbd18db4cc2f85cedef654fccc4a4d8+3"


def test_put_in_chunks_has_no_length(keep):
    pieces = [b"a" * 10, b"b" * 100_000, b"c"]
    block_hash = hashlib.md5(b"".join(pieces)).hexdigest()
    assert keep.request("PUT", f"/{block_hash}", iter(pieces))[0] == 200


@pytest.mark.parametrize(
    ("classes", "status"), [("default", 200), ("other, default", 200), ("other", 507)]
)
def test_storage_classes(keep, classes, status):
    headers = {"X-Keep-Storage-Classes": classes}
    block_hash = hashlib.md5(b"x").hexdigest()
    found, answer, _ = keep.request("PUT", f"/{block_hash}", b"x", headers=headers)
    assert found == status
    if status == 200:
        assert answer["X-Keep-Storage-Classes-Confirmed"] == "default=1"


def test_put_of_other_content_is_refused(cluster, keep):
    wrong = "0" * 32
    assert keep.request("PUT", f"/{wrong}", b"foo")[0] == 400
    assert not cluster.block_path(wrong).exists()
    assert incoming(cluster) == []


def test_hints_and_a_second_slash_are_tolerated(keep):
    locator = keep.put(b"foo")
    assert keep.request("PUT", f"/{locator}", b"foo")[0] == 200
    assert keep.request("GET", f"//{locator}")[2] == b"foo"
    assert keep.get(locator + "+Zhint")[2] == b"foo"


def test_head_has_the_size_and_no_body(keep):
    locator = keep.put(b"foo")
    status, headers, body = keep.request("HEAD", f"/{locator}")
    assert (status, headers["Content-Length"], body) == (200, "3", b"")
    block_hash, _, signature = locator.split("+")
    assert keep.request("HEAD", f"/{block_hash}+{signature}")[0] == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda locator: "nonsense", 400),
        (lambda locator: locator.upper(), 400),
        (lambda locator: locator.partition("+A")[0], 400),
        (lambda locator: locator.replace("+A", "+A0"), 400),
        (lambda locator: "1" + locator[1:], 400),
        (lambda locator: locator.replace("+3", "+4"), 400),
        (lambda locator: locator.replace("+3", ""), 405),
        (lambda locator: locator.partition("+A")[0] + "+Rzzzzz-" + "0" * 40 + "@7fffffff", 400),
        (lambda locator: "index", 400),
    ],
)
def test_status_of_bad_locators(keep, change, status):
    assert keep.get(change(keep.put(b"foo")))[0] == status


def test_status_of_bad_tokens(keep):
    locator = keep.put(b"foo")
    assert keep.get(locator, token=None)[0] == 401
    assert keep.get(locator, token="other")[0] == 400
    # The other spelling of the same token is not what the signature was made for.
    assert keep.get(locator, token=keep.token.rpartition("/")[2])[0] == 400


def test_status_of_other_requests(keep):
    assert keep.request("DELETE", "/nonsense")[0] == 400
    assert keep.request("POST", "/", b"foo")[0] == 400
    status, headers, body = keep.request("OPTIONS", "/x")
    assert (status, headers["Access-Control-Allow-Origin"], body) == (200, "*", b"")


def test_block_that_is_not_there_is_404(cluster, keep):
    locator = keep.put(b"soon gone")
    cluster.block_path(locator[:32]).unlink()
    assert keep.get(locator)[0] == 404
    assert keep.request("HEAD", f"/{locator}")[0] == 404


def test_empty_block_is_a_block_like_any_other(keep):
    locator = keep.put(b"")
    assert keep.get(locator)[2] == b""
    assert keep.get(EMPTY)[0] == 400
    assert keep.get(locator.replace("+0", ""))[0] == 200


class TestLimit:
    """Blocks of more than 64 MiB."""

    def test_announced_size_is_refused_before_the_body_is_sent(self, keep):
        with socket.create_connection(keep.address.split(":"), timeout=10) as client:
            client.sendall(
                f"PUT /{EMPTY} HTTP/1.1\r\nHost: x\r\nContent-Length: {BLOCK + 1}\r\n"
                "Expect: 100-continue\r\n\r\n".encode()
            )
            assert client.recv(1000).startswith(b"HTTP/1.1 413 ")

    def test_body_that_gets_too_long_is_refused(self, cluster, keep):
        pieces = (bytes(1 << 20) for _ in range(66))
        try:
            status = keep.request("PUT", f"/{EMPTY}", pieces)[0]
        except ConnectionError:
            status = 413  # the answer came, and the connection was closed, in the middle of it
        assert status == 413
        assert incoming(cluster) == []

    def test_100_continue_is_answered_at_once(self, keep):
        content = b"foo"
        with socket.create_connection(keep.address.split(":"), timeout=10) as client:
            client.sendall(
                f"PUT /{hashlib.md5(content).hexdigest()} HTTP/1.1\r\nHost: x\r\n"
                f"Content-Length: {len(content)}\r\nExpect: 100-continue\r\n\r\n".encode()
            )
            assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(content)
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")


class TestDamage:
    """Blocks whose file has changed."""

    def test_small_block_is_502(self, cluster, keep):
        locator = keep.put(b"small")
        damage(cluster.block_path(locator[:32]), 2)
        assert keep.get(locator)[0] == 502
        assert keep.request("HEAD", f"/{locator}")[0] == 502

    @pytest.mark.parametrize("offset", [0, 1_500_000, 2_999_999])
    def test_large_block_is_cut_before_its_end(self, cluster, keep, large, offset):
        locator = keep.put(large)
        damage(cluster.block_path(locator[:32]), offset)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)) as caught:
            keep.get(locator)
        if isinstance(caught.value, http.client.IncompleteRead):
            assert caught.value.expected > 0
        assert keep.request("HEAD", f"/{locator}")[0] == 502
        keep.put(large)  # repairs it
        assert keep.get(locator)[2] == large

    def test_shortened_block_is_502(self, cluster, keep, large):
        locator = keep.put(large)
        os.truncate(cluster.block_path(locator[:32]), 1_000_000)
        assert keep.get(locator)[0] == 502
        keep.put(large)


class TestClientsThatGo:
    """Connections that end in the middle."""

    def wait_until_idle(self, cluster):
        deadline = time.monotonic() + 10
        while incoming(cluster):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def test_upload_that_breaks_off_leaves_nothing(self, cluster, keep):
        content = pseudo_random(2_000_000, seed=3)
        block_hash = hashlib.md5(content).hexdigest()
        with socket.create_connection(keep.address.split(":"), timeout=10) as client:
            client.sendall(
                f"PUT /{block_hash} HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n".encode()
                + content
            )
            deadline = time.monotonic() + 10
            while not incoming(cluster):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        self.wait_until_idle(cluster)
        assert not cluster.block_path(block_hash).exists()

    def test_download_that_breaks_off_hurts_nobody(self, keep):
        content = pseudo_random(BLOCK, seed=4)
        locator = keep.put(content)
        for _ in range(5):
            with socket.create_connection(keep.address.split(":"), timeout=10) as client:
                client.sendall(
                    f"GET /{locator} HTTP/1.1\r\nHost: x\r\n"
                    f"Authorization: Bearer {keep.token}\r\n\r\n".encode()
                )
                client.recv(1000)
        assert keep.get(locator)[2] == content


@pytest.mark.parametrize("size", [7_000_000, 20_000_000])
def test_disk_that_takes_no_more_is_reported_and_leaves_nothing(tmp_path, size):
    """The limit of the size of a file is one of the ways in which writing can fail."""
    limit = ("prlimit", "--fsize=6000000")
    with RunningCluster(tmp_path / "cluster", under=limit) as cluster:
        keep = KeepClient(cluster)
        content = pseudo_random(size)
        block_hash = hashlib.md5(content).hexdigest()
        status, _, body = keep.request("PUT", f"/{block_hash}", content)
        assert (status, body) == (500, b"Disk error: File too large\n")
        assert not incoming(cluster)
        assert not cluster.block_path(block_hash).exists()
        assert keep.get(keep.put(b"fits"))[2] == b"fits"
        assert "Traceback" not in cluster.log


def test_log_has_no_secrets_and_no_tracebacks(cluster, keep):
    """Runs last: after all of the above."""
    locator = keep.put(b"logged")
    damage(cluster.block_path(locator[:32]), 0)
    assert keep.get(locator)[0] == 502
    assert f"block {locator[:32]} fails its checksum" in cluster.log
    assert "+A" not in cluster.log
    assert keep.token.rpartition("/")[2] not in cluster.log
    assert "Traceback" not in cluster.log
