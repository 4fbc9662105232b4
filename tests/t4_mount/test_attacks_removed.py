"""Collections that are removed when everything in them was saved: nothing is left to be done."""

import os
import shutil
import time
from pathlib import Path

import pytest

from arvados_fuse.commit.committer import QUIET_S


@pytest.fixture
def project(cluster, mount):
    """A project on a mount, and the mount."""
    api = cluster.api()
    body = {"group_class": "project", "name": "removals"}
    uuid = api.groups().create(body={"group": body}, ensure_unique_name=True).execute()["uuid"]
    running = mount("--read-write", "--project", uuid)
    return running.directory, running


def fill(directory: Path) -> None:
    (directory / "d").mkdir(parents=True)
    for name in ("f", "d/g"):
        (directory / name).write_text(name)


def journals(running) -> list[str]:
    """What is in the journal of a mount."""
    home = running.directory.parent / "home"
    return [p.name for p in (home / ".local/state/arvados/journal").rglob("*-4zz18-*")]


@pytest.mark.parametrize("pause_s", [0.0, QUIET_S + 1])
def test_on_the_mount(project, pause_s):
    directory, running = project
    fill(directory / "collection")
    shutil.rmtree(directory / "collection")
    time.sleep(pause_s)
    assert running.unmount() == 0
    assert not journals(running)


def test_by_others(project, cluster):
    directory, running = project
    (directory / "collection").mkdir()
    fill(directory / "collection/c")
    record = (directory / "collection/.arvados#commit").read_text()
    assert record
    uuid = next(
        item["uuid"]
        for item in cluster.api().collections().list(order="created_at desc").execute()["items"]
    )
    cluster.api().collections().delete(uuid=uuid).execute()
    time.sleep(QUIET_S + 1)
    assert not os.listdir(directory)
    assert not journals(running)
    assert running.unmount() == 0
