"""What is where in a mount: each way to say what the root is."""

import json
import os
import stat

import pytest

from tests.support.contents import create

GROUP = "arvados#group"


@pytest.fixture(scope="module")
def things(cluster):
    """A project in the home project, with a subproject and collections in it."""
    api = cluster.api()

    def project(name, owner=None):
        body = {"name": name, "group_class": "project"}
        if owner:
            body["owner_uuid"] = owner
        return api.groups().create(body=body).execute()

    top = project("Layout")
    project("inner", top["uuid"])
    record = create(api, "run 42", {"a/b.txt": b"bravo"}, owner=top["uuid"])
    return {"project": top["uuid"], **record}


@pytest.fixture(scope="module")
def other_user(cluster):
    """A user who shares a project with everybody."""
    api = cluster.api()
    body = {"email": "olga@example.com", "first_name": "Olga", "last_name": "Other"}
    olga = api.users().create(body={"user": {**body, "is_active": True}}).execute()
    body = {"name": "For all", "group_class": "project", "owner_uuid": olga["uuid"]}
    project = api.groups().create(body={"group": body}).execute()
    create(api, "theirs", {"f": b"Olga's"}, owner=project["uuid"])


def test_all_is_the_default(mount, things):
    root = mount().directory
    assert sorted(os.listdir(root)) == ["README", "by_id", "by_tag", "home", "shared"]
    assert "by_id" in (root / "README").read_text()
    assert (root / "home/Layout/run 42/a/b.txt").read_bytes() == b"bravo"
    assert sorted(os.listdir(mount("--all").directory)) == sorted(os.listdir(root))


def test_home_is_the_users_project(mount, things):
    assert "Layout" in os.listdir(mount("--home").directory)


def test_project_lists_projects_and_collections(mount, things):
    root = mount("--project", things["project"]).directory
    assert sorted(os.listdir(root)) == ["inner", "run 42"]
    assert os.listdir(root / "inner") == []
    assert stat.S_ISDIR((root / "run 42").stat().st_mode)


@pytest.mark.parametrize("ident", ["uuid", "portable_data_hash"])
def test_collection_by_uuid_or_hash(mount, things, ident):
    root = mount("--collection", things[ident]).directory
    assert (root / "a/b.txt").read_bytes() == b"bravo"


def test_shared_shows_the_owners(mount, things, other_user):
    root = mount("--shared").directory
    assert (root / "Olga Other/For all/theirs/f").read_bytes() == b"Olga's"


def test_tags_show_the_tagged(mount, things, cluster):
    link = {"link_class": "tag", "name": "best", "head_uuid": things["uuid"]}
    cluster.api().links().create(body={"link": link}).execute()
    root = mount("--by-tag").directory
    assert os.listdir(root) == ["best"]
    assert os.listdir(root / "best") == [things["uuid"]]
    assert (root / "best" / things["uuid"] / "a/b.txt").read_bytes() == b"bravo"


def test_directories_of_choice(mount, things):
    root = mount(
        *("--mount-home", "mine", "--mount-by-id", "by_id", "--mount-by-id", "by_uuid"),
        *("--mount-by-pdh", "by_pdh", "--mount-shared", "theirs", "--mount-by-tag", "tags"),
    ).directory
    assert sorted(os.listdir(root)) == ["by_id", "by_pdh", "by_uuid", "mine", "tags", "theirs"]
    assert (root / "by_id/README").exists()
    assert (root / "mine/Layout/run 42/a/b.txt").read_bytes() == b"bravo"
    for directory in ("by_id", "by_uuid"):
        assert (root / directory / things["uuid"] / "a/b.txt").read_bytes() == b"bravo"


def test_by_hash_alone(mount, things):
    root = mount("--by-pdh").directory
    assert sorted(os.listdir(root)) == ["README", "by_id"]
    for base in (root, root / "by_id"):
        assert (base / things["portable_data_hash"] / "a/b.txt").read_bytes() == b"bravo"
        assert not (base / things["uuid"]).exists()
        assert not (base / things["project"]).exists()


def test_filters_narrow_listings_and_names_down(mount, things):
    root = mount("--project", things["project"], "--filters", '[["name", "like", "i%"]]').directory
    assert os.listdir(root) == ["inner"]
    assert not (root / "run 42").exists()


def test_filters_are_not_for_what_is_asked_for_by_id(mount, things):
    root = mount("--by-id", "--filters", '[["name", "=", "nothing"]]').directory
    assert (root / things["uuid"] / "a/b.txt").exists()


def test_a_filter_group_in_itself_has_an_end(mount, cluster, things):
    api = cluster.api()
    top = api.groups().create(body={"group": {"name": "Loop", "group_class": "project"}}).execute()
    group = {
        "name": "all of Loop",
        "group_class": "filter",
        "owner_uuid": top["uuid"],
        "properties": {"filters": [["groups.name", "like", "%Loop"], ["uuid", "is_a", GROUP]]},
    }
    api.groups().create(body={"group": group}).execute()
    root = mount("--project", top["uuid"]).directory
    walked = sum(len(directories) for _, directories, _ in os.walk(root))
    assert 4 <= walked < 50
    assert os.listdir(root / "all of Loop/all of Loop") == []


class TestSpecialFiles:
    def test_record_of_a_collection(self, mount, things):
        root = mount("--home").directory
        record = json.loads((root / "Layout/run 42/.arvados#collection").read_bytes())
        assert record["uuid"] == things["uuid"]
        assert "+A" in record["manifest_text"]
        assert ".arvados#collection" not in os.listdir(root / "Layout/run 42")

    def test_record_of_a_project(self, mount, things):
        root = mount("--home").directory
        record = json.loads((root / "Layout/.arvados#project").read_bytes())
        assert (record["uuid"], record["name"]) == (things["project"], "Layout")
        assert "email" in json.loads((root / ".arvados#project").read_bytes())

    def test_record_is_that_of_now(self, mount, things, cluster):
        root = mount("--by-id", "--refresh-time", "600").directory
        record = create(cluster.api(), "to be described", {"f": b"1"})
        file = root / record["uuid"] / ".arvados#collection"
        assert json.loads(file.read_bytes())["description"] is None
        body = {"description": "longer than before, and " * 100}
        cluster.api().collections().update(uuid=record["uuid"], body=body).execute()
        assert json.loads(file.read_bytes())["description"] == body["description"]

    def test_versions(self, mount, cluster):
        api = cluster.api()
        record = create(api, "versioned", {"f": b"first"})
        newer = create(api, "its next content", {"f": b"second", "g": b""})
        body = {"manifest_text": newer["manifest_text"], "preserve_version": True}
        api.collections().update(uuid=record["uuid"], body=body).execute()
        root = mount("--by-id").directory
        versions = root / record["uuid"] / ".arvados#versions"
        assert os.listdir(versions) == ["1", "2"]
        assert ".arvados#versions" not in os.listdir(root / record["uuid"])
        assert (versions / "1/f").read_bytes() == b"first"
        assert (versions / "2/f").read_bytes() == b"second"
        assert os.listdir(versions / "1") == ["f"]
        assert json.loads((versions / "1/.arvados#collection").read_bytes())["version"] == 1


class TestById:
    def test_shows_what_is_looked_up(self, mount, things):
        root = mount("--by-id").directory
        assert sorted(os.listdir(root)) == ["README", "by_id"]
        assert (root / things["uuid"] / "a/b.txt").read_bytes() == b"bravo"
        assert (root / things["portable_data_hash"] / "a/b.txt").read_bytes() == b"bravo"
        assert (root / things["project"] / "run 42/a/b.txt").read_bytes() == b"bravo"
        assert set(os.listdir(root)) == {
            "README",
            "by_id",
            things["uuid"],
            things["portable_data_hash"],
            things["project"],
        }

    def test_other_names_do_not_exist(self, mount, things):
        root = mount("--by-id").directory
        uuid = things["uuid"]
        for name in ["nonsense", uuid[:-15] + "0" * 15, "0" * 32 + "+1", uuid + "x", ".Trash"]:
            assert not (root / name).exists()

    def test_new_collection_is_found_at_once(self, mount, cluster):
        root = mount("--by-id").directory
        content = os.urandom(16)
        record = create(cluster.api(), "just now", {"f": content})
        assert (root / record["uuid"] / "f").read_bytes() == content
        assert (root / record["portable_data_hash"] / "f").read_bytes() == content


def test_empty_collection_is_an_empty_directory(mount):
    root = mount("--by-id").directory
    empty = "d41d8cd98f00b204e9800998ecf8427e+0"
    assert not (root / empty).exists() or os.listdir(root / empty) == []


def test_ls_of_a_project_does_not_read_the_collections(mount, things, cluster):
    root = mount("--project", things["project"]).directory
    cluster.request_counts(reset=True)
    for name in os.listdir(root):
        (root / name).stat()
    counts = cluster.request_counts()
    assert not any("collections/{uuid}" in route for route in counts), counts
