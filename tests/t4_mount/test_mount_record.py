"""`.arvados#mount`: what a mount says of itself."""

import dataclasses
import json
import os

import pytest

from arvados_fuse.metrics import UNITS, Metrics
from arvados_fuse.version import __version__
from tests.support.workplace import new_collection

MOUNT = ".arvados#mount"


def read(running) -> dict:
    return json.loads((running / MOUNT).read_text())


def test_every_counter_has_a_unit():
    assert list(UNITS) == [field.name for field in dataclasses.fields(Metrics)]


def test_is_found_in_the_root_alone_and_not_listed(mount):
    running = mount()
    assert (running / MOUNT).is_file()
    assert MOUNT not in os.listdir(running.directory)
    assert not (running / "home" / MOUNT).exists()
    assert not (running / "by_id" / MOUNT).exists()


@pytest.mark.parametrize("layout", ["--home", "--by-id", "--by-tag", "--shared", "--by-pdh"])
def test_every_kind_of_root_has_it(mount, layout):
    assert read(mount(layout))["version"] == __version__


def test_of_a_read_only_mount(mount, cluster):
    running = mount()
    record = read(running)
    assert record["version"] == __version__
    assert record["cluster"] == cluster.env["ARVADOS_API_HOST"]
    assert record["mount_point"] == str(running.directory)
    assert record["mode"] == "read-only"
    assert record["event_bus"] in ("connected", "lost"), "it may not be connected yet"
    assert record["block_cache"]["blocks_on_their_way"] == 0
    assert not {"journal", "pending"} & record.keys()
    with pytest.raises(OSError, match="Read-only file system"):
        os.unlink(running / MOUNT)


def test_each_look_up_tells_the_present(mount, cluster):
    running = mount("--disable-event-listening")
    first = read(running)
    assert first["event_bus"] == "off"
    os.listdir(running / "home")
    calls = [each["counters"]["api_calls"] for each in (first, read(running))]
    assert calls[0]["value"] < calls[1]["value"]
    assert calls[0]["unit"] == "requests"


def test_of_a_mount_that_is_written_to(mount, cluster):
    uuid = new_collection(cluster.api())
    running = mount("--read-write", "--commit-delay", "300", "--mount-by-id", "by_id")
    directory = running / "by_id" / uuid
    (directory / "first").write_bytes(b"x" * 1000)  # a lone close commits
    assert read(running)["pending"] == []
    (directory / "second").write_bytes(b"x" * 3000)
    record = read(running)
    assert record["mode"] == "read-write"
    assert 0 < record["journal"]["used_bytes"] < record["journal"]["limit_bytes"]
    assert os.path.isdir(record["journal"]["directory"])
    (pending,) = record["pending"]
    assert pending["uuid"] == uuid
    assert pending["state"] == "dirty"
    assert pending["bytes"] == 3000
    assert pending["files"] == 1
    assert pending["last_error"] is None
    assert pending["failing_since"] is None
    assert 0 < pending["next_try_s"] <= 300
    assert record["counters"]["write_bytes"]["value"] == 4000
