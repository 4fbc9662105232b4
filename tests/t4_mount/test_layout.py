"""What is where in a mount: each way to say what the root is."""

import os
import stat

import pytest

from tests.support.contents import create


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


def test_all_is_the_default(mount, things):
    root = mount().directory
    assert sorted(os.listdir(root)) == ["README", "by_id", "home"]
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
