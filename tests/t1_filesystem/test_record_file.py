"""Records as files: found by name, as fresh as the look-up, the same for who has them open."""

import json

import pytest

from arvados_fuse.errors import NoSuchEntry
from arvados_fuse.fusedir.collection import CollectionDirectory
from arvados_fuse.fusedir.project import HomeDirectory
from tests.support.fakes import HOME, manifest_of

PROJECT = "zzzzz-j7d0g-000000000000001"
COLLECTION = "zzzzz-4zz18-000000000000001"


@pytest.fixture
def home(mount):
    mount.cluster.add_project(PROJECT, "cohort")
    mount.cluster.add_collection(COLLECTION, "run", manifest_of({"d/a.txt": b"alpha"}))
    mount.cluster.add_project(HOME, "me", owner="")
    home = HomeDirectory(mount.around, None, HOME, "")
    home.plant()
    return home


@pytest.mark.parametrize(
    ("path", "name", "uuid"),
    [
        ([], ".arvados#project", HOME),
        (["cohort"], ".arvados#project", PROJECT),
        (["run"], ".arvados#collection", COLLECTION),
    ],
)
def test_holds_the_record_as_json(home, path, name, uuid):
    directory = home
    for step in path:
        directory = directory.child(step)
    file = directory.child(name)
    content = file.content()
    assert json.loads(content)["uuid"] == uuid
    assert content.endswith(b"}\n")
    assert (file.size, file.name, file.executable) == (len(content), name, False)
    assert file.path() == "/" + "/".join([*path, name])


def test_is_not_listed(home):
    assert not home.listing().files
    assert not home.child("run").listing().files
    assert not home.child("cohort").listing().files


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ([], ".arvados#collection"),
        (["run"], ".arvados#project"),
        (["run", "d"], ".arvados#collection"),
    ],
)
def test_is_nowhere_else(home, path, name):
    directory = home
    for step in path:
        directory = directory.child(step)
    with pytest.raises(NoSuchEntry):
        directory.child(name)


def test_each_lookup_asks_and_who_has_it_open_keeps_what_it_was(home, mount):
    run = home.child("run")
    file = run.child(".arvados#collection")
    assert file.lifetime(mount.clock.now) == 0
    file.kernel_refs += 1
    item = mount.cluster.items[COLLECTION]
    mount.cluster.items[COLLECTION] = item._replace(name="renamed")
    later = run.child(".arvados#collection")
    assert later.inode != file.inode
    assert json.loads(later.content())["name"] == "renamed"
    assert json.loads(file.content())["name"] == "run"
    mount.inodes.forget(file.inode, 1)
    assert mount.inodes.find(file.inode) is None


def test_opened_again_without_a_lookup_it_asks_again(home, mount):
    """As by /proc/self/fd; the text is not kept for that."""
    file = home.child("run").child(".arvados#collection")
    assert file.content() == file.content()
    assert mount.cluster.asked.count(f"record {COLLECTION}") == 2


def test_a_collection_by_its_hash_has_one(mount, home):
    pdh = mount.cluster.items[COLLECTION].portable_data_hash
    by_hash = CollectionDirectory(mount.around, home, pdh, "x")
    home.adopt("x", by_hash)
    assert json.loads(by_hash.child(".arvados#collection").content())["uuid"] == pdh
