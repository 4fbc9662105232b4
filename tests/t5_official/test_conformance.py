"""What the public documentation of the Arvados API promises, asked of a real server by the SDK.

By default the server is the standalone cluster. To ask another one, set in the environment

    CONFORMANCE=1 ARVADOS_API_HOST=... ARVADOS_API_TOKEN=... [ARVADOS_API_HOST_INSECURE=1]

and run this module alone with pytest. Everything that it makes is in one project with a random
name, which it moves to the trash at the end. The token may be any active user's.

Chapters of the documentation are named in the docstrings: "API Reference" unless said otherwise.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading

import arvados
import arvados.collection
import arvados.errors
import arvados.util
import pytest

from tests.support.cluster import RunningCluster

EMPTY_BLOCK = "d41d8cd98f00b204e9800998ecf8427e+0"
UUID = re.compile(r"[0-9a-z]{5}-[0-9a-z]{5}-[0-9a-z]{15}")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """A client of the cluster under test."""
    if os.environ.get("CONFORMANCE"):
        yield arvados.api("v1", num_retries=0)
        return
    with RunningCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster.api()


@pytest.fixture(scope="module")
def project(api):
    """A project for all that the tests make."""
    body = {"group_class": "project", "name": f"conformance {secrets.token_hex(8)}"}
    record = api.groups().create(body={"group": body}).execute()
    yield record["uuid"]
    api.groups().delete(uuid=record["uuid"]).execute()


@pytest.fixture
def make(api, project):
    """Make a collection in the project; a random name unless one is given."""

    def make(manifest="", **attributes):
        attributes.setdefault("name", f"c {secrets.token_hex(8)}")
        attributes.setdefault("owner_uuid", project)
        options = {k: attributes.pop(k) for k in ("ensure_unique_name",) if k in attributes}
        body = {"collection": {"manifest_text": manifest, **attributes}}
        return api.collections().create(body=body, **options).execute()

    return make


@pytest.fixture
def store(api):
    """Store a block; returns its signed locator."""
    keep = arvados.KeepClient(api_client=api)
    return lambda content: keep.put(content, copies=1)


def status_of(request) -> int:
    """The status of a request that must fail."""
    with pytest.raises(arvados.errors.ApiError) as raised:
        request.execute()
    assert raised.value._get_reason(), "the error says nothing"
    return int(raised.value.resp.status)


def unsigned(manifest: str) -> str:
    return re.sub(r"\+A[0-9a-f]{40}@[0-9a-f]{8}", "", manifest)


def pdh(manifest: str) -> str:
    text = re.sub(r"(?<= )([0-9a-f]{32}\+\d+)(\+\S+)?", r"\1", manifest)
    return f"{hashlib.md5(text.encode()).hexdigest()}+{len(text.encode())}"


class TestCommon:
    """Common resource fields and methods"""

    def test_every_record_has_the_common_fields(self, api, make):
        record = make()
        assert UUID.fullmatch(record["uuid"])
        assert record["uuid"][6:11] == "4zz18"
        assert record["kind"] == "arvados#collection"
        assert record["etag"]
        for field in ("created_at", "modified_at"):
            assert TIMESTAMP.fullmatch(record[field])
        me = api.users().current().execute()
        assert record["modified_by_user_uuid"] == me["uuid"]

    def test_modified_at_and_etag_change_with_the_record(self, api, make):
        before = make()
        after = (
            api.collections()
            .update(uuid=before["uuid"], body={"collection": {"description": "new"}})
            .execute()
        )
        assert after["modified_at"] > before["modified_at"]
        assert after["etag"] != before["etag"]
        assert after["created_at"] == before["created_at"]

    def test_default_owner_is_the_user(self, api):
        record = api.collections().create(body={"collection": {}}).execute()
        try:
            assert record["owner_uuid"] == api.users().current().execute()["uuid"]
        finally:
            api.collections().delete(uuid=record["uuid"]).execute()

    def test_attributes_may_be_flat_or_nested(self, api, project):
        flat = {"owner_uuid": project, "name": f"flat {secrets.token_hex(4)}"}
        assert api.collections().create(body=flat).execute()["name"] == flat["name"]

    def test_unknown_attribute_is_refused(self, api, project):
        body = {"collection": {"owner_uuid": project, "no_such_attribute": 1}}
        assert status_of(api.collections().create(body=body)) == 422

    @pytest.mark.parametrize("resource", ["collections", "groups"])
    def test_missing_object_is_404(self, api, resource):
        infix = {"collections": "4zz18", "groups": "j7d0g"}[resource]
        prefix = api._rootDesc["uuidPrefix"]
        uuid = f"{prefix}-{infix}-{'0' * 15}"
        calls = getattr(api, resource)()
        assert status_of(calls.get(uuid=uuid)) == 404
        assert status_of(calls.update(uuid=uuid, body={})) == 404
        assert status_of(calls.delete(uuid=uuid)) == 404

    def test_select_limits_the_fields(self, api, make):
        uuid = make()["uuid"]
        record = api.collections().get(uuid=uuid, select=["uuid", "name"]).execute()
        assert record.keys() <= {"uuid", "name", "kind", "etag"}
        assert record["uuid"] == uuid
        assert status_of(api.collections().list(select=["nonsense"])) == 422

    def test_wrong_token_is_401(self, api):
        host = re.match(r"https://([^/]+)/", api._rootDesc["rootUrl"])[1]
        stranger = arvados.api("v1", host=host, token="no token", insecure=True, num_retries=0)
        assert status_of(stranger.users().current()) == 401


class TestCollections:
    """Collections"""

    def test_hash_counts_and_signatures(self, make, store):
        locator = store(b"foo")
        record = make(f". {locator} 0:3:foo 0:0:empty\n./d {locator} 0:1:f\n")
        assert record["portable_data_hash"] == pdh(record["manifest_text"])
        assert (record["file_count"], record["file_size_total"]) == (3, 4)
        assert re.search(r" acbd18db4cc2f85cedef654fccc4a4d8\+3\+A\S+ ", record["manifest_text"])

    def test_empty(self, make):
        record = make()
        assert record["portable_data_hash"] == EMPTY_BLOCK
        assert (record["manifest_text"], record["file_count"]) == ("", 0)

    def test_defaults(self, make):
        record = make()
        assert record["properties"] == {}
        assert record["description"] is None
        assert (record["trash_at"], record["delete_at"], record["is_trashed"]) == (
            None, None, False,
        )  # fmt: skip
        assert record["version"] == 1
        assert record["current_version_uuid"] == record["uuid"]
        assert record["preserve_version"] is False
        assert record["storage_classes_desired"]

    def test_get_by_hash(self, api, make, store):
        record = make(f". {store(os.urandom(9))} 0:9:f\n")
        found = api.collections().get(uuid=record["portable_data_hash"]).execute()
        assert found["uuid"] == found["portable_data_hash"] == record["portable_data_hash"]
        assert unsigned(found["manifest_text"]) == unsigned(record["manifest_text"])

    def test_lists_leave_the_manifest_out_unless_it_is_selected(self, api, make):
        uuid = make(f". {EMPTY_BLOCK} 0:0:f\n")["uuid"]
        where = [["uuid", "=", uuid]]
        (item,) = api.collections().list(filters=where).execute()["items"]
        assert "manifest_text" not in item
        (item,) = (
            api.collections()
            .list(filters=where, select=["manifest_text", "unsigned_manifest_text"])
            .execute()["items"]
        )
        assert item["unsigned_manifest_text"] == f". {EMPTY_BLOCK} 0:0:f\n"
        assert unsigned(item["manifest_text"]) == item["unsigned_manifest_text"]

    @pytest.mark.parametrize(
        "manifest",
        [
            "nonsense",
            f". {EMPTY_BLOCK} 0:0:f",
            f". {EMPTY_BLOCK}\n",
            ". 0:0:f\n",
            f"./../x {EMPTY_BLOCK} 0:0:f\n",
            f". {EMPTY_BLOCK} 0:0:../f\n",
            f". {EMPTY_BLOCK} 0:0:a//b\n",
            f". {EMPTY_BLOCK}  0:0:f\n",
        ],
    )
    def test_bad_manifest_is_422(self, api, project, manifest):
        body = {"collection": {"owner_uuid": project, "manifest_text": manifest}}
        assert status_of(api.collections().create(body=body)) == 422

    def test_wrong_hash_is_422(self, api, project):
        body = {"owner_uuid": project, "manifest_text": "", "portable_data_hash": "0" * 32 + "+0"}
        assert status_of(api.collections().create(body={"collection": body})) == 422

    def test_names_are_unique_in_a_project(self, api, project, make):
        name = make()["name"]
        body = {"collection": {"name": name, "owner_uuid": project}}
        assert status_of(api.collections().create(body=body)) == 422
        other = make(name=name, ensure_unique_name=True)
        assert other["name"].startswith(f"{name} (")

    def test_trash_untrash_and_delete(self, api, make):
        uuid = make()["uuid"]
        trashed = api.collections().trash(uuid=uuid).execute()
        assert trashed["is_trashed"]
        assert trashed["delete_at"] > trashed["trash_at"]
        assert status_of(api.collections().get(uuid=uuid)) == 404
        found = api.collections().get(uuid=uuid, include_trash=True).execute()
        assert found["is_trashed"]
        assert not api.collections().list(filters=[["uuid", "=", uuid]]).execute()["items"]
        untrashed = api.collections().untrash(uuid=uuid).execute()
        assert (untrashed["trash_at"], untrashed["is_trashed"]) == (None, False)
        assert status_of(api.collections().untrash(uuid=uuid)) == 422
        api.collections().delete(uuid=uuid).execute()
        assert status_of(api.collections().get(uuid=uuid)) == 404

    def test_no_op_update_changes_nothing(self, api, make):
        record = make()
        same = {"storage_classes_desired": record["storage_classes_desired"]}
        after = api.collections().update(uuid=record["uuid"], body=same).execute()
        assert (after["modified_at"], after["version"]) == (record["modified_at"], 1)


class TestVersions:
    """Collections: versioning"""

    def test_preserved_version_stays(self, api, make):
        record = make(f". {EMPTY_BLOCK} 0:0:one\n", preserve_version=True)
        change = {"collection": {"manifest_text": f". {EMPTY_BLOCK} 0:0:two\n"}}
        current = api.collections().update(uuid=record["uuid"], body=change).execute()
        assert current["version"] == 2
        versions = (
            api.collections()
            .list(
                filters=[["current_version_uuid", "=", record["uuid"]]],
                include_old_versions=True,
                order=["version asc"],
                select=["uuid", "version", "portable_data_hash", "current_version_uuid"],
            )
            .execute()["items"]
        )
        assert [v["version"] for v in versions] == [1, 2]
        old = versions[0]
        assert old["portable_data_hash"] == record["portable_data_hash"]
        assert api.collections().get(uuid=old["uuid"]).execute()["version"] == 1
        change = {"collection": {"name": "not allowed"}}
        assert status_of(api.collections().update(uuid=old["uuid"], body=change)) == 422

    def test_version_cannot_be_set(self, api, make):
        change = {"collection": {"version": 7}}
        assert status_of(api.collections().update(uuid=make()["uuid"], body=change)) == 422


class TestReplaceFiles:
    """Collections: replace_files"""

    MANIFEST = f". {EMPTY_BLOCK} 0:0:a 0:0:b\n./d {EMPTY_BLOCK} 0:0:c\n"

    def edit(self, api, uuid, changes, **attributes):
        body = {"collection": attributes, "replace_files": changes}
        return api.collections().update(uuid=uuid, body=body)

    def paths(self, record):
        found = set()
        for line in record["manifest_text"].splitlines():
            stream, *tokens = line.split(" ")
            for token in tokens:
                if ":" in token:
                    found.add(f"{stream}/{token.split(':', 2)[2]}"[2:])
        return found

    def test_rename_delete_and_copy_at_once(self, api, make):
        uuid = make(self.MANIFEST)["uuid"]
        changes = {"/new": "current/a", "/a": "", "/copy/c": "current/d/c", "/b": ""}
        record = self.edit(api, uuid, changes).execute()
        assert self.paths(record) == {"new", "d/c", "copy/c"}
        assert record["portable_data_hash"] == pdh(record["manifest_text"])

    def test_swap(self, api, make, store):
        one, two = store(b"one"), store(b"two!")
        uuid = make(f". {one} {two} 0:3:x 3:4:y\n")["uuid"]
        record = self.edit(api, uuid, {"/x": "current/y", "/y": "current/x"}).execute()
        reader = arvados.collection.Collection(record["uuid"], api_client=api)
        assert reader.open("x", "rb").read() == b"two!"
        assert reader.open("y", "rb").read() == b"one"

    def test_add_from_a_manifest_and_from_another_collection(self, api, make, store):
        uuid = make(self.MANIFEST)["uuid"]
        other = make(f"./o {store(os.urandom(5))} 0:5:f\n")
        record = self.edit(
            api,
            uuid,
            {"/e/new": "manifest_text/n", "/all": f"{other['portable_data_hash']}/"},
            manifest_text=f". {store(b'n')} 0:1:n\n",
        ).execute()
        assert self.paths(record) == {"a", "b", "d/c", "e/new", "all/o/f"}

    @pytest.mark.parametrize(
        "changes",
        [
            {"no-slash": "current/a"},
            {"/a/": "current/b"},
            {"/x//y": "current/b"},
            {"/x/../y": "current/b"},
            {"/x": "current/missing"},
            {"/x": "nonsense"},
            {"/x": "current/a", "/x/y": "current/b"},
        ],
    )
    def test_bad_edits_are_400_and_change_nothing(self, api, make, changes):
        before = make(self.MANIFEST)
        assert status_of(self.edit(api, before["uuid"], changes)) == 400
        after = api.collections().get(uuid=before["uuid"]).execute()
        assert after["portable_data_hash"] == before["portable_data_hash"]

    def test_concurrent_edits_all_arrive(self, api, make):
        uuid = make(self.MANIFEST)["uuid"]

        def write(number):  # in a thread of its own, so with a client of its own
            self.edit(api, uuid, {f"/n{number}": "current/a"}).execute()

        writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        record = api.collections().get(uuid=uuid).execute()
        assert self.paths(record) == {"a", "b", "d/c", *(f"n{n}" for n in range(8))}


@pytest.fixture(scope="module")
def owner(api, project):
    """A project with five collections: k0 to k4, with properties."""
    body = {"group_class": "project", "name": "lists", "owner_uuid": project}
    owner = api.groups().create(body=body).execute()["uuid"]
    for number in range(5):
        properties = {"n": number, "even": number % 2 == 0, "tags": [f"t{number}", "all"]}
        body = {"name": f"k{number}", "owner_uuid": owner, "properties": properties}
        api.collections().create(body=body).execute()
    return owner


class TestLists:
    """Common resource methods: list"""

    def names(self, api, owner, *filters, **options):
        options.setdefault("order", ["name asc"])
        where = [["owner_uuid", "=", owner], *filters]
        items = api.collections().list(filters=where, **options).execute()["items"]
        return "".join(item["name"][1] for item in items)

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            (["name", "=", "k2"], "2"),
            (["name", "!=", "k2"], "0134"),
            (["name", "<", "k2"], "01"),
            (["name", ">=", "k3"], "34"),
            (["name", "like", "k%"], "01234"),
            (["name", "ilike", "K1"], "1"),
            (["name", "in", ["k1", "k4", "x"]], "14"),
            (["name", "not in", ["k1", "k4"]], "023"),
            (["uuid", "is_a", "arvados#collection"], "01234"),
            (["uuid", "is_a", "arvados#group"], ""),
            (["file_count", "=", 0], "01234"),
            (["is_trashed", "=", False], "01234"),
            (["properties.n", "=", 3], "3"),
            (["properties.n", "<", 2], "01"),
            (["properties.even", "=", True], "024"),
            (["properties.n", "in", [1, 2]], "12"),
            (["properties.missing", "exists", False], "01234"),
            (["properties.n", "exists", True], "01234"),
            (["properties", "exists", "n"], "01234"),
            (["properties", "contains", "even"], "01234"),
            (["properties.tags", "contains", "t3"], "3"),
        ],
        ids=str,
    )
    def test_filters(self, api, owner, condition, expected):
        assert self.names(api, owner, condition) == expected

    @pytest.mark.parametrize(
        "condition",
        [["nonsense", "=", 1], ["name", "~~", "x"], ["name", "in", "x"], ["properties", "@@", "x"]],
        ids=str,
    )
    def test_bad_filters_are_422(self, api, condition):
        assert status_of(api.collections().list(filters=[condition])) == 422

    def test_order_limit_and_offset(self, api, owner):
        assert self.names(api, owner, order=["name desc"]) == "43210"
        assert self.names(api, owner, limit=2) == "01"
        assert self.names(api, owner, limit=2, offset=3) == "34"
        assert self.names(api, owner, limit=0) == ""

    def test_count(self, api, owner):
        where = [["owner_uuid", "=", owner]]
        answer = api.collections().list(filters=where, limit=1).execute()
        assert (answer["items_available"], answer["limit"], answer["offset"]) == (5, 1, 0)
        answer = api.collections().list(filters=where, count="none").execute()
        assert "items_available" not in answer
        assert answer["kind"] == "arvados#collectionList"

    def test_distinct(self, api, owner):
        answer = (
            api.collections()
            .list(filters=[["owner_uuid", "=", owner]], select=["owner_uuid"], distinct=True)
            .execute()
        )
        assert [item["owner_uuid"] for item in answer["items"]] == [owner]

    def test_too_large_limit_is_clamped(self, api, owner):
        where = [["owner_uuid", "=", owner]]
        assert api.collections().list(filters=where, limit=10**6).execute()["limit"] <= 10**6
        assert self.names(api, owner, limit=10**6) == "01234"

    def test_contents_of_a_project(self, api, owner):
        body = {"group_class": "project", "name": "sub", "owner_uuid": owner}
        sub = api.groups().create(body=body).execute()
        try:
            answer = api.groups().contents(uuid=owner).execute()
            kinds = [item["kind"] for item in answer["items"]]
            assert kinds == ["arvados#group", *["arvados#collection"] * 5]
            assert answer["kind"] == "arvados#objectList"
            answer = (
                api.groups()
                .contents(uuid=owner, filters=[["uuid", "is_a", "arvados#group"]])
                .execute()
            )
            assert [item["uuid"] for item in answer["items"]] == [sub["uuid"]]
        finally:
            api.groups().delete(uuid=sub["uuid"]).execute()


class TestGroups:
    """Groups"""

    def make(self, api, project, group_class, **attributes):
        body = {"group_class": group_class, "owner_uuid": project, **attributes}
        body.setdefault("name", f"g {secrets.token_hex(8)}")
        return api.groups().create(body={"group": body}).execute()

    def test_project_fields(self, api, project):
        record = self.make(api, project, "project")
        assert record["uuid"][6:11] == "j7d0g"
        assert record["can_write"] is True
        assert record["can_manage"] is True
        assert record["frozen_by_uuid"] is None

    def test_class_is_needed_and_stays(self, api, project):
        assert status_of(api.groups().create(body={"group": {"name": "x"}})) == 422
        uuid = self.make(api, project, "project")["uuid"]
        change = {"group": {"group_class": "role"}}
        assert status_of(api.groups().update(uuid=uuid, body=change)) == 422

    def test_name_and_collection_name_do_not_clash(self, api, project, make):
        name = make()["name"]
        assert self.make(api, project, "project", name=name)["name"] == name
        body = {"group_class": "project", "name": name, "owner_uuid": project}
        assert status_of(api.groups().create(body=body)) == 422

    def test_trashed_project_hides_what_it_holds(self, api, project):
        outer = self.make(api, project, "project")["uuid"]
        inner = self.make(api, outer, "project")["uuid"]
        body = {"owner_uuid": inner, "name": "hidden"}
        uuid = api.collections().create(body=body).execute()["uuid"]
        api.groups().trash(uuid=outer).execute()
        assert status_of(api.collections().get(uuid=uuid)) == 404
        api.groups().untrash(uuid=outer).execute()
        assert api.collections().get(uuid=uuid).execute()["name"] == "hidden"

    def test_ownership_cycle_is_refused(self, api, project):
        outer = self.make(api, project, "project")["uuid"]
        inner = self.make(api, outer, "project")["uuid"]
        change = {"group": {"owner_uuid": inner}}
        assert status_of(api.groups().update(uuid=outer, body=change)) == 422

    def test_filter_group_shows_what_matches(self, api, project, make):
        tag = secrets.token_hex(8)
        uuid = make(properties={"conformance": tag})["uuid"]
        filters = [["collections.properties.conformance", "=", tag]]
        group = self.make(api, project, "filter", properties={"filters": filters})
        items = (
            api.groups()
            .contents(uuid=group["uuid"], filters=[["uuid", "is_a", "arvados#collection"]])
            .execute()["items"]
        )
        assert [item["uuid"] for item in items] == [uuid]

    def test_frozen_project_cannot_change(self, api, project):
        me = api.users().current().execute()["uuid"]
        uuid = self.make(api, project, "project", description="d", properties={"a": 1})["uuid"]
        body = {"owner_uuid": uuid, "name": "inside"}
        inside = api.collections().create(body=body).execute()["uuid"]
        frozen = api.groups().update(uuid=uuid, body={"group": {"frozen_by_uuid": me}}).execute()
        assert frozen["frozen_by_uuid"] == me
        assert frozen["can_write"] is False
        change = {"collection": {"name": "other"}}
        assert status_of(api.collections().update(uuid=inside, body=change)) == 403
        body = {"owner_uuid": uuid, "name": "more"}
        assert status_of(api.collections().create(body=body)) == 403
        api.groups().update(uuid=uuid, body={"group": {"frozen_by_uuid": None}}).execute()
        api.collections().update(uuid=inside, body=change).execute()


class TestLinksAndLogs:
    """Links, Logs"""

    def test_tag(self, api, make):
        uuid, tag = make()["uuid"], f"tag {secrets.token_hex(8)}"
        body = {"link_class": "tag", "name": tag, "head_uuid": uuid}
        link = api.links().create(body={"link": body}).execute()
        assert link["head_kind"] == "arvados#collection"
        found = (
            api.links()
            .list(filters=[["link_class", "=", "tag"], ["name", "=", tag]], select=["head_uuid"])
            .execute()["items"]
        )
        assert [item["head_uuid"] for item in found] == [uuid]
        api.links().delete(uuid=link["uuid"]).execute()
        assert status_of(api.links().get(uuid=link["uuid"])) == 404

    def test_link_to_nothing_is_refused(self, api, make):
        missing = make()["uuid"][:-15] + "0" * 15
        body = {"link_class": "tag", "name": "x", "head_uuid": missing}
        assert status_of(api.links().create(body={"link": body})) == 422

    def test_every_change_is_logged_in_order(self, api, make):
        uuid = make()["uuid"]
        change = {"collection": {"description": "changed"}}
        api.collections().update(uuid=uuid, body=change).execute()
        entries = (
            api.logs()
            .list(filters=[["object_uuid", "=", uuid]], order=["id asc"])
            .execute()["items"]
        )
        assert [entry["event_type"] for entry in entries] == ["create", "update"]
        assert entries[0]["id"] < entries[1]["id"]
        properties = entries[1]["properties"]
        assert properties["new_attributes"]["description"] == "changed"
        assert entries[0]["properties"]["old_attributes"] is None
        later = (
            api.logs()
            .list(filters=[["id", ">", str(entries[0]["id"])], ["object_uuid", "=", uuid]])
            .execute()["items"]
        )
        assert [entry["id"] for entry in later] == [entries[1]["id"]]


class TestKeep:
    """Keep: block storage"""

    def test_block_goes_there_and_back(self, api, store):
        content = os.urandom(100_000)
        locator = store(content)
        assert re.fullmatch(r"[0-9a-f]{32}\+100000\+A[0-9a-f]{40}@[0-9a-f]{8}", locator)
        assert arvados.KeepClient(api_client=api, block_cache=None).get(locator) == content

    def test_block_without_signature_is_refused(self, api, store):
        locator = "+".join(store(os.urandom(10)).split("+")[:2])
        with pytest.raises(arvados.errors.KeepReadError):
            arvados.KeepClient(api_client=api).get(locator, num_retries=0)


class TestCluster:
    """Users, configuration, vocabulary, Keep services, tokens"""

    def test_current_user(self, api):
        user = api.users().current().execute()
        assert user["uuid"][6:11] == "tpzed"
        assert user["is_active"] is True
        assert user["can_write"] is True

    def test_configuration(self, api):
        config = api.configs().get().execute()
        assert config["ClusterID"] == api._rootDesc["uuidPrefix"]
        assert any(c.get("Default") for c in config["StorageClasses"].values())
        assert "ForwardSlashNameSubstitution" in config["Collections"]
        assert "BlobSigningKey" not in str(config)

    def test_vocabulary(self, api):
        assert isinstance(api.vocabularies().get().execute()["tags"], dict)

    def test_keep_services(self, api):
        for service in api.keep_services().accessible().execute()["items"]:
            assert service["service_host"]
            assert service["service_type"]

    def test_current_token(self, api):
        token = api.api_client_authorizations().current().execute()
        assert token["uuid"][6:11] == "gj3su"
        assert "all" in token["scopes"]

    def test_shared_has_what_its_clients_index(self, api):
        answer = api.groups().shared(include="owner_uuid", limit=10000, order="uuid").execute()
        assert isinstance(answer["items"], list)
        assert isinstance(answer["included"], list)
