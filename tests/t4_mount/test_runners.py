"""What container runners rely on, with the options that they pass, in their order."""

import json
import os
import re
import subprocess
import time

import pytest

from tests.support.contents import create, pseudo_random
from tests.support.mounts import ARV_MOUNT, RunningMount, is_mounted


@pytest.fixture
def record(cluster):
    return create(cluster.api(), "an input", {"image.tar": b"layers", "d/input": b"data"})


@pytest.fixture
def running(env, tmp_path):
    """A mount as a runner makes it for a container with one output and inputs of both kinds."""
    options = (
        *("--read-write", "--storage-classes", "default", "--crunchstat-interval=0.1"),
        *("--disk-cache", "--disk-cache-dir", str(tmp_path / "cache"), "--file-cache", "268435456"),
        *("--mount-tmp", "tmp0", "--mount-by-id", "by_id", "--mount-by-id", "by_uuid"),
    )
    with RunningMount(tmp_path / "mnt", *options, env=env) as mount:
        yield mount


def described(directory):
    return json.loads((directory / ".arvados#collection").read_text())


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


def test_options_for_inputs_by_hash_alone_do_for_outputs(env, tmp_path):
    """No storage class, no events, two outputs: each is described by itself."""
    options = (
        *("--read-write", "--storage-classes", "", "--crunchstat-interval=0.5"),
        *("--mount-tmp", "tmp0", "--mount-tmp", "tmp1"),
        *("--mount-by-pdh", "by_id", "--disable-event-listening", "--mount-by-id", "by_uuid"),
    )
    with RunningMount(tmp_path / "mnt", *options, env=env) as mount:
        for name in ("tmp0", "tmp1"):
            (mount / name / "result").write_text(f"of {name}")
        manifests = {described(mount / name)["manifest_text"] for name in ("tmp0", "tmp1")}
    assert len(manifests) == 2
    assert all(re.fullmatch(r"\. \S+\+7\+A\S+ 0:7:result\n", text) for text in manifests)


def test_an_image_is_written_by_uuid_and_read_by_its_new_hash(running, cluster):
    """As the image of a container is cached: reading the record saves what was written."""
    uuid = create(cluster.api(), "image cache", {})["uuid"]
    image = pseudo_random(1 << 20)
    with (running / f"by_uuid/{uuid}/image.sif").open("wb") as file:
        for start in range(0, len(image), 1000):
            file.write(image[start : start + 1000])
    saved = described(running / f"by_uuid/{uuid}")["portable_data_hash"]
    assert (running / f"by_id/{saved}/image.sif").read_bytes() == image
    assert cluster.api().collections().get(uuid=uuid).execute()["portable_data_hash"] == saved


def test_a_new_collection_is_seen_at_once_first_by_uuid_then_by_hash(running, cluster):
    assert not (running / "by_uuid/zzzzz-4zz18-000000000000000").exists()
    new = create(cluster.api(), "made meanwhile", {"image.sif": b"image"})
    hash_ = described(running / f"by_uuid/{new['uuid']}")["portable_data_hash"]
    assert (running / f"by_id/{hash_}/image.sif").read_bytes() == b"image"


def test_chmod_never_fails_on_an_output(running):
    path = running / "tmp0/program"
    path.write_bytes(b"#!/bin/sh")
    for mode in (0o777, 0o644, 0o755):
        path.chmod(mode)
    (running / "tmp0/d").mkdir()
    (running / "tmp0/d").chmod(0o2777)


def test_the_output_is_described_with_all_that_was_written(running):
    (running / "tmp0/d").mkdir()
    (running / "tmp0/d/result").write_bytes(b"done")
    record = described(running / "tmp0")
    assert set(record) == {
        *("manifest_text", "portable_data_hash", "storage_classes_desired", "uuid"),
    }
    assert record["uuid"] is None
    assert re.fullmatch(r"\./d \S+\+4\+A\S+ 0:4:result\n", record["manifest_text"])


def test_the_manifest_of_an_output_makes_a_collection(running, cluster):
    """As a runner does at the end; all that it names is in Keep, signed for the same token."""
    content = {"log": b"a line\n" * 100, "d/e/result": pseudo_random(200_000)}
    for path, data in content.items():
        (running / "tmp0" / path).parent.mkdir(parents=True, exist_ok=True)
        (running / "tmp0" / path).write_bytes(data)
    output = described(running / "tmp0")
    body = {"collection": {"manifest_text": output["manifest_text"]}}
    record = cluster.api().collections().create(body=body).execute()
    assert record["portable_data_hash"] == output["portable_data_hash"]
    for path, data in content.items():
        assert (running / f"by_id/{record['portable_data_hash']}" / path).read_bytes() == data


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
