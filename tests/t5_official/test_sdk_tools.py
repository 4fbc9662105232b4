"""The official client library and command line tools work with the standalone cluster."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import arvados.collection
import arvados.errors
import arvados.util
import pytest

from tests.support.cluster import RunningCluster
from tests.support.contents import BLOCK, pseudo_random

BY_NAME = "/arvados/v1/collections?filters=%5B%5B%22name%22,%22=%22,%22{}%22%5D%5D"
TOOLS = Path(sys.executable).parent


@pytest.fixture
def tool(user_env, tmp_path):
    """Run a tool in an empty directory; return what it prints."""

    def run(name, *arguments, input_data=None):
        done = subprocess.run(
            [TOOLS / name, *map(str, arguments)],
            env=user_env,
            cwd=tmp_path,
            input=input_data,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


@pytest.fixture
def api(running_cluster):
    return running_cluster.api()


def text(output):
    return output.decode().strip()


class TestTools:
    """arv-put, arv-get, arv-ls"""

    def test_file_goes_there_and_back(self, tool, tmp_path):
        content = os.urandom(100_000)
        (tmp_path / "file").write_bytes(content)
        uuid = text(tool("arv-put", "--no-progress", "file"))
        assert text(tool("arv-ls", uuid)) == "./file"
        assert tool("arv-get", f"{uuid}/file") == content

    def test_directory_goes_there_and_back(self, tool, tmp_path):
        contents = {
            "a.txt": b"first",
            "with space.txt": b"second",
            "sub/dir/\u00fc": b"third",
            "sub/empty": b"",
            "sub/large": pseudo_random(3_000_000),
        }
        for path, content in contents.items():
            (tmp_path / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "tree" / path).write_bytes(content)
        uuid = text(tool("arv-put", "--no-progress", "--name", "a tree", "tree"))
        listed = text(tool("arv-ls", uuid)).splitlines()
        assert sorted(listed) == sorted(f"./tree/{path}" for path in contents)
        (tmp_path / "back").mkdir()
        tool("arv-get", f"{uuid}/", "back/")
        for path, content in contents.items():
            assert (tmp_path / "back" / "tree" / path).read_bytes() == content

    def test_content_is_found_by_its_hash(self, tool, tmp_path):
        (tmp_path / "foo").write_bytes(b"foo")
        found = text(tool("arv-put", "--no-progress", "--portable-data-hash", "foo"))
        assert found == "1f4b0bc7583c2a7f9102c395f4ffc5e3+45"
        assert tool("arv-get", f"{found}/foo") == b"foo"
        manifest = text(tool("arv-get", "--strip-manifest", found))
        assert manifest == ". acbd18db4cc2f85cedef654fccc4a4d8+3 0:3:foo"

    def test_standard_input_and_raw_blocks(self, tool):
        locator = text(tool("arv-put", "--no-progress", "--raw", "-", input_data=b"raw"))
        assert locator.startswith(hashlib.md5(b"raw").hexdigest() + "+3+A")
        assert tool("arv-get", locator) == b"raw"

    def test_same_name_twice(self, tool, api, tmp_path):
        (tmp_path / "file").write_bytes(b"x")
        first, second = (
            text(tool("arv-put", "--no-progress", "--name", "twice", "file")) for _ in range(2)
        )
        names = [api.collections().get(uuid=uuid).execute()["name"] for uuid in (first, second)]
        assert names[0] == "twice"
        assert names[1].startswith("twice (")

    def test_collection_is_updated(self, tool, tmp_path):
        for name in ("one", "two"):
            (tmp_path / name).write_bytes(name.encode())
        uuid = text(tool("arv-put", "--no-progress", "one"))
        tool("arv-put", "--no-progress", "--update-collection", uuid, "two")
        assert sorted(text(tool("arv-ls", uuid)).splitlines()) == ["./one", "./two"]

    def test_project_is_copied_to_another_cluster(self, tool, running_cluster, tmp_path):
        """arv-copy: the way from the standalone cluster to a real one (docs/standalone.md)."""
        source = running_cluster.api().groups()
        (sample,) = source.list(filters=[["name", "=", "Sample project"]]).execute()["items"]
        with RunningCluster(tmp_path / "other") as other:
            for cluster in (running_cluster, other):
                settings = (cluster.dir / "env.sh").read_text().replace("export ", "")
                (tmp_path / f"{cluster.dir.name}.conf").write_text(settings)
            clusters = ("--src", f"./{running_cluster.dir.name}.conf", "--dst", "./other.conf")
            home = other.api().users().current().execute()["uuid"]
            tool("arv-copy", "--no-progress", *clusters, "--project-uuid", home, sample["uuid"])
            (primes,) = other.request("GET", BY_NAME.format("Primes"))[1]["items"]
            reader = arvados.collection.CollectionReader(primes["uuid"], api_client=other.api())
            with reader.open("MD5SUMS") as sums:
                assert sums.read().endswith("primes-below-2^24.u32le\n")

    def test_sample_passes_its_own_check(self, tool, api, tmp_path):
        (primes,) = api.collections().list(filters=[["name", "=", "Primes"]]).execute()["items"]
        (tmp_path / "primes").mkdir()
        tool("arv-get", f"{primes['uuid']}/", "primes/")
        subprocess.run(["md5sum", "-c", "MD5SUMS"], cwd=tmp_path / "primes", check=True)


class TestLibrary:
    """arvados.api and arvados.collection"""

    def test_collection_of_several_blocks(self, api):
        content = pseudo_random(BLOCK + 1_000_000)
        collection = arvados.collection.Collection(api_client=api)
        with collection.open("dir/large", "wb") as file:
            file.write(content)
        with collection.open("dir/sm\u00e4ll file", "w") as file:
            file.write("text")
        collection.save_new(name="several blocks")
        for identifier in (collection.manifest_locator(), collection.portable_data_hash()):
            again = arvados.collection.CollectionReader(identifier, api_client=api)
            assert sorted(again["dir"].keys()) == ["large", "sm\u00e4ll file"]
            with again.open("dir/large", "rb") as file:
                assert hashlib.md5(file.read()).digest() == hashlib.md5(content).digest()
                file.seek(BLOCK - 10)
                assert file.read(20) == content[BLOCK - 10 : BLOCK + 10]

    def test_collection_changes_and_is_saved(self, api):
        collection = arvados.collection.Collection(api_client=api)
        with collection.open("a", "w") as file:
            file.write("a")
        collection.save_new(name="changes", ensure_unique_name=True)
        collection.rename("a", "b")
        collection.mkdirs("empty/dir")
        collection.save(properties={"k": "v"}, storage_classes=["default"])
        again = arvados.collection.Collection(collection.manifest_locator(), api_client=api)
        assert sorted(again.keys()) == ["b", "empty"]
        assert again.get_properties() == {"k": "v"}
        assert again.api_response()["file_count"] == 1

    def test_long_filters_go_by_post(self, api):
        uuids = [f"zzzzz-4zz18-{number:015d}" for number in range(200)]
        page = api.collections().list(filters=[["uuid", "in", uuids]]).execute()
        assert page["items_available"] == 0

    def test_plus_signs_in_filters_arrive(self, api):
        record = api.collections().create(body={"name": "a+b c%2B&d"}).execute()
        for name in ("name", "portable_data_hash"):
            filters = [[name, "=", record[name]], ["uuid", "=", record["uuid"]]]
            assert len(api.collections().list(filters=filters).execute()["items"]) == 1

    def test_paging_helper_sees_everything_once(self, api):
        project = (
            api.groups()
            .create(body={"group": {"name": "many", "group_class": "project"}})
            .execute()["uuid"]
        )
        for number in range(5):
            api.collections().create(body={"name": str(number), "owner_uuid": project}).execute()
        items = arvados.util.keyset_list_all(
            api.groups().contents, uuid=project, limit=2, select=["uuid", "name"]
        )
        assert sorted(item["name"] for item in items) == list("01234")

    def test_errors_reach_the_caller_at_once(self, api):
        with pytest.raises(arvados.errors.ApiError, match="Path not found"):
            api.collections().get(uuid="zzzzz-4zz18-012345678901234").execute()
        api.collections().create(body={"name": "taken"}).execute()
        with pytest.raises(arvados.errors.ApiError, match="duplicate key value"):
            api.collections().create(body={"name": "taken"}).execute(num_retries=3)

    def test_other_calls_that_clients_make(self, api):
        user = api.users().current().execute()
        assert user["uuid"].startswith(api._rootDesc["uuidPrefix"])
        assert api.config()["Collections"]["CollectionVersioning"] in (True, False)
        assert api.vocabulary()["tags"] == {}
        projects = [["group_class", "=", "project"]]
        shared = api.groups().shared(filters=projects, include="owner_uuid").execute()
        assert (shared["items"], shared["included"]) == ([], [])
        assert api.links().list(filters=[["link_class", "=", "tag"]]).execute()["items"] == []
        assert api.api_client_authorizations().current().execute()["owner_uuid"] == user["uuid"]
        assert len(api.keep_services().accessible().execute()["items"]) == 1
