"""A mount was killed, and before the next one somebody else has changed what it had written to."""

import os
from contextlib import ExitStack
from itertools import count

import arvados.collection
import pytest

from tests.support.contents import create
from tests.support.mounts import RunningMount
from tests.support.workplace import saved, shown

MARK = "~conflict~"


@pytest.fixture
def mount(cluster, tmp_path):
    env = cluster.environment(tmp_path / "home")
    directories = (tmp_path / f"mnt{number}" for number in count())
    with ExitStack() as mounts:
        yield lambda uuid, *arguments: mounts.enter_context(
            RunningMount(
                next(directories), "--read-write", "--collection", uuid, *arguments, env=env
            )
        )


@pytest.fixture
def killed(cluster, mount):
    """Make a collection, change it as `change` does, kill the mount, and return the uuid."""

    def kill(files, change):
        # With something of its own: a version is found by its content, wherever that is.
        files = {**files, "opener": b"", "salt": os.urandom(9)}
        uuid = create(cluster.api(), "to be changed", files)["uuid"]
        running = mount(uuid, "--commit-delay", "600")
        (running / "opener").write_bytes(b"the first change is committed at once")
        change(running.directory)
        running.kill()
        return uuid

    return kill


@pytest.fixture(params=["its version is kept", "its version is gone"])
def edit(request, cluster):
    """Change a collection as another client does.

    The version before it, that the mount's changes are on top of, is kept by the cluster or not:
    one that was current for less than 10 s is not, unless that was asked for (Arvados
    documentation, "Collection versioning").
    """

    def change(uuid, files, removed=()):
        api = cluster.api()
        if request.param == "its version is kept":
            body = {"collection": {"preserve_version": True}}
            api.collections().update(uuid=uuid, body=body).execute()
        collection = arvados.collection.Collection(uuid, api_client=api)
        for path in removed:
            collection.remove(path, recursive=True)
        for path, data in files.items():
            with collection.open(path, "wb") as file:
                file.write(data)
        collection.save(merge=False)

    return change


def conflicts(content):
    """Split a content into what has its own name, and what has a conflict name, by the own one."""
    kept = {p.partition("~")[0]: data for p, data in content.items() if p.endswith(MARK)}
    return {p: data for p, data in content.items() if not p.endswith(MARK)}, kept


def append(path, data):
    with open(path, "ab") as file:
        file.write(data)


def test_different_files_merge(cluster, killed, mount, edit):
    uuid = killed({"a": b"aaa", "b": b"bbb"}, lambda root: append(root / "a", b" of ours"))
    edit(uuid, {"b": b"theirs"})
    after = mount(uuid)
    content = shown(after.directory)
    assert content["a"] == b"aaa of ours"
    assert content["b"] == b"theirs"
    assert not conflicts(content)[1]
    assert saved(cluster.api(), uuid) == content


def test_one_file_is_kept_twice_and_never_mixed(cluster, killed, mount, edit):
    before = b"before " * 1000
    uuid = killed({"a": before, "b": b"b"}, lambda root: append(root / "a", b"of ours"))
    edit(uuid, {"a": b"theirs"})
    after = mount(uuid)
    after.expected_log += ["changed here and elsewhere", "is gone"]
    content, kept = conflicts(saved(cluster.api(), uuid))
    assert content["a"] == b"theirs"
    assert kept == {"a": before + b"of ours"}
    assert shown(after.directory) == saved(cluster.api(), uuid)


def test_a_directory_that_others_made_a_file_of_is_kept_beside_it(cluster, killed, mount, edit):
    before = b"before " * 1000
    uuid = killed({"d/a": before, "d/b": b"b"}, lambda root: append(root / "d/a", b"of ours"))
    edit(uuid, {"d": b"theirs"}, removed=["d"])
    after = mount(uuid)
    after.expected_log += ["changed here and elsewhere", "is gone"]
    content = saved(cluster.api(), uuid)
    assert content["d"] == b"theirs"
    (ours,) = (data for path, data in content.items() if path.endswith(f"{MARK}/a"))
    assert ours == before + b"of ours"


def test_a_file_that_others_removed_stays_with_our_change(cluster, killed, mount, edit):
    before = b"before " * 1000
    uuid = killed({"a": before}, lambda root: append(root / "a", b"of ours"))
    edit(uuid, {}, removed=["a"])
    after = mount(uuid)
    after.expected_log += ["changed here and elsewhere", "is gone"]
    content, kept = conflicts(saved(cluster.api(), uuid))
    assert (content | kept)["a"] == before + b"of ours"


def test_both_have_made_a_file_of_one_name(cluster, killed, mount, edit):
    uuid = killed({}, lambda root: (root / "new").write_bytes(b"ours"))
    edit(uuid, {"new": b"theirs"})
    after = mount(uuid)
    after.expected_log += ["changed here and elsewhere", "is gone"]
    content, kept = conflicts(saved(cluster.api(), uuid))
    assert content["new"] == b"theirs"
    assert kept == {"new": b"ours"}


def test_both_have_written_the_same(cluster, killed, mount, edit):
    uuid = killed({"a": b"before"}, lambda root: (root / "a").write_bytes(b"the same"))
    edit(uuid, {"a": b"the same"})
    mount(uuid)
    content, kept = conflicts(saved(cluster.api(), uuid))
    assert content["a"] == b"the same"
    assert not kept


@pytest.mark.parametrize("edit", ["its version is gone"], indirect=True)
def test_what_others_wrote_too_does_not_count_as_our_commit(cluster, killed, mount, edit):
    def change(root):
        (root / "a").write_bytes(b"the same")
        (root / "b").write_bytes(b"ours alone")

    uuid = killed({"a": b"before"}, change)
    edit(uuid, {"a": b"the same"})
    mount(uuid).expected_log.append("a was changed here and elsewhere")
    assert conflicts(saved(cluster.api(), uuid))[0]["b"] == b"ours alone"


@pytest.mark.parametrize("edit", ["its version is kept"], indirect=True)
def test_a_file_that_was_removed_here_and_changed_elsewhere_stays(cluster, killed, mount, edit):
    uuid = killed({"a": b"before"}, lambda root: (root / "a").unlink())
    edit(uuid, {"a": b"theirs"})
    mount(uuid)
    assert saved(cluster.api(), uuid)["a"] == b"theirs"


def test_a_collection_that_is_gone_comes_back_as_another(cluster, killed, mount):
    api = cluster.api()
    uuid = killed({"a": b"before"}, lambda root: append(root / "a", b" of ours"))
    other = create(api, "to be mounted", {"f": b"f"})["uuid"]
    api.collections().delete(uuid=uuid).execute()
    after = mount(other)
    after.expected_log += ["is in the trash"]
    filters = [["name", "like", "to be changed%recovered 20%"]]
    found = api.collections().list(filters=filters).execute()["items"]
    (new,) = (each["uuid"] for each in found)
    assert saved(api, new)["a"] == b"before of ours"


def test_without_the_right_to_write_the_journal_stays(cluster, killed, mount, tmp_path):
    uuid = killed({"a": b"before"}, lambda root: append(root / "a", b" of ours"))
    other = create(cluster.api(), "to be mounted", {"f": b"f"})["uuid"]
    cluster.set_faults([{"route": "api", "method": "PUT", "path": uuid, "status": 403}])
    try:
        refused = mount(other, "--retries", "0")
        refused.expected_log.append(f"What was written to {uuid} and not committed stays in")
        assert refused.unmount() == 0
        assert "stays in" in refused.log
    finally:
        cluster.set_faults([])
    mount(other)
    assert saved(cluster.api(), uuid)["a"] == b"before of ours"
