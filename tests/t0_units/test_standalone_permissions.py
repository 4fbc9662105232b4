"""Who sees and changes what: ownership, permission links, roles, visitors, frozen projects."""

import itertools
import random

import pytest

from arvados_fuse.standalone import wellknown
from arvados_fuse.standalone.records import access
from arvados_fuse.standalone.records.access import Caller
from tests.support.local_cluster import LocalCluster

NUMBERS = itertools.count()
LEVELS = ("can_read", "can_write", "can_manage")


@pytest.fixture
def cluster(tmp_path):
    with LocalCluster(tmp_path) as cluster:
        yield cluster


class User:
    """A user who is no administrator. Calls with it come from that user."""

    def __init__(self, cluster, **attributes):
        self.cluster = cluster
        self.token = cluster.add_user(**attributes)
        self.uuid = cluster.user_uuid(self.token)

    def call(self, *arguments, **parameters):
        with self.cluster.acting(self.token):
            return self.cluster.call(*arguments, **parameters)

    def create(self, resource="collections", **attributes):
        return self.call("POST", resource, attributes)

    def project(self, name, **attributes):
        return self.create("groups", name=name, group_class="project", **attributes)

    def rename(self, record):
        # Another name each time: it is nobody's business to change nothing.
        return self.call("PUT", path_of(record), {"name": f"renamed {next(NUMBERS)}"})

    def can(self, record):
        """What the user may do with a project: the status of looking, and of renaming."""
        return status(self.call("GET", path_of(record))), status(self.rename(record))

    def names(self, path, **parameters):
        return [item["name"] for item in self.call("GET", path, **parameters)["items"]]


def path_of(record):
    kind = {"arvados#group": "groups", "arvados#collection": "collections", "arvados#user": "users"}
    return f"{kind[record['kind']]}/{record['uuid']}"


def status(answer):
    return answer[0] if isinstance(answer, tuple) else 200


@pytest.fixture
def ann(cluster):
    return User(cluster, username="ann")


@pytest.fixture
def bob(cluster):
    return User(cluster, username="bob")


@pytest.fixture
def role(cluster):
    return cluster.create("groups", name="a role", group_class="role")


class TestLevels:
    """What each level is good for."""

    def test_what_is_not_shared_is_not_there(self, cluster, ann, bob):
        project = ann.project("private")
        inside = ann.create(name="inside", owner_uuid=project["uuid"])
        for record in (project, inside):
            assert bob.can(record) == (404, 404)
            assert status(bob.call("DELETE", path_of(record))) == 404
            assert status(bob.call("POST", f"{path_of(record)}/trash")) == 404
        assert bob.create(name="x", owner_uuid=project["uuid"])[0] == 422
        assert status(bob.call("GET", "groups/contents", uuid=project["uuid"])) == 404
        assert status(bob.call("GET", f"collections/{inside['portable_data_hash']}")) == 404
        assert bob.names("collections") == []
        assert bob.call("GET", "groups/contents")["items"] == []

    def test_readers_see_and_do_not_change(self, cluster, ann, bob):
        project = ann.project("read me")
        inside = ann.create(name="inside", owner_uuid=project["uuid"])
        cluster.permit(bob.uuid, "can_read", project["uuid"])
        for record in (project, inside):
            assert bob.can(record) == (200, 403)
            assert status(bob.call("DELETE", path_of(record))) == 403
        assert bob.create(name="x", owner_uuid=project["uuid"])[0] == 403
        assert bob.names("groups/contents", uuid=project["uuid"]) == ["inside"]
        assert status(bob.call("GET", f"collections/{inside['portable_data_hash']}")) == 200
        seen = bob.call("GET", path_of(project))
        assert (seen["can_write"], seen["can_manage"]) == (False, False)
        assert seen["writable_by"] == [ann.uuid]

    def test_writers_change_and_do_not_share(self, cluster, ann, bob):
        carl = User(cluster, username="carl")
        project = ann.project("write here")
        cluster.permit(bob.uuid, "can_write", project["uuid"])
        inside = bob.create(name="by bob", owner_uuid=project["uuid"])
        assert inside["owner_uuid"] == project["uuid"]
        assert bob.can(project) == (200, 200)
        assert ann.can(inside) == (200, 200)
        share = {"link_class": "permission", "name": "can_read", "tail_uuid": carl.uuid}
        assert bob.create("links", **share, head_uuid=project["uuid"])[0] == 403
        assert bob.create("links", **share, head_uuid=inside["uuid"])[0] == 403
        seen = bob.call("GET", path_of(project))
        assert (seen["can_write"], seen["can_manage"]) == (True, False)
        assert seen["writable_by"] == [ann.uuid, bob.uuid]

    def test_managers_share(self, cluster, ann, bob):
        carl = User(cluster, username="carl")
        project = ann.project("managed")
        cluster.permit(bob.uuid, "can_manage", project["uuid"])
        link = bob.create(
            "links",
            link_class="permission",
            name="can_read",
            tail_uuid=carl.uuid,
            head_uuid=project["uuid"],
        )
        assert link["owner_uuid"] == cluster.core.system_user_uuid
        assert carl.can(project) == (200, 403)
        seen = bob.call("GET", path_of(project))
        assert (seen["can_write"], seen["can_manage"]) == (True, True)
        bob.call("DELETE", f"links/{link['uuid']}")
        assert carl.can(project) == (404, 404)

    def test_a_change_counts_at_once(self, cluster, ann, bob):
        project = ann.project("changing")
        link = cluster.permit(bob.uuid, "can_read", project["uuid"])
        assert bob.can(project) == (200, 403)
        cluster.call("PUT", f"links/{link['uuid']}", {"name": "can_write"})
        assert bob.can(project) == (200, 200)
        cluster.call("DELETE", f"links/{link['uuid']}")
        assert bob.can(project) == (404, 404)

    def test_one_collection_can_be_shared_alone(self, cluster, ann, bob):
        shared, other = (ann.create(name=name) for name in ("shared", "other"))
        cluster.permit(bob.uuid, "can_write", shared["uuid"])
        assert bob.can(shared) == (200, 200)
        assert bob.can(other) == (404, 404)
        assert [c["uuid"] for c in bob.call("GET", "collections")["items"]] == [shared["uuid"]]

    def test_a_permission_on_a_collection_is_one_on_its_versions(self, cluster, ann, bob):
        current, version = (ann.create(name=name)["uuid"] for name in ("current", "version"))
        cluster.set_columns(version, current_version_uuid=current)
        assert status(bob.call("GET", f"collections/{version}")) == 404
        cluster.permit(bob.uuid, "can_read", current)
        assert status(bob.call("GET", f"collections/{version}")) == 200

    def test_moving_takes_the_right_to_write_on_both_sides(self, cluster, ann, bob):
        source, target = ann.project("source"), ann.project("target")
        moved = ann.create(name="moved", owner_uuid=source["uuid"])
        cluster.permit(bob.uuid, "can_read", source["uuid"])
        cluster.permit(bob.uuid, "can_read", target["uuid"])
        move = {"owner_uuid": target["uuid"]}
        cluster.permit(bob.uuid, "can_write", moved["uuid"])
        assert bob.call("PUT", path_of(moved), move)[0] == 403
        cluster.permit(bob.uuid, "can_write", target["uuid"])
        assert bob.call("PUT", path_of(moved), move)[0] == 403
        cluster.permit(bob.uuid, "can_write", source["uuid"])
        assert bob.call("PUT", path_of(moved), move)["owner_uuid"] == target["uuid"]

    def test_inactive_users_look_and_do_not_write(self, cluster):
        idle = User(cluster, is_active=False)
        assert idle.create(name="x")[0] == 403
        assert idle.create("groups", name="x", group_class="role")[0] == 403
        assert idle.call("GET", "users/current")["can_write"] is False
        assert idle.names("groups") == []


class TestRoles:
    """Roles pass on what they are given."""

    def test_members_have_what_the_role_has(self, cluster, ann, bob, role):
        project = ann.project("for the role")
        cluster.permit(role["uuid"], "can_write", project["uuid"])
        assert bob.can(project) == (404, 404)
        membership = cluster.permit(bob.uuid, "can_write", role["uuid"])
        assert bob.can(project) == (200, 200)
        cluster.call("PUT", f"links/{membership['uuid']}", {"name": "can_read"})
        assert bob.can(project) == (200, 403)

    def test_roles_of_roles(self, cluster, ann, bob, role):
        inner = cluster.create("groups", name="inner", group_class="role")
        project = ann.project("far away")
        cluster.permit(bob.uuid, "can_manage", role["uuid"])
        cluster.permit(role["uuid"], "can_read", inner["uuid"])
        cluster.permit(inner["uuid"], "can_manage", project["uuid"])
        assert bob.can(project) == (200, 403)

    def test_circles_do_no_harm(self, cluster, bob, role):
        other = cluster.create("groups", name="other", group_class="role")
        cluster.permit(role["uuid"], "can_manage", other["uuid"])
        cluster.permit(other["uuid"], "can_manage", role["uuid"])
        cluster.permit(bob.uuid, "can_manage", role["uuid"])
        assert bob.can(other) == (200, 200)

    def test_a_trashed_role_gives_nothing_any_more(self, cluster, ann, bob, role):
        project = ann.project("for the role")
        cluster.permit(role["uuid"], "can_read", project["uuid"])
        cluster.permit(bob.uuid, "can_write", role["uuid"])
        trashed = cluster.call("DELETE", f"groups/{role['uuid']}")
        assert trashed["delete_at"] == trashed["trash_at"]
        assert bob.can(project) == (404, 404)

    def test_whoever_makes_a_role_manages_it_and_members_do_not(self, cluster, ann, bob):
        role = ann.create("groups", name="ann's", group_class="role")
        assert role["owner_uuid"] == cluster.core.system_user_uuid
        assert ann.can(role) == (200, 200)
        cluster.permit(bob.uuid, "can_write", role["uuid"])
        assert bob.can(role) == (200, 403)

    def test_active_users_see_roles(self, cluster, bob, role):
        assert bob.can(role) == (200, 403)

    def test_the_read_right_on_a_user_does_not_reach_what_he_owns(self, cluster, ann, bob):
        # All users see each other.
        assert bob.call("GET", f"users/{ann.uuid}")["username"] == "ann"
        assert status(bob.call("PUT", f"users/{ann.uuid}", {"first_name": "x"})) == 403
        project = ann.project("private")
        assert bob.can(project) == (404, 404)
        cluster.permit(bob.uuid, "can_manage", ann.uuid)
        assert bob.can(project) == (200, 200)


class TestRefusals:
    """What is refused although it looks harmless."""

    def test_readers_may_not_even_change_nothing(self, cluster, ann, bob):
        project = ann.project("read me")
        inside = ann.create(name="inside", owner_uuid=project["uuid"])
        cluster.permit(bob.uuid, "can_read", project["uuid"])
        for record in (project, inside):
            for nothing in ({}, {"name": record["name"]}):
                assert status(bob.call("PUT", path_of(record), nothing)) == 403
                unchanged = ann.call("PUT", path_of(record), nothing)
                assert unchanged["modified_at"] == record["modified_at"]

    def test_an_old_version_is_not_shared_alone(self, cluster, ann, bob):
        made = ann.create(name="one")
        cluster.set_columns(made["uuid"], modified_at="2020-01-01T00:00:00.000000Z")
        ann.call("PUT", path_of(made), {"name": "two"})
        filters = [["current_version_uuid", "=", made["uuid"]], ["version", "=", 1]]
        found = ann.call("GET", "collections", filters=filters, include_old_versions=True)
        (old,) = found["items"]
        link = {"link_class": "permission", "name": "can_read", "tail_uuid": bob.uuid}
        assert status(ann.create("links", head_uuid=old["uuid"], **link)) == 422
        assert status(cluster.create("links", head_uuid=old["uuid"], **link)) == 422
        assert status(bob.call("GET", path_of(old))) == 404
        assert status(ann.create("links", head_uuid=made["uuid"], **link)) == 200
        assert bob.can(old) == (200, 403)


class TestPublic:
    """Visitors, and All users."""

    def visitor(self, cluster):
        with cluster.database.read() as db:
            row = db.execute(
                "SELECT uuid, api_token FROM api_client_authorizations WHERE uuid = ?",
                (wellknown.anonymous_token(cluster.core.cluster_id),),
            ).fetchone()
        return f"v2/{row['uuid']}/{row['api_token']}"

    def test_what_visitors_may_read_all_users_may(self, cluster, ann, bob):
        project = ann.project("public")
        group = wellknown.anonymous_group(cluster.core.cluster_id)
        with cluster.acting(self.visitor(cluster)):
            assert status(cluster.call("GET", path_of(project))) == 404
        cluster.permit(group, "can_read", project["uuid"])
        with cluster.acting(self.visitor(cluster)):
            assert cluster.call("GET", path_of(project))["name"] == "public"
            assert status(cluster.create(name="x")) == 403
        assert bob.can(project) == (200, 403)

    def test_what_all_users_may_read_visitors_may_not(self, cluster, ann, bob):
        project = ann.project("internal")
        cluster.permit(wellknown.all_users(cluster.core.cluster_id), "can_read", project["uuid"])
        assert bob.can(project) == (200, 403)
        with cluster.acting(self.visitor(cluster)):
            assert status(cluster.call("GET", path_of(project))) == 404


class TestShared:
    """groups/shared"""

    def shared(self, user):
        filters = [["group_class", "=", "project"]]
        return user.call("GET", "groups/shared", filters=filters, include="owner_uuid")

    def test_shared_projects_are_listed_at_their_top_with_their_owners(self, cluster, ann, bob):
        outer = ann.project("outer")
        shared = ann.project("shared", owner_uuid=outer["uuid"])
        ann.project("inner", owner_uuid=shared["uuid"])
        bob.project("own")
        assert self.shared(bob)["items"] == []
        cluster.permit(bob.uuid, "can_read", shared["uuid"])
        found = self.shared(bob)
        assert [item["name"] for item in found["items"]] == ["shared"]
        assert found["included"] == []  # the owner is a project that bob does not see
        cluster.permit(bob.uuid, "can_read", outer["uuid"])
        found = self.shared(bob)
        assert [item["name"] for item in found["items"]] == ["outer"]
        assert [owner["uuid"] for owner in found["included"]] == [ann.uuid]

    def test_rights_are_told_for_each(self, cluster, ann, bob):
        for level in LEVELS:
            cluster.permit(bob.uuid, level, ann.project(level)["uuid"])
        found = {item["name"]: item for item in self.shared(bob)["items"]}
        rights = [(found[name]["can_write"], found[name]["can_manage"]) for name in LEVELS]
        assert rights == [(False, False), (True, False), (True, True)]


class TestFrozen:
    """Frozen projects change no more, and neither does what is in them."""

    def freeze(self, user, record, value=...):
        value = user.uuid if value is ... else value
        return user.call("PUT", path_of(record), {"frozen_by_uuid": value})

    def test_nobody_changes_what_is_in_a_frozen_project(self, cluster, ann):
        outer = ann.project("outer")
        inner = ann.project("inner", owner_uuid=outer["uuid"])
        deep = ann.create(name="deep", owner_uuid=inner["uuid"])
        frozen = self.freeze(ann, outer)
        assert (frozen["frozen_by_uuid"], frozen["can_write"]) == (ann.uuid, False)
        assert frozen["writable_by"] == []
        assert ann.call("GET", path_of(inner))["can_write"] is False
        for record in (outer, inner, deep):
            assert ann.can(record) == (200, 403)
            assert status(ann.call("DELETE", path_of(record))) in (403, 422)
            assert status(cluster.call("PUT", path_of(record), {"name": "by admin"})) == 403
        assert ann.create(name="new", owner_uuid=inner["uuid"])[0] == 403
        assert cluster.create(name="new", owner_uuid=inner["uuid"])[0] == 403
        home = {"owner_uuid": ann.uuid}
        assert ann.call("PUT", path_of(deep), home)[0] == 403
        self.freeze(ann, outer, None)
        assert ann.can(deep) == (200, 200)

    def test_freezing_takes_the_right_to_manage_and_ones_own_name(self, cluster, ann, bob):
        project = ann.project("x")
        cluster.permit(bob.uuid, "can_write", project["uuid"])
        assert status(self.freeze(bob, project)) == 403
        assert status(self.freeze(ann, project, bob.uuid)) == 422
        assert status(self.freeze(ann, project)) == 200
        assert status(self.freeze(bob, project, None)) == 403

    def test_what_is_in_a_frozen_project_cannot_be_thawed_alone(self, ann):
        outer = ann.project("outer")
        inner = ann.project("inner", owner_uuid=outer["uuid"])
        self.freeze(ann, inner)
        self.freeze(ann, outer)
        assert status(self.freeze(ann, inner, None)) == 403

    def test_a_project_with_a_frozen_one_inside_cannot_be_trashed(self, ann):
        outer = ann.project("outer")
        self.freeze(ann, ann.project("inner", owner_uuid=outer["uuid"]))
        assert status(ann.call("DELETE", path_of(outer))) == 422

    def test_a_trashed_project_cannot_be_frozen(self, ann):
        project = ann.project("x")
        answer = ann.call("PUT", path_of(project), {"frozen_by_uuid": ann.uuid, "is_trashed": True})
        assert status(answer) == 422


class TestBlocks:
    """Signatures are good for the token that they were made for."""

    def test_the_signature_of_another_user_is_refused_on_save(self, cluster, ann, bob):
        block = "acbd18db4cc2f85cedef654fccc4a4d8+3"
        hint = cluster.signer.hint(block[:32], ann.token, 0x7FFFFFFF)
        text = f". {block}{hint} 0:3:foo\n"
        made = ann.create(name="mine", manifest_text=text)
        assert bob.create(name="stolen", manifest_text=text)[0] == 403
        signed = ann.call("GET", path_of(made))["manifest_text"]
        assert bob.create(name="stolen", manifest_text=signed)[0] == 403
        cluster.permit(bob.uuid, "can_read", made["uuid"])
        signed = bob.call("GET", path_of(made))["manifest_text"]
        assert bob.create(name="copied", manifest_text=signed)["file_count"] == 1


def test_links_are_seen_by_their_ends_and_by_managers_of_their_heads(cluster, ann, bob):
    carl = User(cluster, username="carl")
    project = ann.project("x")
    inside = ann.create(name="inside", owner_uuid=project["uuid"])
    on_project = cluster.permit(bob.uuid, "can_read", project["uuid"])["uuid"]
    on_inside = cluster.permit(bob.uuid, "can_read", inside["uuid"])["uuid"]

    def seen(user):
        filters = [["uuid", "in", [on_project, on_inside]]]
        return {item["uuid"] for item in user.call("GET", "links", filters=filters)["items"]}

    assert seen(bob) == seen(ann) == {on_project, on_inside}
    assert seen(carl) == set()
    assert status(carl.call("GET", f"links/{on_project}")) == 404


@pytest.mark.parametrize("seed", range(10))
def test_levels_are_those_of_the_definition(cluster, seed):
    """Random graphs, compared with the definition written down in another way."""
    chance = random.Random(seed)
    users = [User(cluster) for _ in range(4)]
    roles = [cluster.create("groups", name=f"r{n}", group_class="role") for n in range(4)]
    owners = [user.uuid for user in users]
    projects = []
    for n in range(10):
        projects.append(cluster.project(f"p{n}", owner_uuid=chance.choice(owners)))
        owners.append(projects[-1]["uuid"])
    tails = [user.uuid for user in users] + [role["uuid"] for role in roles]
    for _ in range(15):
        head = chance.choice([*tails, *(p["uuid"] for p in projects)])
        cluster.permit(chance.choice(tails), chance.choice(LEVELS), head)

    with cluster.database.read() as db:
        edges = [
            (row["tail_uuid"], row["head_uuid"], LEVELS.index(row["name"]) + 1)
            for row in db.execute("SELECT * FROM links WHERE link_class = 'permission'")
        ]
        for table in ("groups", "users"):
            rows = db.execute(f"SELECT uuid, owner_uuid FROM {table}")
            edges += [(row["owner_uuid"], row["uuid"], 3) for row in rows]
        for user in users:
            expected = defined_levels(user.uuid, edges)
            caller = Caller(user.uuid, False, user.token, "")
            for target in {head for _, head, _ in edges}:
                level = max((n for n in (1, 2, 3) if access.may(db, caller, n, target)), default=0)
                assert level == expected.get(target, 0), (user.uuid, target)


def defined_levels(start, edges):
    """The best level by any path; what cannot pass on its level is only an end."""
    levels = {start: 3}
    changed = True
    while changed:
        changed = False
        for tail, head, level in edges:
            passes = tail == start or "-j7d0g-" in tail or levels.get(tail) == 3
            found = min(levels.get(tail, 0), level) if passes else 0
            if found > levels.get(head, 0):
                levels[head] = found
                changed = True
    return levels
