"""Methods of collections, without a network."""

import re

import pytest

from arvados_fuse.standalone import clock
from tests.support.local_cluster import LocalCluster

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"
BAR = "37b51d194a7513e45b56f6524f2d51f2+3"
FOO_TEXT = f". {FOO} 0:3:foo\n"
FOO_PDH = "1f4b0bc7583c2a7f9102c395f4ffc5e3+45"
EMPTY_PDH = "d41d8cd98f00b204e9800998ecf8427e+0"


@pytest.fixture
def cluster(tmp_path):
    with LocalCluster(tmp_path) as cluster:
        yield cluster


def unsigned(record):
    """The manifest of a record without its signatures, which it must have."""
    assert "+A" in record["manifest_text"]
    return " ".join(word.partition("+A")[0] for word in record["manifest_text"].split(" "))


def test_new_collection_has_every_attribute(cluster):
    record = cluster.create(name="one", manifest_text=FOO_TEXT, properties={"a": 1})
    expected = {
        "name": "one",
        "owner_uuid": cluster.identity.administrator_uuid,
        "modified_by_user_uuid": cluster.identity.administrator_uuid,
        "portable_data_hash": FOO_PDH,
        "kind": "arvados#collection",
        "properties": {"a": 1},
        "description": None,
        "file_count": 1,
        "file_size_total": 3,
        "version": 1,
        "current_version_uuid": record["uuid"],
        "preserve_version": False,
        "is_trashed": False,
        "trash_at": None,
        "delete_at": None,
        "replication_desired": None,
        "storage_classes_desired": ["default"],
        "storage_classes_confirmed": [],
    }
    assert {name: record[name] for name in expected} == expected
    assert unsigned(record) == FOO_TEXT
    assert record["created_at"] == record["modified_at"]
    assert "unsigned_manifest_text" not in record
    assert "file_names" not in record


def test_collection_without_attributes_is_empty_and_unnamed(cluster):
    record = cluster.create()
    assert record["manifest_text"] == ""
    assert record["portable_data_hash"] == EMPTY_PDH
    assert record["name"] == ""
    assert cluster.create()["uuid"] != record["uuid"]


@pytest.mark.parametrize("wrapped", [True, False], ids=["nested", "flat"])
def test_attributes_may_be_nested_or_flat(cluster, wrapped):
    attributes = {"name": "x"}
    body = {"collection": attributes} if wrapped else attributes
    assert cluster.call("POST", "collections", body)["name"] == "x"


def test_attributes_may_be_a_form(cluster):
    body = b"collection=%7B%22name%22%3A%22x%22%7D"
    reply = cluster.send(
        "POST",
        "collections",
        body=body,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert reply.status == 200
    assert cluster.names() == ["x"]


def test_options_may_stand_beside_nested_attributes(cluster):
    cluster.create(name="x")
    body = {"collection": {"name": "x"}, "ensure_unique_name": True}
    assert cluster.call("POST", "collections", body)["name"].startswith("x (")


def test_get_by_uuid_is_signed_for_the_token_presented(cluster):
    uuid = cluster.create(manifest_text=FOO_TEXT)["uuid"]
    record = cluster.call("GET", f"collections/{uuid}")
    cluster.signer.verify(record["manifest_text"].split(" ")[1], cluster.token, 0)
    selected = cluster.call("GET", f"collections/{uuid}", select=["unsigned_manifest_text"])
    assert selected["unsigned_manifest_text"] == FOO_TEXT
    assert set(selected) == {"unsigned_manifest_text", "kind", "etag"}


def test_get_by_portable_data_hash_tells_the_content_only(cluster):
    cluster.create(name="one", manifest_text=FOO_TEXT, properties={"secret": 1})
    record = cluster.call("GET", f"collections/{FOO_PDH}+Zhint")
    assert record["uuid"] == record["portable_data_hash"] == FOO_PDH
    assert unsigned(record) == FOO_TEXT
    assert (record["name"], record["properties"]) == ("", {})
    assert (record["owner_uuid"], record["modified_at"]) == (None, None)


def test_content_that_nobody_has_is_not_found(cluster):
    assert cluster.call("GET", f"collections/{FOO_PDH}")[0] == 404
    assert cluster.call("GET", "collections/zzzzz-4zz18-012345678901234")[0] == 404
    assert cluster.call("GET", "collections/nonsense")[0] == 404


def test_content_that_is_about_to_expire_is_read_by_its_longest_lasting_collection(cluster):
    cluster.create(manifest_text=FOO_TEXT, trash_at="2100-01-01T00:00:00Z")
    cluster.create(manifest_text=FOO_TEXT, trash_at="2101-01-01T00:00:00Z")
    assert cluster.call("GET", f"collections/{FOO_PDH}")["trash_at"].startswith("2101")
    cluster.create(manifest_text=FOO_TEXT)
    assert cluster.call("GET", f"collections/{FOO_PDH}")["trash_at"] is None


def test_signatures_end_when_the_collection_does(cluster):
    record = cluster.create(manifest_text=FOO_TEXT)
    in_an_hour = clock.plus(clock.now(), 3600)
    record = cluster.call("PUT", f"collections/{record['uuid']}", {"trash_at": in_an_hour})
    expiry = re.search(r"\+A[0-9a-f]+@([0-9a-f]+)", record["manifest_text"])[1]
    assert int(expiry, 16) == int(clock.seconds(in_an_hour))


def test_lists_have_no_manifests_unless_selected(cluster):
    cluster.create(manifest_text=FOO_TEXT)
    (item,) = cluster.call("GET", "collections")["items"]
    assert "manifest_text" not in item
    (item,) = cluster.call("GET", "collections", select=["manifest_text"])["items"]
    assert unsigned(item) == FOO_TEXT


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"nonsense": 1}, "unknown attribute 'nonsense'"),
        ({"manifest_text": "nonsense"}, "Manifest invalid"),
        ({"manifest_text": 3}, "manifest_text"),
        ({"manifest_text": ". \ud800\n"}, "manifest_text"),
        ({"manifest_text": FOO_TEXT, "portable_data_hash": EMPTY_PDH}, "does not match"),
        ({"name": "."}, "Name"),
        ({"name": "a/b"}, "Name"),
        ({"name": "x" * 256}, "too long"),
        ({"name": 1}, "name has to be"),
        ({"name": "nul\0"}, "name has to be"),
        ({"properties": []}, "properties"),
        ({"properties": {"a": "\ud800"}}, "properties"),
        ({"storage_classes_desired": [1]}, "storage_classes_desired"),
        ({"replication_desired": 1.5}, "replication_desired"),
        ({"owner_uuid": "zzzzz-tpzed-012345678901234"}, "not found"),
        ({"owner_uuid": "nonsense"}, "Owner uuid"),
        ({"uuid": "zzzzz-j7d0g-012345678901234"}, "uuid"),
        ({"trash_at": "nonsense"}, "trash_at"),
        ({"delete_at": "2100-01-01T00:00:00Z"}, "Delete at"),
        (
            {"trash_at": "2100-01-02T00:00:00Z", "delete_at": "2100-01-01T00:00:00Z"},
            "Delete at",
        ),
    ],
)
def test_bad_attributes_are_refused(cluster, attributes, said):
    status, text = cluster.create(**attributes)
    assert status == 422
    assert said in text
    assert cluster.names() == []


def test_only_the_hash_of_a_portable_data_hash_is_compared(cluster):
    record = cluster.create(manifest_text=FOO_TEXT, portable_data_hash=FOO_PDH[:32] + "+999")
    assert record["portable_data_hash"] == FOO_PDH


def test_attributes_of_the_server_are_ignored(cluster):
    record = cluster.create(
        file_count=99, created_at="2000-01-01T00:00:00Z", kind="x", etag="x", href="x", version=7
    )
    assert (record["file_count"], record["version"]) == (0, 1)
    assert not record["created_at"].startswith("2000")


def test_administrators_choose_uuids_once(cluster):
    uuid = f"{cluster.core.cluster_id}-4zz18-0123456789abcde"
    assert cluster.create(uuid=uuid)["current_version_uuid"] == uuid
    assert cluster.create(uuid=uuid)[0] == 422


def test_name_is_unique_in_a_project(cluster):
    project = cluster.project("x")["uuid"]
    cluster.create(name="x")
    status, text = cluster.create(name="x")
    assert status == 422
    assert "duplicate key value violates unique constraint" in text
    assert cluster.create(name="x", owner_uuid=project)["name"] == "x"


def test_ensure_unique_name_appends_the_end_of_the_uuid(cluster):
    name = "n" * 250
    cluster.create(name=name)
    body = {"collection": {"name": name}}
    record = cluster.call("POST", "collections", body, ensure_unique_name=True)
    assert record["name"] == f"{'n' * 237} ({record['uuid'][-15:]})"
    free = cluster.call(
        "POST", "collections", {"collection": {"name": "free"}}, ensure_unique_name=True
    )
    assert free["name"] == "free"


class TestUpdate:
    """PUT and PATCH of a collection."""

    @pytest.fixture
    def record(self, cluster):
        return cluster.create(name="one", manifest_text=FOO_TEXT)

    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    def test_changes_what_is_given(self, cluster, record, method):
        text = f". {BAR} 0:3:bar\n"
        path = f"collections/{record['uuid']}"
        changed = cluster.call(method, path, {"name": "two", "manifest_text": text})
        assert changed["name"] == "two"
        assert unsigned(changed) == text
        assert changed["portable_data_hash"] != FOO_PDH
        assert changed["modified_at"] > record["modified_at"]
        assert changed["etag"] != record["etag"]
        assert cluster.call("GET", path)["portable_data_hash"] == changed["portable_data_hash"]

    def test_sending_what_is_there_changes_nothing(self, cluster, record):
        path = f"collections/{record['uuid']}"
        same = cluster.call("PUT", path, record)
        assert (same["modified_at"], same["etag"]) == (record["modified_at"], record["etag"])
        assert cluster.call("GET", path)["modified_at"] == record["modified_at"]

    @pytest.mark.parametrize(
        "attributes",
        [
            {"version": 7},
            {"current_version_uuid": "zzzzz-4zz18-012345678901234"},
            {"storage_classes_desired": []},
            {"portable_data_hash": EMPTY_PDH},
            {"owner_uuid": None},
            {"nonsense": 1},
        ],
    )
    def test_refuses(self, cluster, record, attributes):
        path = f"collections/{record['uuid']}"
        assert cluster.call("PUT", path, attributes)[0] == 422
        assert cluster.call("GET", path)["modified_at"] == record["modified_at"]

    def test_cannot_take_the_name_of_another(self, cluster, record):
        other = cluster.create(name="two")
        assert cluster.call("PUT", f"collections/{other['uuid']}", {"name": "one"})[0] == 422
        assert sorted(cluster.names()) == ["one", "two"]

    def test_moves_to_another_project(self, cluster, record):
        project = cluster.project("p")["uuid"]
        path = f"collections/{record['uuid']}"
        assert cluster.call("PUT", path, {"owner_uuid": project})["owner_uuid"] == project

    def test_new_blocks_end_the_confirmation_of_replication(self, cluster, record):
        path = f"collections/{record['uuid']}"
        confirmed = {
            "replication_confirmed": 2,
            "replication_confirmed_at": "2020-01-01T00:00:00Z",
            "storage_classes_confirmed": ["default"],
        }
        cluster.call("PUT", path, confirmed)
        renamed = cluster.call("PUT", path, {"manifest_text": f". {FOO} 0:3:renamed\n"})
        assert renamed["replication_confirmed"] == 2
        changed = cluster.call("PUT", path, {"manifest_text": f". {BAR} 0:3:bar\n"})
        assert changed["replication_confirmed"] is None
        assert changed["replication_confirmed_at"] is None
        assert changed["storage_classes_confirmed"] == []


class TestWithoutPrivilege:
    """Requests of a user who is no administrator."""

    @pytest.fixture
    def text(self, cluster):
        """A manifest signed for the user."""
        cluster.token = cluster.add_user()
        hint = cluster.signer.hint(FOO[:32], cluster.token, 0x7FFFFFFF)
        return f". {FOO}{hint} 0:3:foo\n"

    def test_signed_blocks_can_be_used(self, cluster, text):
        record = cluster.create(manifest_text=text)
        assert unsigned(record) == FOO_TEXT

    def test_the_empty_block_needs_no_signature(self, cluster, text):
        record = cluster.create(manifest_text="./d d41d8cd98f00b204e9800998ecf8427e+0 0:0:\\056\n")
        assert record["file_count"] == 0

    @pytest.mark.parametrize("change", ["unsigned", "other token", "expired", "remote"])
    def test_other_blocks_cannot(self, cluster, text, change):
        hint = {
            "unsigned": "",
            "other token": cluster.signer.hint(FOO[:32], "other", 0x7FFFFFFF),
            "expired": cluster.signer.hint(FOO[:32], cluster.token, 1),
            "remote": "+Rzzzzz-" + "0" * 40 + "@7fffffff",
        }[change]
        status, said = cluster.create(manifest_text=f". {FOO}{hint} 0:3:foo\n")
        assert status == 403
        assert FOO[:32] in said

    def test_unchanged_text_needs_no_signature(self, cluster, text):
        uuid = cluster.create(manifest_text=text)["uuid"]
        changes = {"name": "new", "manifest_text": FOO_TEXT}
        assert cluster.call("PUT", f"collections/{uuid}", changes)["name"] == "new"

    def test_things_of_others_are_not_there(self, cluster, text):
        user_token, cluster.token = cluster.token, cluster.identity.administrator_token
        foreign = cluster.create(name="foreign", manifest_text=FOO_TEXT)
        project = cluster.project("foreign")
        cluster.token = user_token
        assert cluster.names() == []
        assert cluster.call("GET", f"collections/{foreign['uuid']}")[0] == 404
        assert cluster.call("GET", f"collections/{FOO_PDH}")[0] == 404
        assert cluster.call("PUT", f"collections/{foreign['uuid']}", {"name": "x"})[0] == 404
        assert cluster.call("DELETE", f"collections/{foreign['uuid']}")[0] == 404
        assert cluster.call("GET", "groups/contents", uuid=project["uuid"])[0] == 404
        assert cluster.create(owner_uuid=project["uuid"])[0] == 422

    def test_own_projects_can_be_used_all_the_way_down(self, cluster, text):
        outer = cluster.project("outer")["uuid"]
        inner = cluster.project("inner", owner_uuid=outer)["uuid"]
        cluster.create(name="deep", manifest_text=text, owner_uuid=inner)
        assert cluster.names("groups/contents", uuid=inner) == ["deep"]

    def test_some_attributes_are_for_administrators(self, cluster, text):
        assert cluster.create(replication_confirmed=2)[0] == 422
        assert cluster.create(uuid=f"{cluster.core.cluster_id}-4zz18-0123456789abcde")[0] == 422
        assert cluster.create(replication_confirmed=None)["replication_confirmed"] is None


class TestTrash:
    """Trash by request and by time."""

    @pytest.fixture
    def uuid(self, cluster):
        return cluster.create(name="one", manifest_text=FOO_TEXT)["uuid"]

    def is_visible(self, cluster, uuid):
        """Whether get, list and content by hash show it; all have to agree."""
        found = {
            isinstance(cluster.call("GET", f"collections/{uuid}"), dict),
            isinstance(cluster.call("GET", f"collections/{FOO_PDH}"), dict),
            cluster.names() == ["one"],
        }
        assert len(found) == 1
        return found.pop()

    @pytest.mark.parametrize(
        ("method", "path"), [("DELETE", "collections/{}"), ("POST", "collections/{}/trash")]
    )
    def test_trashed_is_hidden_and_comes_back(self, cluster, uuid, method, path):
        record = cluster.call(method, path.format(uuid))
        assert record["is_trashed"] is True
        assert record["manifest_text"] == FOO_TEXT
        assert record["delete_at"] > record["trash_at"]
        assert not self.is_visible(cluster, uuid)
        assert cluster.call("PUT", f"collections/{uuid}", {"name": "x"})[0] == 404
        assert cluster.names(include_trash=True) == ["one"]
        hidden = cluster.call("GET", f"collections/{uuid}", include_trash=True)
        assert hidden["manifest_text"] == FOO_TEXT
        back = cluster.call("POST", f"collections/{uuid}/untrash")
        assert (back["is_trashed"], back["trash_at"], back["delete_at"]) == (False, None, None)
        assert self.is_visible(cluster, uuid)

    def test_trash_works_by_time_alone(self, cluster, uuid):
        record = cluster.call("PUT", f"collections/{uuid}", {"trash_at": "2100-01-01T00:00:00Z"})
        assert record["delete_at"] == "2100-01-15T00:00:00.000000000Z"
        assert record["is_trashed"] is False
        assert self.is_visible(cluster, uuid)
        cluster.set_columns(uuid, trash_at="2020-01-01T00:00:00.000000000Z")
        assert not self.is_visible(cluster, uuid)

    def test_trash_at_in_the_past_is_now(self, cluster, uuid):
        record = cluster.call("PUT", f"collections/{uuid}", {"trash_at": "2000-01-01T00:00:00Z"})
        assert record["trash_at"] == record["modified_at"]
        assert record["is_trashed"] is True

    def test_is_trashed_can_be_set(self, cluster, uuid):
        assert cluster.call("PUT", f"collections/{uuid}", {"is_trashed": True})["trash_at"]

    def test_deletion_waits_for_signatures(self, cluster, uuid):
        now = clock.now()
        record = cluster.call(
            "PUT", f"collections/{uuid}", {"trash_at": now, "delete_at": clock.plus(now, 60)}
        )
        age_s = clock.seconds(record["delete_at"]) - clock.seconds(record["trash_at"])
        assert age_s == pytest.approx(cluster.limits.blob_signing_ttl_s, abs=1)

    def test_what_is_past_its_deletion_is_gone(self, cluster, uuid):
        past = "2020-01-01T00:00:00.000000000Z"
        cluster.set_columns(uuid, trash_at=past, delete_at=past)
        assert cluster.call("GET", f"collections/{uuid}", include_trash=True)[0] == 404
        assert cluster.call("POST", f"collections/{uuid}/untrash")[0] == 404

    def test_untrash_of_what_is_not_trashed_is_refused(self, cluster, uuid):
        assert cluster.call("POST", f"collections/{uuid}/untrash")[0] == 422

    def test_name_is_free_while_in_the_trash(self, cluster, uuid):
        cluster.call("DELETE", f"collections/{uuid}")
        cluster.create(name="one")
        assert cluster.call("POST", f"collections/{uuid}/untrash")[0] == 422
        back = cluster.call("POST", f"collections/{uuid}/untrash", ensure_unique_name=True)
        assert back["name"] == f"one ({uuid[-15:]})"

    def test_trashed_project_hides_all_below(self, cluster):
        outer = cluster.project("outer")["uuid"]
        inner = cluster.project("inner", owner_uuid=outer)["uuid"]
        uuid = cluster.create(name="one", manifest_text=FOO_TEXT, owner_uuid=inner)["uuid"]
        assert self.is_visible(cluster, uuid)
        cluster.call("POST", f"groups/{outer}/trash")
        assert not self.is_visible(cluster, uuid)
        assert cluster.call("GET", f"groups/{inner}")[0] == 404
        assert cluster.create(owner_uuid=inner)[0] == 422
        shown = cluster.call("GET", f"collections/{uuid}", include_trash=True)
        assert shown["is_trashed"] is False
        cluster.call("POST", f"groups/{outer}/untrash")
        assert self.is_visible(cluster, uuid)
