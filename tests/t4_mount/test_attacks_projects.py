"""Names in projects, and what is moved between projects and collections."""

import os
import subprocess

import pytest

from tests.support.workplace import errno_of, new_collection, saved

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"


@pytest.fixture
def api(cluster):
    return cluster.api()


@pytest.fixture
def uuid(api):
    body = {"group_class": "project", "name": "attacked"}
    return api.groups().create(body={"group": body}, ensure_unique_name=True).execute()["uuid"]


@pytest.fixture
def project(mount, uuid):
    """A project with two collections; `full` has a file and a directory."""
    project = mount("--read-write", "--project", uuid).directory
    for name in ("full", "empty"):
        (project / name).mkdir()
    (project / "full/f").write_text("f")
    (project / "full/d").mkdir()
    (project / "full/d/g").write_text("g")
    return project


def contents(api, owner):
    """What the cluster has of all collections of a project, by name."""
    found = api.collections().list(filters=[["owner_uuid", "=", owner]]).execute()["items"]
    return {item["name"]: saved(api, item["uuid"]) for item in found}


class TestNames:
    def test_that_are_not_utf_8_are_refused(self, project):
        assert errno_of(os.mkdir, os.fsencode(project) + b"/\xff") == "EILSEQ"
        assert errno_of(os.rename, project / "full", os.fsencode(project) + b"/\xff") == "EILSEQ"

    def test_of_the_mounts_own_are_refused(self, project):
        assert errno_of(os.mkdir, project / ".arvados#new") == "EPERM"
        assert errno_of(os.rename, project / "full", project / ".arvados#new") == "EPERM"


def test_a_collection_into_which_others_have_just_put_something_is_not_removed(mount, api, uuid):
    """The mount does not know of it yet; what the cluster trashes tells."""
    body = {"name": "empty", "owner_uuid": uuid}
    collection = api.collections().create(body=body).execute()["uuid"]
    arguments = ("--refresh-time", "86400", "--disable-event-listening")
    project = mount("--read-write", *arguments, "--project", uuid).directory
    assert os.listdir(project / "empty") == []
    body = {"manifest_text": f". {FOO} 0:3:new\n"}
    api.collections().update(uuid=collection, body=body).execute()
    assert errno_of(os.rmdir, project / "empty") == "ENOTEMPTY"
    assert os.listdir(project / "empty") == ["new"]
    assert api.collections().get(uuid=collection).execute()["is_trashed"] is False


class TestMoves:
    def test_of_a_collection_over_another_are_refused(self, project):
        for old, new in (("full", "empty"), ("empty", "full")):
            assert errno_of(os.rename, project / old, project / new) == "EPERM"

    def test_of_a_file_to_a_project_are_refused(self, project):
        assert errno_of(os.rename, project / "full/f", project / "f") == "EPERM"

    def test_of_a_directory_to_a_project_make_a_collection(self, project, api, uuid):
        subprocess.run(["mv", "full/d", "."], cwd=project, check=True)
        assert (project / "full/.arvados#commit").exists()
        assert (project / "d/.arvados#commit").exists()
        assert contents(api, uuid) == {"full": {"f": b"f"}, "empty": {}, "d": {"g": b"g"}}

    def test_of_a_collection_to_another_make_a_directory(self, project, api, uuid):
        subprocess.run(["mv", "full", "empty"], cwd=project, check=True)
        assert (project / "empty/.arvados#commit").exists()
        assert contents(api, uuid) == {"empty": {"full/f": b"f", "full/d/g": b"g"}}

    def test_of_a_collection_into_itself_are_refused(self, project, api, uuid, mount):
        whole = new_collection(api, "whole", owner_uuid=uuid, manifest_text=f"./d {FOO} 0:3:f\n")
        by_id = mount("--read-write", "--by-id").directory
        assert errno_of(os.rename, by_id / uuid / "whole", by_id / whole / "d/e") == "EINVAL"
