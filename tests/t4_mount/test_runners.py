"""What container runners rely on, with the options that they pass, in their order."""

import json
import os
import re
import subprocess
import time

import pytest

from tests.support.contents import create
from tests.support.mounts import ARV_MOUNT, RunningMount, is_mounted


@pytest.fixture
def record(cluster):
    return create(cluster.api(), "an input", {"image.tar": b"layers", "d/input": b"data"})


@pytest.fixture
def running(env, tmp_path):
    """A mount as a runner makes it for a container with inputs of both kinds."""
    options = (
        *("--read-write", "--storage-classes", "default", "--crunchstat-interval=0.1"),
        *("--disk-cache", "--disk-cache-dir", str(tmp_path / "cache"), "--file-cache", "268435456"),
        *("--mount-by-id", "by_id", "--mount-by-id", "by_uuid"),
    )
    with RunningMount(tmp_path / "mnt", *options, env=env) as mount:
        yield mount


def test_is_ready_when_the_readme_is_there(running):
    assert (running / "by_id/README").stat().st_size > 0


def test_inputs_are_there_by_hash_and_by_uuid(running, record):
    for ident in (record["uuid"], record["portable_data_hash"]):
        assert (running / f"by_id/{ident}/d/input").read_bytes() == b"data"
        assert sorted(os.listdir(running / f"by_id/{ident}")) == ["d", "image.tar"]


def test_options_for_inputs_by_hash_alone(env, tmp_path, record):
    options = (
        *("--read-write", "--storage-classes", "", "--crunchstat-interval=10"),
        *("--ram-cache", "--file-cache", "134217728"),
        *("--mount-by-pdh", "by_id", "--disable-event-listening", "--mount-by-id", "by_uuid"),
    )
    with RunningMount(tmp_path / "mnt", *options, env=env) as mount:
        assert (mount / "by_id/README").exists()
        assert (mount / f"by_id/{record['portable_data_hash']}/d/input").read_bytes() == b"data"
        assert not (mount / f"by_id/{record['uuid']}").exists()
        assert (mount / f"by_uuid/{record['uuid']}/d/input").read_bytes() == b"data"


def test_a_new_collection_is_seen_at_once_first_by_uuid_then_by_hash(running, cluster):
    assert not (running / "by_uuid/zzzzz-4zz18-000000000000000").exists()
    new = create(cluster.api(), "made meanwhile", {"image.sif": b"image"})
    special = running / f"by_uuid/{new['uuid']}/.arvados#collection"
    hash_ = json.loads(special.read_text())["portable_data_hash"]
    assert (running / f"by_id/{hash_}/image.sif").read_bytes() == b"image"


def test_chmod_never_fails_on_an_output(running, record):
    root = running / f"by_uuid/{record['uuid']}"
    for mode in (0o777, 0o644, 0o755):
        (root / "d/input").chmod(mode)
    (root / "d").chmod(0o2777)


def test_statistics_go_to_standard_error(running, record):
    (running / f"by_id/{record['uuid']}/d/input").read_bytes()
    wanted = re.compile(
        r"^crunchstat: blkio:0:0 0 write 4 read -- interval \d+\.\d{4} seconds"
        r" \d+ write \d+ read$",
        re.MULTILINE,
    )
    deadline = time.monotonic() + 20
    while not wanted.search(running.log):
        assert time.monotonic() < deadline, running.log
        time.sleep(0.05)
    groups = re.findall(r"^crunchstat: (\S+)", running.log, re.MULTILINE)
    assert groups[:6] == [
        *("keepcalls", "net:keep0", "keepcache", "blkio:0:0", "fuseops", "fuseop:read"),
    ]


def test_goes_without_settings_and_leaves_an_empty_directory(running):
    command = [ARV_MOUNT, "--unmount-timeout=8", "--unmount", running.directory]
    done = subprocess.run(command, env={"PATH": os.environ["PATH"]}, check=True, timeout=9)
    assert done.returncode == 0
    assert not is_mounted(running.directory)
    running.directory.rmdir()
    assert running.process.wait(20) == 0
