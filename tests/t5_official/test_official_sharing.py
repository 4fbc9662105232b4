"""The official driver sees what two users of the standalone cluster share, and follows changes."""

import os
import time
from pathlib import Path

import pytest

from tests.support.contents import create
from tests.support.mounts import RunningMount
from tests.support.people import Person

OFFICIAL = Path(__file__).parents[2] / ".venv-official" / "bin" / "arv-mount"


class Sharer(Person):
    """A user who shares, with the settings of a mount."""

    def __init__(self, cluster, name):
        super().__init__(cluster, name)
        self.env = {**cluster.env, "ARVADOS_API_TOKEN": self.token}


@pytest.fixture(scope="module")
def cluster(own_cluster):
    """One of its own, with users of its own."""
    return own_cluster


@pytest.fixture(scope="module")
def anna(cluster):
    """Owns a project that she shares with Bert."""
    return Sharer(cluster, "anna")


@pytest.fixture(scope="module")
def bert(cluster):
    return Sharer(cluster, "bert")


@pytest.fixture(scope="module")
def shared_project(cluster, anna, bert):
    body = {"group_class": "project", "name": "For Bert"}
    project = anna.api.groups().create(body=body).execute()["uuid"]
    create(anna.api, "data", {"f": b"from Anna"}, owner=project)
    link = {
        "link_class": "permission",
        "name": "can_read",
        "tail_uuid": bert.uuid,
        "head_uuid": project,
    }
    anna.api.links().create(body={"link": link}).execute()
    return project


@pytest.fixture
def root(bert, shared_project, tmp_path):
    """Bert's mount by the official driver."""
    env = {**os.environ, **bert.env, "HOME": str(tmp_path)}
    with RunningMount(tmp_path / "mnt", env=env, command=OFFICIAL) as mount:
        yield mount.directory


def wait_for(condition, within_s=10.0):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the mount did not show the change"
        time.sleep(0.1)


def test_what_is_shared_is_seen_and_read(root):
    assert (root / "shared/Anna Tester/For Bert/data/f").read_bytes() == b"from Anna"
    assert sorted(os.listdir(root)) == ["README", "by_id", "by_tag", "home", "shared"]


def test_what_is_not_shared_is_not_seen(root, anna):
    record = create(anna.api, "secret", {"f": b"for nobody"})
    assert not (root / "by_id" / record["uuid"]).exists()
    assert not (root / "by_id" / record["portable_data_hash"]).exists()
    assert "secret" not in os.listdir(root / "home")


def test_home_is_the_users_own(root, bert):
    create(bert.api, "mine", {"f": b"Bert's"})
    wait_for(lambda: (root / "home/mine/f").exists())
    assert (root / "home/mine/f").read_bytes() == b"Bert's"


def test_tags(root, anna, bert):
    record = create(bert.api, "tagged", {"f": b"labelled"})
    link = {"link_class": "tag", "name": "favourite", "head_uuid": record["uuid"]}
    bert.api.links().create(body={"link": link}).execute()
    assert (root / "by_tag/favourite" / record["uuid"] / "f").read_bytes() == b"labelled"


def test_changes_by_others_are_followed(root, anna, shared_project):
    project = root / "shared/Anna Tester/For Bert"
    assert "data" in os.listdir(project)
    record = create(anna.api, "brand new", {"f": b"1"}, owner=shared_project)
    # Well before the driver would ask again by itself (15 s).
    wait_for(lambda: "brand new" in os.listdir(project), within_s=8)
    anna.api.collections().update(uuid=record["uuid"], body={"name": "renamed"}).execute()
    wait_for(lambda: "renamed" in os.listdir(project), within_s=8)
    anna.api.collections().delete(uuid=record["uuid"]).execute()
    wait_for(lambda: "renamed" not in os.listdir(project), within_s=8)
