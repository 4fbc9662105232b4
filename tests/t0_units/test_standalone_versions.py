"""Old versions of collections. (Arvados documentation, "Using collection versioning".)"""

import pytest

from arvados_fuse.standalone import clock
from arvados_fuse.standalone.records import trash
from tests.support.local_cluster import LocalCluster

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"
FOO_TEXT = f". {FOO} 0:3:foo\n"
BAR_TEXT = ". 37b51d194a7513e45b56f6524f2d51f2+3 0:3:bar\n"


@pytest.fixture
def cluster(tmp_path):
    with LocalCluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def uuid(cluster):
    return cluster.create(name="one", manifest_text=FOO_TEXT, properties={"a": 1})["uuid"]


def let_time_pass(cluster, uuid, seconds=11):
    """Make the last change of a collection older."""
    before = cluster.call("GET", f"collections/{uuid}")["modified_at"]
    cluster.set_columns(uuid, modified_at=clock.plus(before, -seconds))


def update(cluster, uuid, /, **attributes):
    return cluster.call("PUT", f"collections/{uuid}", {"collection": attributes})


def old_versions(cluster, uuid, **parameters):
    """The old versions of a collection, latest first."""
    answer = cluster.call(
        "GET",
        "collections",
        filters=[["current_version_uuid", "=", uuid], ["uuid", "!=", uuid]],
        include_old_versions=True,
        order=["version desc"],
        **parameters,
    )
    return answer["items"]


@pytest.mark.parametrize(
    "change",
    [{"name": "two"}, {"manifest_text": BAR_TEXT}, {"description": "d"}, {"properties": {}}],
    ids=lambda change: next(iter(change)),
)
def test_state_that_lasted_becomes_an_old_version(cluster, uuid, change):
    let_time_pass(cluster, uuid)
    before = cluster.call("GET", f"collections/{uuid}", select=["unsigned_manifest_text"])
    record = cluster.call("GET", f"collections/{uuid}")
    after = update(cluster, uuid, **change)
    assert (after["uuid"], after["version"]) == (uuid, 2)
    (old,) = old_versions(cluster, uuid)
    assert old["uuid"] != uuid
    same = ("name", "version", "modified_at", "created_at", "properties", "portable_data_hash")
    assert {name: old[name] for name in same} == {name: record[name] for name in same}
    found = cluster.call("GET", f"collections/{old['uuid']}", select=["unsigned_manifest_text"])
    assert found["unsigned_manifest_text"] == before["unsigned_manifest_text"]
    assert old["current_version_uuid"] == uuid


def test_state_that_did_not_last_is_not_kept(cluster, uuid):
    let_time_pass(cluster, uuid, seconds=5)
    assert update(cluster, uuid, name="two")["version"] == 1
    assert old_versions(cluster, uuid) == []


def test_other_attributes_make_no_version(cluster, uuid):
    let_time_pass(cluster, uuid)
    assert update(cluster, uuid, replication_desired=2)["version"] == 1
    assert update(cluster, uuid)["version"] == 1


def test_state_that_is_trashed_makes_no_version(cluster, uuid):
    let_time_pass(cluster, uuid)
    assert update(cluster, uuid, name="two", is_trashed=True)["version"] == 1


def test_state_can_be_kept_at_once(cluster, uuid):
    after = update(cluster, uuid, name="two", preserve_version=True)
    assert (after["version"], after["preserve_version"]) == (2, True)
    # It was asked to keep the new state too, which is done when that changes.
    after = update(cluster, uuid, name="three")
    assert (after["version"], after["preserve_version"]) == (3, False)
    assert update(cluster, uuid, name="four")["version"] == 3
    assert [old["name"] for old in old_versions(cluster, uuid)] == ["two", "one"]


def test_wish_to_keep_a_state_waits_for_a_change(cluster, uuid):
    assert update(cluster, uuid, preserve_version=True)["version"] == 1
    # Changes that make no version leave the wish, also if they deny it.
    assert update(cluster, uuid, replication_desired=2)["preserve_version"] is True
    after = update(cluster, uuid, replication_desired=3, preserve_version=False)
    assert after["preserve_version"] is True
    after = update(cluster, uuid, name="two")
    assert (after["version"], after["preserve_version"]) == (2, False)


def test_wish_to_keep_a_state_can_be_taken_back(cluster, uuid):
    update(cluster, uuid, preserve_version=True)
    assert update(cluster, uuid, preserve_version=False)["preserve_version"] is False
    assert update(cluster, uuid, name="two")["version"] == 1


def test_edits_of_files_make_versions(cluster, uuid):
    let_time_pass(cluster, uuid)
    after = cluster.call("PUT", f"collections/{uuid}", replace_files={"/foo": ""})
    assert after["version"] == 2
    assert [old["file_count"] for old in old_versions(cluster, uuid)] == [1]


@pytest.fixture
def old_uuid(cluster, uuid):
    update(cluster, uuid, name="two", manifest_text=BAR_TEXT, preserve_version=True)
    return old_versions(cluster, uuid)[0]["uuid"]


def test_old_versions_are_listed_only_on_request(cluster, uuid, old_uuid):
    assert cluster.names() == ["two"]
    assert cluster.call("GET", "collections")["items_available"] == 1
    home = cluster.identity.administrator_uuid
    assert cluster.names(f"groups/{home}/contents") == ["two"]
    both = [uuid, old_uuid]
    for path in ("collections", f"groups/{home}/contents"):
        items = cluster.call("GET", path, include_old_versions=True)["items"]
        assert sorted(item["uuid"] for item in items) == sorted(both)


def test_content_of_old_versions_is_found_by_its_hash(cluster, old_uuid):
    old = cluster.call("GET", f"collections/{old_uuid}")
    found = cluster.call("GET", f"collections/{old['portable_data_hash']}")
    assert FOO in found["manifest_text"].replace("+A", " ")
    assert found["file_count"] == 0


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("PUT", "", {"name": "changed"}),
        ("DELETE", "", None),
        ("POST", "/trash", None),
    ],
    ids=["update", "delete", "trash"],
)
def test_old_versions_cannot_be_changed(cluster, old_uuid, method, suffix, body):
    status, said = cluster.call(method, f"collections/{old_uuid}{suffix}", body)
    assert (status, "old version" in said) == (422, True)


def test_name_of_an_old_version_is_free(cluster, old_uuid):
    assert cluster.create(name="one")["name"] == "one"


def test_old_versions_go_where_the_current_one_goes(cluster, uuid, old_uuid):
    project = cluster.project("p")["uuid"]
    update(cluster, uuid, owner_uuid=project, storage_classes_desired=["other"])
    old = cluster.call("GET", f"collections/{old_uuid}")
    assert (old["owner_uuid"], old["storage_classes_desired"]) == (project, ["other"])
    cluster.call("POST", f"collections/{uuid}/trash")
    assert cluster.call("GET", f"collections/{old_uuid}")[0] == 404
    assert len(old_versions(cluster, uuid, include_trash=True)) == 1
    cluster.call("POST", f"collections/{uuid}/untrash")
    assert cluster.call("GET", f"collections/{old_uuid}")["is_trashed"] is False


def test_old_versions_are_removed_with_the_current_one(cluster, uuid, old_uuid):
    trashed = cluster.call("DELETE", f"collections/{uuid}")
    trash.sweep(cluster.database, clock.plus(trashed["delete_at"], 1))
    for each in (uuid, old_uuid):
        assert cluster.call("GET", f"collections/{each}", include_trash=True)[0] == 404
    with cluster.database.read() as db:
        assert db.execute("SELECT count(*) FROM collections").fetchone()[0] == 0


def test_old_versions_follow_a_new_uuid(cluster, uuid, old_uuid):
    new_uuid = f"{uuid[:-15]}{'0' * 15}"
    assert update(cluster, uuid, uuid=new_uuid)["current_version_uuid"] == new_uuid
    assert [old["uuid"] for old in old_versions(cluster, new_uuid)] == [old_uuid]


def test_client_cannot_set_versions(cluster, uuid):
    assert cluster.create(version=7, current_version_uuid=uuid)["version"] == 1
    assert update(cluster, uuid, version=7)[0] == 422
    assert update(cluster, uuid, current_version_uuid=f"{uuid[:-15]}{'0' * 15}")[0] == 422
    assert update(cluster, uuid, version=1)["version"] == 1


def test_configuration_says_that_there_are_versions(cluster):
    said = cluster.call("GET", "config")["Collections"]
    assert (said["CollectionVersioning"], said["PreserveVersionIfIdle"]) == (True, "10s")
