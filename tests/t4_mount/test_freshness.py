"""What a mount shows of changes that others make, and what stays as it was opened."""

import mmap
import os
import time

import arvados.collection
import pytest

from tests.support.contents import create


def wait_for(condition, within_s: float = 10.0) -> None:
    """Return when `condition()` is true; the mount's refresh time in these tests is 1 s."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the mount did not show the change"
        time.sleep(0.05)


@pytest.fixture
def record(cluster):
    files = {"same": b"as before", "changes": b"version one", "sub/f": b"deep"}
    return create(cluster.api(), f"fresh {os.urandom(4).hex()}", files)


@pytest.fixture
def root(mount, record):
    return mount("--collection", record["uuid"], "--refresh-time", "1").directory


def edit(cluster, record, path, content):
    collection = arvados.collection.Collection(record["uuid"], api_client=cluster.api())
    with collection.open(path, "wb") as file:
        file.write(content)
    collection.save()


def test_new_file_appears(cluster, record, root):
    assert not (root / "new").exists()
    edit(cluster, record, "new", b"hello")
    wait_for((root / "new").exists)
    assert (root / "new").read_bytes() == b"hello"


def test_changed_file_is_read_anew_with_another_inode(cluster, record, root):
    before = (root / "changes").stat().st_ino
    assert (root / "changes").read_bytes() == b"version one"
    edit(cluster, record, "changes", b"the second version")
    wait_for(lambda: (root / "changes").read_bytes() == b"the second version")
    assert (root / "changes").stat().st_ino != before


def test_unchanged_files_and_directories_keep_their_inodes(cluster, record, root):
    before = [(root / path).stat().st_ino for path in ("same", "sub", "sub/f")]
    edit(cluster, record, "changes", b"the second version")
    wait_for(lambda: (root / "changes").stat().st_size == 18)
    assert [(root / path).stat().st_ino for path in ("same", "sub", "sub/f")] == before


def test_open_file_keeps_the_version_that_it_opened(cluster, record, root):
    with open(root / "changes", "rb") as file:
        edit(cluster, record, "changes", b"the second version")
        wait_for(lambda: (root / "changes").read_bytes() == b"the second version")
        assert file.read() == b"version one"


def test_mapped_file_keeps_the_version_that_it_mapped(cluster, record, root):
    with open(root / "changes", "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    edit(cluster, record, "changes", b"the second version")
    wait_for(lambda: (root / "changes").read_bytes() == b"the second version")
    assert mapped[:] == b"version one"


def test_removed_file_is_gone(cluster, record, root):
    assert (root / "same").exists()
    collection = arvados.collection.Collection(record["uuid"], api_client=cluster.api())
    collection.remove("same")
    collection.save()
    wait_for(lambda: not (root / "same").exists())
    assert sorted(os.listdir(root)) == ["changes", "sub"]


def test_collections_come_and_go_and_are_renamed_in_a_project(cluster, mount):
    api = cluster.api()
    project = api.groups().create(body={"name": "moving", "group_class": "project"}).execute()
    root = mount("--project", project["uuid"], "--refresh-time", "1").directory
    assert os.listdir(root) == []
    record = create(api, "first name", {"f": b"x"}, owner=project["uuid"])
    wait_for(lambda: os.listdir(root) == ["first name"])
    inode = (root / "first name").stat().st_ino
    api.collections().update(uuid=record["uuid"], body={"name": "second name"}).execute()
    wait_for(lambda: os.listdir(root) == ["second name"])
    assert (root / "second name").stat().st_ino == inode
    wait_for(lambda: not (root / "first name").exists())
    api.collections().delete(uuid=record["uuid"]).execute()
    wait_for(lambda: os.listdir(root) == [])
