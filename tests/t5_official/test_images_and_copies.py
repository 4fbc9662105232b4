"""arv-keepdocker lists images, and arv-copy copies inside one cluster."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import arvados.collection
import pytest

from tests.support.contents import pseudo_random

TOOLS = Path(sys.executable).parent
IMAGE = "sha256:" + "5e1f" * 16


@pytest.fixture
def tool(user_env, tmp_path):
    """Run a tool in an empty directory; return what it prints."""

    def run(name, *arguments):
        done = subprocess.run(
            [TOOLS / name, *map(str, arguments)],
            env=user_env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def api(running_cluster):
    return running_cluster.api()


@pytest.fixture
def project(api):
    """A project with a subproject, a collection in each, and a workflow."""
    groups = api.groups()

    def make_project(name, owner_uuid):
        body = {"name": name, "group_class": "project", "owner_uuid": owner_uuid}
        return groups.create(body={"group": body}, ensure_unique_name=True).execute()["uuid"]

    def make_collection(name, owner_uuid, content):
        collection = arvados.collection.Collection(api_client=api)
        with collection.open("dir/file", "wb") as file:
            file.write(content)
        collection.save_new(name=name, owner_uuid=owner_uuid, properties={"from": name})

    top = make_project("to be copied", api.users().current().execute()["uuid"])
    below = make_project("below", top)
    make_collection("first", top, b"first content")
    make_collection("second", below, pseudo_random(300_000))
    return top


def contents(api, uuid):
    items = api.groups().contents(uuid=uuid, order="name").execute()["items"]
    return {item["name"]: item for item in items}


class TestCopies:
    """arv-copy, with the same cluster as source and destination"""

    @pytest.fixture
    def copy(self, api, tool, running_cluster, tmp_path):
        """Copy an object into a new project; returns the uuids of the copy and of the project."""
        settings = (running_cluster.dir / "env.sh").read_text().replace("export ", "")
        (tmp_path / "here.conf").write_text(settings)

        def copy(uuid, *options):
            body = {"name": "target", "group_class": "project"}
            target = api.groups().create(body={"group": body}, ensure_unique_name=True).execute()
            printed = tool(
                *("arv-copy", "--no-progress", "--src", "./here.conf", "--dst", "./here.conf"),
                *("--project-uuid", target["uuid"], *options, uuid),
            )
            return printed.strip(), target["uuid"]

        return copy

    def test_collection(self, api, project, copy):
        source = contents(api, project)["first"]
        uuid, target = copy(source["uuid"])
        copied = api.collections().get(uuid=uuid).execute()
        assert uuid != source["uuid"]
        assert copied["owner_uuid"] == target
        for attribute in ("portable_data_hash", "name", "properties"):
            assert copied[attribute] == source[attribute]
        reader = arvados.collection.CollectionReader(uuid, api_client=api)
        with reader.open("dir/file", "rb") as file:
            assert file.read() == b"first content"

    def test_project_with_all_that_is_in_it(self, api, project, copy):
        uuid, target = copy(project)
        copied = api.groups().get(uuid=uuid).execute()
        assert copied["owner_uuid"] == target
        assert contents(api, uuid).keys() == {"first", "below"}
        below = contents(api, uuid)["below"]["uuid"]
        second = contents(api, below)["second"]["uuid"]
        reader = arvados.collection.CollectionReader(second, api_client=api)
        with reader.open("dir/file", "rb") as file:
            assert file.read() == pseudo_random(300_000)

    def test_project_alone(self, api, project, copy):
        uuid, _ = copy(project, "--no-recursive")
        assert "below" not in contents(api, uuid)

    def test_workflow(self, api, copy):
        definition = '{"cwlVersion": "v1.2", "$graph": []}'
        body = {"workflow": {"name": "nothing to do", "definition": definition}}
        source = api.workflows().create(body=body).execute()
        uuid, target = copy(source["uuid"], "--no-recursive")
        copied = api.workflows().get(uuid=uuid).execute()
        assert (copied["name"], copied["owner_uuid"]) == ("nothing to do", target)
        assert copied["definition"]


class TestImages:
    """arv-keepdocker, without an image to upload"""

    @pytest.fixture
    def image(self, api):
        """An image as arv-keepdocker stores it: a collection with an archive, and two links."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("manifest.json"), io.BytesIO())
        collection = arvados.collection.Collection(api_client=api)
        with collection.open(f"{IMAGE}.tar", "wb") as file:
            file.write(archive.getvalue())
        collection.save_new(
            name="Docker image arvados jobs:1.0 " + IMAGE[7:19],
            properties={
                "docker-image-repo-tag": "arvados/jobs:1.0",
                "image_timestamp": "2024-05-06T07:08:09Z",
            },
        )
        uuid = collection.manifest_locator()
        for link_class, name in (
            ("docker_image_hash", IMAGE),
            ("docker_image_repo+tag", "arvados/jobs:1.0"),
        ):
            properties = {"image_timestamp": "2024-05-06T07:08:09Z"}
            link = {"link_class": link_class, "name": name, "head_uuid": uuid}
            api.links().create(body={"link": {**link, "properties": properties}}).execute()
        yield uuid
        api.collections().delete(uuid=uuid).execute()

    def test_list_has_name_tag_id_and_collection(self, tool, image):
        head, *lines = tool("arv-keepdocker").splitlines()
        assert head.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "COLLECTION", "CREATED"]
        (line,) = [line for line in lines if image in line]
        assert line.split()[:4] == ["arvados/jobs", "1.0", IMAGE[:12], image]
        assert "2024" in line

    def test_image_whose_collection_is_in_the_trash_is_not_listed(self, tool, api, image):
        api.collections().trash(uuid=image).execute()
        assert image not in tool("arv-keepdocker", "images")
