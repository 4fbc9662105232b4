"""Users, tokens, links, roles and filter groups: their methods and their rules."""

import pytest

from arvados_fuse.standalone.records import trash
from tests.support.local_cluster import LocalCluster

LATER = "2100-01-01T00:00:00.000000000Z"


@pytest.fixture
def cluster(tmp_path):
    with LocalCluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def user(cluster):
    """The token of a user who is no administrator."""
    return cluster.add_user(username="ann", first_name="Ann", last_name="Lee")


class TestUsers:
    """users.create, users.update"""

    def test_administrators_make_users(self, cluster):
        made = cluster.create("users", username="carl", email="c@example.org", is_active=True)
        assert made["owner_uuid"] == cluster.core.system_user_uuid
        assert made["is_admin"] is False
        assert cluster.call("GET", f"users/{made['uuid']}") == made

    def test_others_do_not(self, cluster, user):
        cluster.token = user
        assert cluster.create("users", username="carl")[0] == 403

    @pytest.mark.parametrize("username", ["", "1a", "a b", "\u00e4", "a-b"])
    def test_usernames_are_letters_and_digits(self, cluster, username):
        assert cluster.create("users", username=username)[0] == 422

    def test_usernames_are_taken_once(self, cluster, user):
        assert cluster.create("users", username="ann")[0] == 422

    def test_users_change_their_names_but_not_their_rights(self, cluster, user):
        cluster.token = user
        path = f"users/{cluster.user_uuid(user)}"
        assert cluster.call("PUT", path, {"first_name": "Anna"})["full_name"] == "Anna Lee"
        assert cluster.call("PUT", path, {"prefs": {"a": 1}})["prefs"] == {"a": 1}
        for change in ({"is_admin": True}, {"is_active": False}, {"username": "x"}):
            assert cluster.call("PUT", path, change)[0] in (403, 422)

    def test_users_who_are_made_active_become_one_of_all_users(self, cluster, user):
        idle = cluster.create("users", username="idle")["uuid"]
        with cluster.acting(user):
            assert cluster.call("GET", f"users/{idle}")[0] == 404
        cluster.call("PUT", f"users/{idle}", {"is_active": True})
        with cluster.acting(user):
            assert cluster.call("GET", f"users/{idle}")["username"] == "idle"

    def test_users_who_are_made_inactive_lose_what_all_users_have(self, cluster, user):
        project = cluster.project("for all")["uuid"]
        cluster.permit(f"{cluster.core.cluster_id}-j7d0g-fffffffffffffff", "can_read", project)
        with cluster.acting(user) as uuid:
            assert cluster.call("GET", f"groups/{project}")["name"] == "for all"
        cluster.call("PUT", f"users/{uuid}", {"is_active": False})
        with cluster.acting(user):
            assert cluster.call("GET", f"groups/{project}")[0] == 404


class TestOwnUuids:
    """Administrators choose uuids, others do not."""

    RECORDS = (
        ("collections", {"name": "x"}),
        ("groups", {"name": "x", "group_class": "project"}),
        ("links", {"link_class": "tag", "name": "x"}),
        ("api_client_authorizations", {}),
        ("users", {"username": "x"}),
        ("logs", {"event_type": "note"}),
    )
    INFIXES = ("4zz18", "j7d0g", "o0j2j", "gj3su", "tpzed", "57u5n")

    @pytest.mark.parametrize(
        ("resource", "attributes", "infix"),
        [(*record, infix) for record, infix in zip(RECORDS, INFIXES, strict=True)],
    )
    def test_on_every_resource(self, cluster, user, resource, attributes, infix):
        uuid = f"{cluster.core.cluster_id}-{infix}-012345678901234"
        assert cluster.create(resource, **attributes, uuid=uuid)["uuid"] == uuid
        assert cluster.create(resource, **attributes, uuid=uuid)[0] == 422
        wrong = f"{cluster.core.cluster_id}-zzzzz-012345678901234"
        assert cluster.create(resource, **attributes, uuid=wrong)[0] == 422
        cluster.token = user
        other = f"{uuid[:-1]}5"
        assert cluster.create(resource, **attributes, uuid=other)[0] in (403, 422)


class TestTokens:
    """api_client_authorizations"""

    def works(self, cluster, token):
        with cluster.acting(token):
            return not isinstance(cluster.call("GET", "users/current"), tuple)

    def test_new_token_works_in_both_forms_until_it_is_removed(self, cluster, user):
        cluster.token = user
        made = cluster.create("api_client_authorizations", expires_at=LATER)
        secret, uuid = made["api_token"], made["uuid"]
        assert (made["scopes"], made["expires_at"]) == (["all"], LATER)
        forms = (secret, f"v2/{uuid}/{secret}")
        assert all(self.works(cluster, form) for form in forms)
        removed = cluster.call("DELETE", f"api_client_authorizations/{uuid}")
        assert removed["uuid"] == uuid
        assert not any(self.works(cluster, form) for form in forms)

    def test_an_end_can_be_set_later(self, cluster, user):
        cluster.token = user
        made = cluster.create("api_client_authorizations")
        path = f"api_client_authorizations/{made['uuid']}"
        cluster.call("PUT", path, {"expires_at": "2020-01-01T00:00:00Z"})
        assert not self.works(cluster, made["api_token"])

    def test_only_administrators_make_tokens_for_others(self, cluster, user):
        administrator, uuid = cluster.identity.administrator_uuid, cluster.user_uuid(user)
        made = cluster.create("api_client_authorizations", owner_uuid=uuid)
        assert cluster.user_uuid(made["api_token"]) == uuid
        cluster.token = user
        assert cluster.create("api_client_authorizations", owner_uuid=administrator)[0] == 403

    def test_lists_show_ones_own_tokens(self, cluster, user):
        for token in (user, cluster.token):
            cluster.token = token
            owners = {
                item["owner_uuid"]
                for item in cluster.call("GET", "api_client_authorizations")["items"]
            }
            assert owners == {cluster.user_uuid(token)}

    def test_tokens_of_others_are_not_there(self, cluster, user):
        uuid = cluster.token.split("/")[1]
        cluster.token = user
        path = f"api_client_authorizations/{uuid}"
        assert cluster.call("GET", path)[0] == 404
        assert cluster.call("PUT", path, {"expires_at": LATER})[0] == 404
        assert cluster.call("DELETE", path)[0] == 404

    def test_secret_and_owner_stay(self, cluster):
        made = cluster.create("api_client_authorizations", api_token="chosen")
        assert made["api_token"] != "chosen"
        path = f"api_client_authorizations/{made['uuid']}"
        assert cluster.call("PUT", path, {"api_token": "x"})["api_token"] == made["api_token"]
        change = {"owner_uuid": cluster.core.system_user_uuid}
        assert cluster.call("PUT", path, change)[0] == 422
        assert cluster.create("api_client_authorizations", scopes=[1])[0] == 422

    def test_secrets_are_not_in_the_log(self, cluster):
        made = cluster.create("api_client_authorizations")
        entries = cluster.call("GET", "logs", filters=[["object_uuid", "=", made["uuid"]]])
        assert len(entries["items"]) == 1
        assert made["api_token"] not in str(entries)


class TestLinks:
    """Tags, favorites, permissions."""

    def permission(self, cluster, **attributes):
        return cluster.create("links", link_class="permission", **attributes)

    def test_a_tag_belongs_to_who_makes_it(self, cluster, user):
        cluster.token = user
        head = cluster.create(name="x")["uuid"]
        made = cluster.create("links", link_class="tag", name="red", head_uuid=head)
        assert made["owner_uuid"] == cluster.user_uuid(user)
        assert (made["head_kind"], made["tail_kind"]) == ("arvados#collection", None)
        path = f"links/{made['uuid']}"
        assert cluster.call("PUT", path, {"name": "blue"})["name"] == "blue"
        assert cluster.names("links", filters=[["link_class", "=", "tag"]]) == ["blue"]
        assert cluster.call("DELETE", path)["uuid"] == made["uuid"]
        assert cluster.call("GET", path)[0] == 404

    def test_a_favorite(self, cluster, user):
        cluster.token = user
        ends = {"tail_uuid": cluster.user_uuid(user), "head_uuid": cluster.project("x")["uuid"]}
        made = cluster.create("links", link_class="star", name="x", **ends)
        filters = [["link_class", "=", "star"], ["tail_uuid", "=", ends["tail_uuid"]]]
        found = cluster.call("GET", "links", filters=filters)["items"]
        assert [item["uuid"] for item in found] == [made["uuid"]]

    @pytest.mark.parametrize("link_class", [None, "", "name"])
    def test_other_classes_are_refused(self, cluster, link_class):
        assert cluster.create("links", link_class=link_class, name="x")[0] == 422

    def test_what_is_not_seen_cannot_be_linked(self, cluster, user):
        head = cluster.create(name="private")["uuid"]
        cluster.token = user
        assert cluster.create("links", link_class="tag", name="x", head_uuid=head)[0] == 422

    def test_a_second_permission_raises_the_first(self, cluster, user):
        ends = {"tail_uuid": cluster.user_uuid(user), "head_uuid": cluster.project("x")["uuid"]}
        first = self.permission(cluster, name="can_write", **ends)
        for name, expected in (("can_read", "can_write"), ("can_manage", "can_manage")):
            again = self.permission(cluster, name=name, **ends)
            assert (again["uuid"], again["name"]) == (first["uuid"], expected)

    def test_of_a_permission_only_the_level_changes(self, cluster, user):
        ends = {"tail_uuid": cluster.user_uuid(user), "head_uuid": cluster.project("x")["uuid"]}
        path = f"links/{self.permission(cluster, name='can_read', **ends)['uuid']}"
        assert cluster.call("PUT", path, {"name": "can_manage"})["name"] == "can_manage"
        assert cluster.call("PUT", path, {"name": "nonsense"})[0] == 422
        assert cluster.call("PUT", path, {"head_uuid": ends["tail_uuid"]})[0] == 422
        cluster.token = user
        cluster.call("PUT", path, {"name": "can_read"})
        assert cluster.call("PUT", path, {"name": "can_manage"})[0] == 403
        assert cluster.call("DELETE", path)[0] == 403

    def test_permissions_go_from_users_and_roles_to_objects(self, cluster, user):
        head = cluster.project("x")["uuid"]
        assert self.permission(cluster, name="can_read", tail_uuid=head, head_uuid=head)[0] == 422
        uuid = cluster.user_uuid(user)
        assert self.permission(cluster, name="nonsense", tail_uuid=uuid, head_uuid=head)[0] == 422
        assert self.permission(cluster, name="can_read", tail_uuid=uuid)[0] == 422
        gone = f"{head[:-1]}!"
        assert self.permission(cluster, name="can_read", tail_uuid=uuid, head_uuid=gone)[0] == 422

    def test_links_go_with_what_they_link(self, cluster, user):
        gone, kept = (cluster.project(name)["uuid"] for name in ("gone", "kept"))
        for head in (gone, kept):
            uuid = cluster.user_uuid(user)
            self.permission(cluster, name="can_read", tail_uuid=uuid, head_uuid=head)
        past = "2020-01-01T00:00:00.000000000Z"
        cluster.set_columns(gone, trash_at=past, delete_at=past)
        trash.sweep(cluster.database, "2026-01-01T00:00:00.000000000Z")
        filters = [["tail_uuid", "=", cluster.user_uuid(user)], ["head_uuid", "in", [gone, kept]]]
        found = cluster.call("GET", "links", filters=filters)["items"]
        assert [item["head_uuid"] for item in found] == [kept]

    def test_permissions_on_an_object_are_listed_for_who_manages_it(self, cluster, user):
        ends = {"tail_uuid": cluster.user_uuid(user), "head_uuid": cluster.project("x")["uuid"]}
        made = self.permission(cluster, name="can_write", **ends)
        listed = cluster.call("GET", f"permissions/{ends['head_uuid']}")["items"]
        assert [item["uuid"] for item in listed] == [made["uuid"]]
        cluster.token = user
        assert cluster.call("GET", f"permissions/{ends['head_uuid']}")[0] == 403


class TestGroupClasses:
    """Roles and filter groups."""

    def filter_group(self, cluster, *filters, **attributes):
        attributes = {"name": "filtered", "properties": {"filters": list(filters)}, **attributes}
        return cluster.create("groups", group_class="filter", **attributes)

    def test_roles_have_names_of_their_own_in_the_whole_cluster(self, cluster, user):
        made = cluster.create("groups", name="a/b", group_class="role")
        assert made["owner_uuid"] == cluster.core.system_user_uuid
        cluster.token = user
        assert cluster.create("groups", name="a/b", group_class="role")[0] == 422

    def test_roles_and_filter_groups_hold_nothing(self, cluster):
        role = cluster.create("groups", name="r", group_class="role")
        for group in (role, self.filter_group(cluster)):
            assert cluster.create(name="x", owner_uuid=group["uuid"])[0] == 422

    def test_a_filter_group_shows_what_its_filters_choose(self, cluster):
        for name in ("a1", "a2", "b1"):
            cluster.create(name=name)
        cluster.project("project")
        group = self.filter_group(
            cluster, ["collections.name", "like", "a%"], ["uuid", "is_a", "arvados#collection"]
        )
        contents = f"groups/{group['uuid']}/contents"
        assert sorted(cluster.names(contents)) == ["a1", "a2"]
        assert cluster.names(contents, filters=[["name", "=", "a2"]]) == ["a2"]
        assert cluster.call("GET", contents)["items_available"] == 2

    def test_a_filter_group_shows_nobody_what_he_cannot_see(self, cluster, user):
        cluster.create(name="private")
        group = self.filter_group(cluster, ["uuid", "is_a", "arvados#collection"])
        cluster.permit(cluster.user_uuid(user), "can_read", group["uuid"])
        cluster.token = user
        cluster.create(name="own")
        assert cluster.names(f"groups/{group['uuid']}/contents") == ["own"]

    def test_filter_groups_that_show_each_other_do_no_harm(self, cluster):
        one, two = (
            self.filter_group(cluster, ["groups.group_class", "=", "filter"], name=name)
            for name in ("one", "two")
        )
        for group in (one, two):
            for recursive in (False, True):
                found = cluster.names(f"groups/{group['uuid']}/contents", recursive=recursive)
                assert sorted(found) == ["one", "two"]

    @pytest.mark.parametrize(
        "properties",
        [
            {},
            {"filters": "text"},
            {"filters": [["name", "=", "x"]]},
            {"filters": [["collections.name", "="]]},
            {"filters": [["collections.name", "is_a", "arvados#collection"]]},
            {"filters": [["collections.nonsense", "=", "x"]]},
            {"filters": [["nonsense.name", "=", "x"]]},
        ],
    )
    def test_bad_filters_are_refused(self, cluster, properties):
        answer = cluster.create("groups", name="x", group_class="filter", properties=properties)
        assert answer[0] == 422
        group = self.filter_group(cluster)
        change = {"properties": properties}
        assert cluster.call("PUT", f"groups/{group['uuid']}", change)[0] == 422
