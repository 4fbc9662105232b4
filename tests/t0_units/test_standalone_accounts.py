"""How accounts begin and end, what the log of administrators allows, and when tokens were used."""

import json

import pytest

from arvados_fuse.standalone import wellknown
from arvados_fuse.standalone.records import token_use, trash
from tests.support.local_cluster import LocalCluster


@pytest.fixture
def cluster(tmp_path):
    with LocalCluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def user(cluster):
    """The token of a user who is no administrator."""
    return cluster.add_user(username="ann")


@pytest.fixture
def idle(cluster):
    """The uuid of a user who has not been set up."""
    return cluster.create("users", username="idle", is_active=False)["uuid"]


def sees(cluster, token, uuid):
    with cluster.acting(token):
        return "uuid" in cluster.call("GET", f"users/{uuid}")


class TestSetup:
    """users.setup, users.activate, users.unsetup"""

    def test_setup_makes_one_of_all_users_who_is_not_yet_active(self, cluster, user, idle):
        assert not sees(cluster, user, idle)
        answer = cluster.call("POST", "users/setup", {"uuid": idle})
        assert answer["kind"] == "arvados#HashList"
        link, record = answer["items"]
        assert link["head_uuid"] == wellknown.all_users(cluster.core.cluster_id)
        assert (record["is_invited"], record["is_active"]) == (True, False)
        assert sees(cluster, user, idle)

    def test_setup_can_make_the_user(self, cluster):
        _, record = cluster.call("POST", "users/setup", {"user": {"username": "new"}})["items"]
        assert cluster.call("GET", f"users/{record['uuid']}")["username"] == "new"

    def test_setup_needs_one_user(self, cluster, idle):
        assert cluster.call("POST", "users/setup", {})[0] == 422
        both = {"uuid": idle, "user": {"username": "new"}}
        assert cluster.call("POST", "users/setup", both)[0] == 422

    def test_users_activate_themselves_once_they_are_set_up(self, cluster, idle):
        token = cluster.create("api_client_authorizations", owner_uuid=idle)["api_token"]
        administrator, cluster.token = cluster.token, token
        assert cluster.call("POST", f"users/{idle}/activate")[0] == 403
        with cluster.acting(administrator):
            cluster.call("POST", "users/setup", {"uuid": idle})
        assert cluster.call("POST", f"users/{idle}/activate")["is_active"] is True

    def test_unsetup_undoes_all_of_it(self, cluster, user):
        uuid = cluster.user_uuid(user)
        record = cluster.call("POST", f"users/{uuid}/unsetup")
        assert (record["is_active"], record["is_invited"]) == (False, False)
        with cluster.acting(user):
            assert cluster.call("GET", "users/current")[0] == 401

    def test_others_manage_nobody(self, cluster, user, idle):
        cluster.token = user
        cluster.permit(cluster.user_uuid(user), "can_manage", idle)
        assert cluster.call("POST", "users/setup", {"uuid": idle})[0] == 403
        for method in ("activate", "unsetup"):
            assert cluster.call("POST", f"users/{idle}/{method}")[0] == 403
        assert cluster.call("DELETE", f"users/{idle}")[0] == 403


class TestDelete:
    """users.delete"""

    def test_user_goes_with_tokens_and_permissions(self, cluster, user):
        uuid = cluster.user_uuid(user)
        cluster.permit(uuid, "can_read", cluster.project("p")["uuid"])
        assert cluster.call("DELETE", f"users/{uuid}")["uuid"] == uuid
        assert cluster.call("GET", f"users/{uuid}")[0] == 404
        for end in ("head_uuid", "tail_uuid"):
            assert cluster.call("GET", "links", filters=[[end, "=", uuid]])["items"] == []
        with cluster.acting(user):
            assert cluster.call("GET", "users/current")[0] == 401

    @pytest.mark.parametrize("resource", ["collections", "workflows", "groups"])
    def test_who_owns_something_stays(self, cluster, user, resource):
        uuid = cluster.user_uuid(user)
        what = {"group_class": "project"} if resource == "groups" else {}
        made = cluster.create(resource, name="his", owner_uuid=uuid, **what)
        status, message = cluster.call("DELETE", f"users/{uuid}")
        assert (status, resource in message) == (422, True)
        home = cluster.identity.administrator_uuid
        cluster.call("PUT", f"{resource}/{made['uuid']}", {"owner_uuid": home})
        assert cluster.call("DELETE", f"users/{uuid}")["uuid"] == uuid

    def test_the_cluster_keeps_the_users_that_it_needs(self, cluster):
        needed = [
            wellknown.system_user(cluster.core.cluster_id),
            wellknown.anonymous_user(cluster.core.cluster_id),
            cluster.identity.administrator_uuid,
        ]
        for uuid in needed:
            assert cluster.call("DELETE", f"users/{uuid}")[0] == 403
            assert cluster.call("POST", f"users/{uuid}/unsetup")[0] == 403


class TestLog:
    """logs.update, logs.delete"""

    def test_administrators_change_the_log(self, cluster):
        entry = cluster.create("logs", event_type="note", summary="a")
        path = f"logs/{entry['uuid']}"
        assert cluster.call("PUT", path, {"summary": "b"})["summary"] == "b"
        assert cluster.call("DELETE", path)["id"] == entry["id"]
        assert cluster.call("GET", path)[0] == 404

    def test_others_do_not_even_their_own_entries(self, cluster, user):
        cluster.token = user
        path = f"logs/{cluster.create('logs', event_type='note')['uuid']}"
        assert cluster.call("PUT", path, {"summary": "b"})[0] == 403
        assert cluster.call("DELETE", path)[0] == 403


class TestWorkflows:
    """workflows are kept with the projects that they are in"""

    def test_definition_comes_back_and_changes(self, cluster):
        path = f"workflows/{cluster.create('workflows', name='w', definition='cwl')['uuid']}"
        assert cluster.call("GET", path)["definition"] == "cwl"
        assert cluster.call("PUT", path, {"definition": "new"})["definition"] == "new"
        cluster.call("DELETE", path)
        assert cluster.call("GET", path)[0] == 404

    def test_projects_show_them(self, cluster):
        project = cluster.project("p")["uuid"]
        cluster.create("workflows", name="w", owner_uuid=project)
        items = cluster.call("GET", f"groups/{project}/contents")["items"]
        assert [(item["kind"], item["name"]) for item in items] == [("arvados#workflow", "w")]

    def test_filters_for_what_they_do_not_have_choose_none_of_them(self, cluster):
        project = cluster.project("p")["uuid"]
        cluster.create("workflows", name="w", owner_uuid=project)
        cluster.create(name="c", owner_uuid=project, properties={"a": 1})
        path = f"groups/{project}/contents"
        assert set(cluster.names(path)) == {"w", "c"}
        for filters in (
            [["properties.a", "=", 1]],
            [["is_trashed", "=", False]],
            [["uuid", "is_a", "arvados#collection"], ["portable_data_hash", "!=", "x"]],
        ):
            assert cluster.names(path, filters=filters) == ["c"]
        assert cluster.names(path, filters=[["uuid", "is_a", ["arvados#workflow"]]]) == ["w"]
        for filters in ([["colour", "=", 1]], [["uuid", "is_a", 7]], [["uuid", "is_a", [7]]]):
            assert cluster.call("GET", path, filters=filters)[0] == 422

    def test_they_go_with_their_project(self, cluster):
        project = cluster.project("p")["uuid"]
        path = f"workflows/{cluster.create('workflows', owner_uuid=project)['uuid']}"
        cluster.call("POST", f"groups/{project}/trash")
        assert cluster.call("GET", path)[0] == 404
        trash.sweep(cluster.database, "9999-01-01T00:00:00.000000000Z")
        with cluster.database.read() as db:
            assert db.execute("SELECT count(*) FROM workflows").fetchone()[0] == 0


class TestUseOfTokens:
    """created_by_ip_address, last_used_at, last_used_by_ip_address"""

    def current(self, cluster, peer="192.0.2.1"):
        request = cluster.request("GET", "api_client_authorizations/current", peer=peer)
        return json.loads(cluster.service.handle(request).body)

    def test_first_request_is_noted_at_once(self, cluster):
        record = self.current(cluster)
        assert record["last_used_by_ip_address"] == "192.0.2.1"
        assert record["last_used_at"] > record["created_at"]

    def test_later_requests_do_not_write_for_a_minute(self, cluster, monkeypatch):
        first = self.current(cluster)
        assert self.current(cluster, "192.0.2.2") == first
        clock = token_use.time.monotonic
        monkeypatch.setattr(token_use.time, "monotonic", lambda: clock() + 61)
        later = self.current(cluster, "192.0.2.2")
        assert later["last_used_by_ip_address"] == "192.0.2.2"
        assert later["last_used_at"] > first["last_used_at"]

    def test_requests_do_not_wait_for_writers(self, cluster):
        with cluster.database.write():
            assert self.current(cluster)["last_used_at"] is None
        assert self.current(cluster)["last_used_at"] is not None

    def test_creation_notes_the_client(self, cluster):
        request = cluster.request("POST", "api_client_authorizations", body=b"{}", peer="::1")
        made = json.loads(cluster.service.handle(request).body)
        assert made["created_by_ip_address"] == "::1"


class TestReaderTokens:
    """reader_tokens: others on whose behalf a request reads"""

    @pytest.fixture
    def shared(self, cluster):
        """A collection of the administrator, and a token that may read it."""
        uuid = cluster.create(name="shared")["uuid"]
        reader = cluster.add_user(username="reader")
        cluster.permit(cluster.user_uuid(reader), "can_read", uuid)
        return uuid, reader

    def test_they_show_what_their_users_may_read(self, cluster, user, shared):
        uuid, reader = shared
        cluster.token = user
        assert cluster.call("GET", f"collections/{uuid}")[0] == 404
        assert cluster.call("GET", f"collections/{uuid}", reader_tokens=[reader])["uuid"] == uuid
        assert cluster.names(reader_tokens=[reader]) == ["shared"]

    def test_they_do_not_let_write(self, cluster, user, shared):
        uuid, reader = shared
        cluster.token = user
        change = {"name": "n", "reader_tokens": [reader]}
        assert cluster.call("PUT", f"collections/{uuid}", change)[0] in (404, 422)
        assert cluster.call("PUT", f"collections/{uuid}", {}, reader_tokens=[reader])[0] == 404

    @pytest.mark.parametrize("sent", ["x", "[", "{}", '[1, "no token"]'])
    def test_what_is_no_token_shows_nothing(self, cluster, user, shared, sent):
        cluster.token = user
        assert cluster.call("GET", f"collections/{shared[0]}", reader_tokens=sent)[0] == 404

    def test_their_scopes_count(self, cluster, user, shared):
        uuid, _ = shared
        narrow = cluster.add_user(username="narrow", scopes=("GET /arvados/v1/users/",))
        cluster.permit(cluster.user_uuid(narrow), "can_read", uuid)
        cluster.token = user
        assert cluster.call("GET", f"collections/{uuid}", reader_tokens=[narrow])[0] == 404


class TestFederationParameters:
    """cluster_id, bypass_federation: there is one cluster, which they mean"""

    def test_records_are_made_and_listed_here(self, cluster):
        here = cluster.core.cluster_id
        made = cluster.call("POST", "collections", {"name": "a"}, cluster_id=here)
        assert made["uuid"][:5] == here
        assert cluster.names(cluster_id=here, bypass_federation=True) == ["a"]

    def test_bypass_federation_is_for_administrators(self, cluster, user):
        cluster.token = user
        assert cluster.call("GET", "collections", bypass_federation=True)[0] == 403


def test_columns_of_later_versions_are_added(tmp_path):
    """A database that an older version of the program has made is brought up to date."""
    with LocalCluster(tmp_path) as cluster:
        uuid = cluster.create("workflows", name="old")["uuid"]
        with cluster.database.write() as db:
            db.execute("ALTER TABLE workflows DROP COLUMN collection_uuid")
    with LocalCluster(tmp_path) as cluster:
        assert cluster.call("GET", f"workflows/{uuid}")["collection_uuid"] is None
