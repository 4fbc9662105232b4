"""The log: what is in it, in which order, and for whom."""

import pytest

from arvados_fuse.standalone.records import trash
from tests.support.local_cluster import LocalCluster


@pytest.fixture
def cluster(tmp_path):
    with LocalCluster(tmp_path) as cluster:
        yield cluster


def entries(cluster, *filters, order="id asc"):
    return cluster.call("GET", "logs", filters=list(filters), order=order)["items"]


def entries_of(cluster, uuid):
    return entries(cluster, ["object_uuid", "=", uuid])


def test_each_change_has_its_entry(cluster):
    made = cluster.create(name="one", properties={"a": 1})
    changed = cluster.call("PUT", f"collections/{made['uuid']}", {"name": "two"})
    cluster.call("DELETE", f"collections/{made['uuid']}")
    create, update, trashing = entries_of(cluster, made["uuid"])

    assert [e["event_type"] for e in (create, update, trashing)] == ["create", "update", "update"]
    assert create["summary"] == f"create of {made['uuid']}"
    assert create["object_kind"] == "arvados#collection"
    assert create["object_owner_uuid"] == made["owner_uuid"]
    properties = create["properties"]
    assert (properties["old_etag"], properties["old_attributes"]) == (None, None)
    assert properties["new_etag"] == made["etag"]
    assert properties["new_attributes"]["properties"] == {"a": 1}
    properties = update["properties"]
    assert (properties["old_etag"], properties["new_etag"]) == (made["etag"], changed["etag"])
    names = [properties[side]["name"] for side in ("old_attributes", "new_attributes")]
    assert names == ["one", "two"]
    assert trashing["properties"]["new_attributes"]["is_trashed"] is True


def test_a_change_of_nothing_and_a_refused_change_have_none(cluster):
    made = cluster.create(name="one")
    cluster.create(name="taken")
    path = f"collections/{made['uuid']}"
    cluster.call("PUT", path, {"name": "one"})
    assert cluster.call("PUT", path, {"name": "taken"})[0] == 422
    assert len(entries_of(cluster, made["uuid"])) == 1


def test_a_wish_to_keep_a_version_is_not_logged(cluster):
    made = cluster.create(name="one")
    cluster.call("PUT", f"collections/{made['uuid']}", {"preserve_version": True})
    assert len(entries_of(cluster, made["uuid"])) == 1


def test_a_move_tells_both_owners(cluster):
    old, new = (cluster.project(name)["uuid"] for name in ("old", "new"))
    made = cluster.create(name="x", owner_uuid=old)["uuid"]
    cluster.call("PUT", f"collections/{made}", {"owner_uuid": new})
    entry = entries_of(cluster, made)[-1]
    assert entry["object_owner_uuid"] == new
    assert entry["properties"]["old_attributes"]["owner_uuid"] == old


def test_ids_only_grow_and_can_be_asked_for_as_text(cluster):
    for name in "abc":
        cluster.project(name)
    ids = [entry["id"] for entry in entries(cluster)]
    assert ids == sorted(set(ids))
    newer = entries(cluster, ["id", ">", str(ids[0])])
    assert [entry["id"] for entry in newer] == ids[1:]
    (newest,) = cluster.call("GET", "logs", order="id desc", limit=1)["items"]
    assert newest["id"] == ids[-1]


def test_ids_are_not_used_again_when_the_log_forgets(cluster):
    cluster.project("a")
    last = entries(cluster)[-1]["id"]
    trash.sweep(cluster.database, "2100-01-01T00:00:00.000000000Z")
    assert entries(cluster) == []
    cluster.project("b")
    assert entries(cluster)[0]["id"] > last


def test_removal_by_the_sweep_is_logged_and_expiry_is_not(cluster):
    past, future = "2020-01-01T00:00:00.000000000Z", "2100-01-01T00:00:00.000000000Z"
    due, expired = (cluster.create(name=name)["uuid"] for name in ("due", "expired"))
    cluster.set_columns(due, trash_at=past, delete_at=past)
    cluster.set_columns(expired, trash_at=past, delete_at=future)
    trash.sweep(cluster.database, "2026-01-01T00:00:00.000000000Z")
    entry = entries_of(cluster, due)[-1]
    assert entry["event_type"] == "delete"
    assert entry["properties"]["new_attributes"] is None
    assert entry["properties"]["old_attributes"]["name"] == "due"
    assert len(entries_of(cluster, expired)) == 1


def test_clients_add_entries(cluster):
    target = cluster.create(name="x")["uuid"]
    made = cluster.create(
        "logs", object_uuid=target, event_type="note", properties={"text": "Hello"}
    )
    assert made["event_at"] == made["created_at"]
    assert isinstance(made["id"], int)
    assert cluster.call("GET", f"logs/{made['uuid']}") == made
    assert entries_of(cluster, target)[-1] == made


def test_secrets_and_contents_are_not_in_the_log(cluster):
    block = "acbd18db4cc2f85cedef654fccc4a4d8+3"
    cluster.create(name="x", manifest_text=f". {block} 0:3:foo\n")
    assert block not in str(entries(cluster))


def test_others_do_not_see_the_log_of_what_they_do_not_see(cluster):
    secret = cluster.project("secret")["uuid"]
    (entry,) = entries_of(cluster, secret)
    cluster.token = cluster.add_user()
    own = cluster.project("own")["uuid"]
    assert entries_of(cluster, secret) == []
    assert cluster.call("GET", f"logs/{entry['uuid']}")[0] == 404
    assert len(entries_of(cluster, own)) == 1
