"""Real mounts on a cluster that misbehaves: slow, corrupted, cut, killed."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import arvados.collection
import pytest

from tests.support.contents import BLOCK, block_hash, create, pseudo_random
from tests.support.mounts import RunningMount

pytestmark = pytest.mark.usefixtures("no_faults")


@pytest.fixture
def env(cluster, tmp_path):
    return {**os.environ, **cluster.env, "HOME": str(tmp_path / "home")}


@pytest.fixture
def mounted(cluster, env, tmp_path):
    """Mount a new collection of the files given; return the mount."""
    with ExitStack() as mounts:

        def start(files, *arguments):
            record = create(cluster.api(), f"faults {os.urandom(4).hex()}", files)
            directory = tmp_path / record["uuid"]
            return mounts.enter_context(
                RunningMount(directory, "--collection", record["uuid"], *arguments, env=env)
            )

        yield start


@pytest.fixture(scope="module")
def large():
    """One full block of data."""
    return pseudo_random(BLOCK)


def test_eight_readers_of_one_cold_block_cause_one_get(cluster, mounted, large):
    running = mounted({"large": large})
    cluster.request_counts(reset=True)
    descriptor = os.open(running / "large", os.O_RDONLY)
    try:
        with ThreadPoolExecutor(8) as pool:
            offsets = range(0, BLOCK, BLOCK // 8)
            pieces = pool.map(lambda offset: os.pread(descriptor, 4096, offset), offsets)
            for offset, piece in zip(offsets, pieces, strict=True):
                assert piece == large[offset : offset + 4096]
    finally:
        os.close(descriptor)
    assert cluster.request_counts()["GET keep"] == 1


RUN_OUT = {"route": "keep", "method": "GET", "clock_skew_s": 1e9, "times": 1}
"""Signatures in the hands of the mount have run out; those that it asks for then have not."""


class TestSignatures:
    """A file is open for longer than the signatures in its manifest are valid."""

    def test_file_held_open_is_read_with_new_ones(self, cluster, mounted):
        running = mounted({"f": b"still the same"}, "--ram-cache")
        with open(running / "f", "rb") as file:
            cluster.set_faults([RUN_OUT])
            assert file.read() == b"still the same"

    def test_so_is_the_old_version_of_a_file_while_somewhere_a_copy_exists(self, cluster, mounted):
        running = mounted({"f": b"the first"}, "--ram-cache", "--refresh-time", "0")
        api = cluster.api()
        with open(running / "f", "rb") as file:
            other = create(api, f"copy {os.urandom(4).hex()}", {"f": b"the first"})
            collection = arvados.collection.Collection(running.directory.name, api_client=api)
            with collection.open("f", "wb") as writer:
                writer.write(b"the second")
            collection.save()
            assert (running / "f").read_bytes() == b"the second"
            cluster.set_faults([RUN_OUT])
            assert file.read() == b"the first"
        api.collections().delete(uuid=other["uuid"]).execute()

    def test_that_are_refused_again_end_in_eacces(self, cluster, mounted):
        running = mounted({"f": b"x"}, "--ram-cache")
        running.expected_log.append(r"Cannot read /f: .* was refused or has expired")
        with open(running / "f", "rb") as file:
            cluster.set_faults([{**RUN_OUT, "times": None}])
            with pytest.raises(PermissionError):
                file.read()
            cluster.set_faults([])
            assert file.read() == b"x"


def test_first_bytes_arrive_while_the_rest_is_still_coming(cluster, mounted, large):
    running = mounted({"large": large})
    cluster.set_faults([{"route": "keep", "method": "GET", "bytes_per_s": 16 << 20}])
    with open(running / "large", "rb", buffering=0) as file:
        started = time.monotonic()
        assert file.read(4096) == large[:4096]
        first = time.monotonic() - started
        os.lseek(file.fileno(), BLOCK - 4096, os.SEEK_SET)
        assert file.read(4096) == large[-4096:]
        last = time.monotonic() - started
    # 64 MiB at 16 MiB/s take 4 s. A ratio, so that a slow machine does not matter.
    assert first < last / 3


@pytest.mark.parametrize("cache", ["--disk-cache", "--ram-cache"])
def test_block_corrupted_on_the_cluster_is_never_served_whole(cluster, mounted, cache):
    content = pseudo_random(5 << 20, seed=hash(cache))
    running = mounted({"file": content}, cache, "--retries", "0")
    running.expected_log.append("Cannot read .*file")
    running.expected_log.append("(checksum|corrupt|Corrupt)")
    path = cluster.block_path(block_hash(content))
    stored = bytearray(path.read_bytes())
    stored[1 << 20] ^= 1
    path.write_bytes(stored)
    with pytest.raises(OSError, match="Input/output error"):
        (running / "file").read_bytes()
    path.write_bytes(content)
    assert (running / "file").read_bytes() == content


def test_block_corrupted_in_the_cache_is_fetched_again(cluster, env, tmp_path):
    content = pseudo_random(5 << 20, seed=7)
    record = create(cluster.api(), "cached badly", {"file": content})
    cache = tmp_path / "cache"
    arguments = ["--collection", record["uuid"], "--disk-cache-dir", str(cache)]
    with RunningMount(tmp_path / "mnt", *arguments, env=env) as running:
        assert (running / "file").read_bytes() == content
    (cached,) = cache.rglob("*.keepcacheblock")
    damaged = bytearray(cached.read_bytes())
    damaged[12345] ^= 1
    cached.write_bytes(damaged)
    cluster.request_counts(reset=True)
    with RunningMount(tmp_path / "mnt", *arguments, env=env) as again:
        again.expected_log.append("another checksum than its name: deleted")
        assert (again / "file").read_bytes() == content
    assert cluster.request_counts()["GET keep"] == 1
    assert cached.read_bytes() == content


def test_cache_serves_after_a_restart_without_a_get(cluster, env, tmp_path):
    content = pseudo_random(3 << 20, seed=8)
    record = create(cluster.api(), "cached", {"file": content})
    arguments = ["--collection", record["uuid"], "--disk-cache-dir", str(tmp_path / "cache")]
    for expected in (1, 0):
        cluster.request_counts(reset=True)
        with RunningMount(tmp_path / "mnt", *arguments, env=env) as running:
            assert (running / "file").read_bytes() == content
        assert cluster.request_counts().get("GET keep", 0) == expected


def test_cut_connection_is_tried_again(cluster, mounted):
    content = pseudo_random(3 << 20, seed=9)
    running = mounted({"file": content})
    cluster.set_faults([{"route": "keep", "method": "GET", "cut_after_bytes": 1 << 20, "times": 2}])
    assert (running / "file").read_bytes() == content


def test_passing_server_errors_are_tried_again(cluster, mounted):
    content = pseudo_random(1 << 20, seed=10)
    running = mounted({"file": content})
    cluster.set_faults([{"route": "keep", "method": "GET", "status": 503, "times": 2}])
    assert (running / "file").read_bytes() == content


def test_slow_block_delays_only_who_needs_it(cluster, mounted):
    slow, quick = pseudo_random(2 << 20, seed=11), pseudo_random(1 << 20, seed=12)
    running = mounted({"slow/file": slow, "quick/file": quick})
    assert (running / "quick/file").read_bytes() == quick
    cluster.set_faults([{"route": "keep", "method": "GET", "latency_s": 3}])
    result = []
    reader = threading.Thread(target=lambda: result.append((running / "slow/file").read_bytes()))
    reader.start()
    while not cluster.request_counts().get("GET keep"):
        time.sleep(0.01)
    os.stat(running / "slow")
    os.listdir(running / "quick")
    (running / "slow/file").stat()
    assert reader.is_alive()
    reader.join(30)
    assert hashlib.md5(result[0]).digest() == hashlib.md5(slow).digest()


BLOCKS_AT_ONCE = 6
"""How many blocks a mount gets from the cluster at the same time."""


class TestNineWait:
    """Nine programs at once wait for slow blocks; ten threads may answer the kernel."""

    CONTENTS = tuple(pseudo_random(1000, seed=40 + number) for number in range(9))

    @pytest.fixture
    def running(self, cluster, env, tmp_path):
        """A mount of a file that has been read and nine that have not, each in its own block."""
        api = cluster.api()
        manifest = ""
        for number, content in enumerate((b"at hand", *self.CONTENTS)):
            manifest += create(api, "one of ten", {f"f{number}": content})["manifest_text"]
        body = {"collection": {"manifest_text": manifest}}
        record = api.collections().create(body=body).execute()
        directory = tmp_path / "mnt"
        with RunningMount(directory, "--collection", record["uuid"], env=env) as mount:
            assert (mount / "f0").read_bytes() == b"at hand"
            yield mount

    @pytest.fixture
    def waiting(self, cluster, running):
        """The programs that wait."""
        cluster.request_counts(reset=True)
        cluster.set_faults([{"route": "keep", "method": "GET", "latency_s": 3}])
        programs = [
            subprocess.Popen(["cat", running / f"f{number}"], stdout=subprocess.PIPE)
            for number in range(1, 10)
        ]
        while cluster.request_counts().get("GET keep", 0) < BLOCKS_AT_ONCE:
            time.sleep(0.01)
        yield programs
        for program in programs:
            program.wait()
            program.stdout.close()

    def test_what_is_at_hand_is_answered_at_once(self, running, waiting):
        with open(running / "f0", "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert file.read() == b"at hand"
        assert len(os.listdir(running.directory)) == 10
        assert [program.poll() for program in waiting] == [None] * 9

    def test_each_gets_its_own_answer(self, running, waiting):
        assert tuple(program.communicate(timeout=30)[0] for program in waiting) == self.CONTENTS

    def test_a_signal_ends_the_mount(self, running, waiting):
        running.expected_log.append("Cannot read .*: the mount is ending")
        running.process.terminate()
        assert running.process.wait(30) == 0
        assert [program.wait(30) for program in waiting] == [1] * 9

    def test_a_lazy_unmount_ends_it_when_they_have_their_answers(self, running, waiting):
        subprocess.run(["fusermount", "-u", "-z", running.directory], check=True)
        assert tuple(program.communicate(timeout=30)[0] for program in waiting) == self.CONTENTS
        assert running.process.wait(30) == 0


def test_a_crash_leaves_not_connected_and_never_an_empty_directory(env, tmp_path):
    """Here closing a directory fails in a way that nobody has thought of."""
    program = (
        "from arvados_fuse.command.main import main\n"
        "from arvados_fuse.operations import Operations\n"
        "Operations.releasedir = lambda self, fh: {}.popitem()\n"
        "raise SystemExit(main())\n"
    )
    command = (sys.executable, "-c", program)
    with RunningMount(tmp_path / "mnt", env=env, command=command) as running:
        running.expected_log.append("Traceback")
        assert "by_id" in os.listdir(running.directory)
        assert running.process.wait(30) == 1
        with pytest.raises(OSError, match="Transport endpoint is not connected"):
            os.listdir(running.directory)
        assert "KeyError" in running.log


def test_lost_block_is_eio_with_a_clear_line(cluster, mounted):
    content = pseudo_random(1 << 20, seed=13)
    running = mounted({"file": content, "other": b"fine"}, "--retries", "0")
    cluster.block_path(block_hash(content + b"fine")).unlink(missing_ok=True)
    cluster.block_path(block_hash(content)).unlink(missing_ok=True)
    running.expected_log.append("Cannot read .*: ")
    with pytest.raises(OSError, match="Input/output error"):
        (running / "file").read_bytes()
    assert "token" not in running.log
    assert "+A" not in running.log


def test_mount_survives_a_restart_of_the_cluster(cluster, mounted):
    files = {f"f{n}": pseudo_random(100_000, seed=100 + n) for n in range(2)}
    running = mounted(files)
    assert (running / "f0").read_bytes() == files["f0"]
    cluster.restart()
    assert (running / "f1").read_bytes() == files["f1"]
