"""A mount whose event bus is refused, lost, and comes back."""

import time
from contextlib import suppress

import pytest

from tests.support.cluster import RunningCluster
from tests.support.contents import create
from tests.support.mounts import RunningMount

REFUSED = {"route": "api", "path": "^/websocket$", "status": 503}
CONNECTED = "The event bus is connected"
NO_BUS = "There is no event bus"


def wait_for(condition, within_s: float = 30.0) -> None:
    """Return when `condition()` is true."""
    deadline = time.monotonic() + within_s
    while True:
        with suppress(OSError):
            if condition():
                return
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.02)


@pytest.fixture
def cluster(tmp_path):
    with RunningCluster(tmp_path / "cluster") as running:
        yield running


@pytest.fixture
def project(cluster):
    body = {"name": "project", "group_class": "project"}
    return cluster.api().groups().create(body=body).execute()


@pytest.fixture
def mount(cluster, project, tmp_path):
    """Mount the project with `mount("--option", ...)`."""
    mounts = []

    def make(*arguments):
        env = cluster.environment(tmp_path / "home")
        options = ("--project", project["uuid"], *arguments)
        mounts.append(RunningMount(tmp_path / "mnt", *options, env=env))
        return mounts[-1]

    yield make
    for running in mounts:
        running.close()


def test_refused_bus_leaves_the_refresh_time_until_it_is_there(cluster, project, mount):
    cluster.set_faults([REFUSED])
    running = mount("--refresh-time", "1")
    wait_for(lambda: f"{NO_BUS} (it answered 503)" in running.log)
    assert not (running / "new").exists()
    create(cluster.api(), "new", {"f": b"x"}, owner=project["uuid"])
    wait_for((running / "new").exists)
    cluster.set_faults([])
    wait_for(lambda: CONNECTED in running.log)
    create(cluster.api(), "newer", {"f": b"x"}, owner=project["uuid"])
    wait_for((running / "newer").exists)
    assert running.log.count(NO_BUS) == running.log.count(CONNECTED) == 1


def test_what_was_missed_is_seen_when_the_bus_is_back(cluster, project, mount):
    """Nothing but the bus could bring it: the refresh time is a day."""
    record = create(cluster.api(), "run", {"f": b"one"}, owner=project["uuid"])
    running = mount("--refresh-time", "86400")
    wait_for(lambda: CONNECTED in running.log)
    assert (running / "run" / "f").read_bytes() == b"one"
    inode = (running / "run").stat().st_ino
    cluster.stop()
    wait_for(lambda: NO_BUS in running.log)
    cluster.start()
    cluster.set_faults([REFUSED])
    name = {"name": "walk"}
    cluster.api().collections().update(uuid=record["uuid"], body=name).execute()
    assert (running / "run" / "f").read_bytes() == b"one"
    cluster.set_faults([])
    wait_for(lambda: running.log.count(CONNECTED) == 2)
    wait_for((running / "walk" / "f").exists)
    assert (running / "walk").stat().st_ino == inode
    wait_for(lambda: not (running / "run").exists())
    assert running.log.count(NO_BUS) == 1
