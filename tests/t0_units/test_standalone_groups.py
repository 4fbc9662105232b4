"""Methods of groups: projects, their contents, and what is shared."""

import pytest

from arvados_fuse.standalone.records import trash
from tests.support.local_cluster import LocalCluster

PROJECTS = [["group_class", "=", "project"]]


@pytest.fixture
def cluster(tmp_path):
    with LocalCluster(tmp_path) as cluster:
        yield cluster


def test_new_project(cluster):
    record = cluster.project("one", description="text", properties={"a": [1]})
    assert record["uuid"].split("-")[1] == "j7d0g"
    assert record["owner_uuid"] == cluster.identity.administrator_uuid
    assert (record["group_class"], record["kind"]) == ("project", "arvados#group")
    assert (record["can_write"], record["can_manage"]) == (True, True)
    assert record["properties"] == {"a": [1]}
    assert cluster.call("GET", f"groups/{record['uuid']}") == record


def test_project_without_a_name_has_its_uuid_for_one(cluster):
    record = cluster.create("groups", group_class="project")
    assert record["name"] == record["uuid"]


@pytest.mark.parametrize(
    "attributes",
    [
        {"name": "x"},
        {"name": "x", "group_class": "nonsense"},
        {"name": "a/b", "group_class": "project"},
        {"name": "..", "group_class": "project"},
        {"name": "x", "group_class": "project", "nonsense": 1},
    ],
)
def test_bad_projects_are_refused(cluster, attributes):
    assert cluster.create("groups", **attributes)[0] == 422


def test_projects_and_collections_have_name_spaces_of_their_own(cluster):
    cluster.project("x")
    assert cluster.create(name="x")["name"] == "x"
    assert cluster.project("x")[0] == 422


def test_project_changes_but_not_its_class(cluster):
    path = f"groups/{cluster.project('one')['uuid']}"
    assert cluster.call("PUT", path, {"name": "two"})["name"] == "two"
    assert cluster.call("PUT", path, {"group_class": "role"})[0] == 422
    assert cluster.call("PUT", path, {"name": "a/b"})[0] == 422


def test_project_cannot_contain_itself(cluster):
    outer = cluster.project("outer")["uuid"]
    inner = cluster.project("inner", owner_uuid=outer)["uuid"]
    for owner in (outer, inner):
        status, text = cluster.call("PUT", f"groups/{outer}", {"owner_uuid": owner})
        assert status == 422
        assert "contain itself" in text


class TestContents:
    """groups/contents"""

    @pytest.fixture(autouse=True)
    def tree(self, cluster):
        """Home: projects p1 and p2, collections c1 and c2; in p1: project p11 with c11."""
        self.home = cluster.identity.administrator_uuid
        self.p1 = cluster.project("p1")["uuid"]
        cluster.project("p2")
        self.p11 = cluster.project("p11", owner_uuid=self.p1)["uuid"]
        cluster.create(name="c1")
        cluster.create(name="c2")
        cluster.create(name="c11", owner_uuid=self.p11)

    def names(self, cluster, **parameters):
        return cluster.names("groups/contents", **{"order": ["name"], **parameters})

    def test_of_a_home_project(self, cluster):
        assert self.names(cluster, uuid=self.home) == ["p1", "p2", "c1", "c2"]

    def test_of_a_project(self, cluster):
        assert self.names(cluster, uuid=self.p1) == ["p11"]
        assert cluster.names(f"groups/{self.p11}/contents") == ["c11"]

    def test_of_everything(self, cluster):
        assert self.names(cluster) == ["p1", "p11", "p2", "c1", "c11", "c2"]
        assert self.names(cluster, exclude_home_project=True) == ["p11", "c11"]

    def test_recursive(self, cluster):
        assert self.names(cluster, uuid=self.p1, recursive=True) == ["p11", "c11"]

    def test_pages_go_over_the_kinds(self, cluster):
        whole = self.names(cluster)
        for limit in range(1, 8):
            pages = [
                cluster.call("GET", "groups/contents", order=["name"], limit=limit, offset=offset)
                for offset in range(0, 6, limit)
            ]
            assert [item["name"] for page in pages for item in page["items"]] == whole
            assert {page["items_available"] for page in pages} == {6}
        page = cluster.call("GET", "groups/contents", limit=2, offset=4, count="none")
        assert len(page["items"]) == 2
        assert "items_available" not in page

    def test_filters_by_kind(self, cluster):
        def listed(*filters):
            return self.names(cluster, filters=list(filters))

        assert listed(["uuid", "is_a", "arvados#collection"]) == ["c1", "c11", "c2"]
        assert listed(["uuid", "is_a", ["arvados#group"]]) == ["p1", "p11", "p2"]
        assert listed(["collections.name", "=", "c1"]) == ["p1", "p11", "p2", "c1"]
        assert listed(["groups.group_class", "=", "role"]) == ["c1", "c11", "c2"]
        assert listed(["container_requests.state", "=", "Final"])[0] == "p1"
        assert listed(["name", "like", "%11"]) == ["p11", "c11"]
        with pytest.raises(TypeError):
            listed(["nonsense.name", "=", "x"])

    def test_order_by_kind(self, cluster):
        order = ["groups.name desc", "collections.name asc"]
        assert self.names(cluster, order=order) == ["p2", "p11", "p1", "c1", "c11", "c2"]

    def test_select(self, cluster):
        found = cluster.call("GET", "groups/contents", uuid=self.p11, select=["manifest_text"])
        assert set(found["items"][0]) == {"kind", "etag"}
        assert cluster.call("GET", "groups/contents", select=["nonsense"])[0] == 422

    def test_owners_are_included_if_wanted(self, cluster):
        found = cluster.call("GET", "groups/contents", uuid=self.p11, include="owner_uuid")
        assert [owner["uuid"] for owner in found["included"]] == [self.p11]
        found = cluster.call("GET", "groups/contents", uuid=self.p11)
        assert found["included"] == []
        assert cluster.call("GET", "groups/contents", include=["nonsense"])[0] == 422

    @pytest.mark.parametrize("uuid", ["zzzzz-j7d0g-012345678901234", "nonsense"])
    def test_of_what_is_not_there(self, cluster, uuid):
        assert cluster.call("GET", "groups/contents", uuid=uuid)[0] == 404


class TestShared:
    """groups/shared"""

    def test_own_projects_are_not_shared(self, cluster):
        outer = cluster.project("outer")["uuid"]
        cluster.project("inner", owner_uuid=outer)
        found = cluster.call(
            "GET", "groups/shared", filters=PROJECTS, limit=10000, order="uuid", count="none"
        )
        assert (found["items"], found["included"]) == ([], [])
        assert found["limit"] == 1000

    def test_administrators_see_the_top_projects_of_others(self, cluster):
        administrator = cluster.token
        cluster.token = cluster.add_user()
        outer = cluster.project("outer")
        cluster.project("inner", owner_uuid=outer["uuid"])
        cluster.token = administrator
        found = cluster.call("GET", "groups/shared", filters=PROJECTS, include="owner_uuid")
        assert [item["name"] for item in found["items"]] == ["outer"]
        assert [owner["uuid"] for owner in found["included"]] == [outer["owner_uuid"]]


def test_sweep_marks_what_has_expired_and_removes_what_is_due(cluster):
    past, future = "2020-01-01T00:00:00.000000000Z", "2100-01-01T00:00:00.000000000Z"
    expired = cluster.create(name="expired")["uuid"]
    due = cluster.create(name="due")["uuid"]
    cluster.set_columns(expired, trash_at=past, delete_at=future)
    cluster.set_columns(due, trash_at=past, delete_at=past)
    cluster.create(name="kept")
    outer = cluster.project("outer")["uuid"]
    inner = cluster.project("inner", owner_uuid=outer)["uuid"]
    cluster.create(name="deep", owner_uuid=inner)
    cluster.set_columns(outer, trash_at=past, delete_at=past)

    trash.sweep(cluster.database, "2026-01-01T00:00:00.000000000Z")

    with cluster.database.read() as db:
        left = db.execute("SELECT name, is_trashed FROM collections ORDER BY name").fetchall()
        assert [tuple(row) for row in left] == [("expired", 1), ("kept", 0)]
        assert db.execute("SELECT name FROM groups WHERE group_class = 'project'").fetchall() == []
