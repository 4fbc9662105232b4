"""What a mount shows of changes that others make while it is told of them.

The refresh time is so long here that nothing would be seen in time without the event bus.
"""

import mmap
import os
import time
from contextlib import suppress

import arvados.collection
import pytest

from tests.support.contents import create
from tests.support.mounts import RunningMount

NEVER = ("--refresh-time", "86400")
CONNECTED = "The event bus is connected"


def wait_for(condition, within_s: float = 10.0) -> None:
    """Return when `condition()` is true."""
    deadline = time.monotonic() + within_s
    while True:
        with suppress(FileNotFoundError):
            if condition():
                return
        assert time.monotonic() < deadline, "the mount did not show the change"
        time.sleep(0.01)


def edit(cluster, record, path, content):
    collection = arvados.collection.Collection(record["uuid"], api_client=cluster.api())
    with collection.open(path, "wb") as file:
        file.write(content)
    collection.save()


@pytest.fixture
def api(cluster):
    return cluster.api()


@pytest.fixture
def project(api):
    body = {"name": f"project {os.urandom(4).hex()}", "group_class": "project"}
    return api.groups().create(body=body).execute()


@pytest.fixture
def record(api, project):
    files = {"same": b"as before", "changes": b"version one", "sub/f": b"deep"}
    return create(api, "run", files, owner=project["uuid"])


@pytest.fixture
def listening(mount):
    """Make mounts that are told of changes; return their root when they are."""

    def make(*arguments):
        running = mount(*arguments, *NEVER)
        wait_for(lambda: CONNECTED in running.log)
        return running.directory

    return make


@pytest.fixture
def root(listening, project, record):
    return listening("--project", project["uuid"])


class TestProject:
    def test_new_collection_appears_though_it_was_known_to_be_missing(self, api, project, root):
        assert os.listdir(root) == ["run"]
        assert not (root / "new").exists()
        create(api, "new", {"f": b"x"}, owner=project["uuid"])
        wait_for((root / "new").exists)
        wait_for(lambda: sorted(os.listdir(root)) == ["new", "run"])

    def test_renamed_collection_keeps_its_inode(self, api, record, root):
        inode = (root / "run").stat().st_ino
        api.collections().update(uuid=record["uuid"], body={"name": "walk"}).execute()
        wait_for((root / "walk").exists)
        assert (root / "walk").stat().st_ino == inode
        wait_for(lambda: not (root / "run").exists())
        wait_for(lambda: os.listdir(root) == ["walk"])

    def test_moved_collection_is_in_its_new_project_only(self, api, project, record, root):
        body = {"name": "cellar", "group_class": "project", "owner_uuid": project["uuid"]}
        cellar = api.groups().create(body=body).execute()
        wait_for((root / "cellar").exists)
        assert os.listdir(root / "cellar") == []
        assert not (root / "cellar" / "run").exists()
        body = {"owner_uuid": cellar["uuid"]}
        api.collections().update(uuid=record["uuid"], body=body).execute()
        wait_for((root / "cellar" / "run" / "same").exists)
        wait_for(lambda: os.listdir(root) == ["cellar"])
        wait_for(lambda: not (root / "run").exists())

    def test_trashed_collection_goes_and_comes_back(self, api, record, root):
        assert (root / "run" / "same").read_bytes() == b"as before"
        api.collections().trash(uuid=record["uuid"]).execute()
        wait_for(lambda: not (root / "run").exists())
        wait_for(lambda: os.listdir(root) == [])
        assert not (root / "run" / "same").exists()
        api.collections().untrash(uuid=record["uuid"]).execute()
        wait_for((root / "run").exists)
        assert (root / "run" / "same").read_bytes() == b"as before"

    def test_subproject_is_renamed_trashed_and_back(self, api, project, root):
        body = {"name": "one", "group_class": "project", "owner_uuid": project["uuid"]}
        inner = api.groups().create(body=body).execute()
        wait_for((root / "one").exists)
        inode = (root / "one").stat().st_ino
        api.groups().update(uuid=inner["uuid"], body={"name": "two"}).execute()
        wait_for((root / "two").exists)
        assert (root / "two").stat().st_ino == inode
        wait_for(lambda: not (root / "one").exists())
        api.groups().trash(uuid=inner["uuid"]).execute()
        wait_for(lambda: not (root / "two").exists())
        api.groups().untrash(uuid=inner["uuid"]).execute()
        wait_for((root / "two").exists)


class TestCollection:
    def test_changed_file_is_read_anew_with_another_inode(self, cluster, record, root):
        before = (root / "run" / "changes").stat().st_ino
        assert (root / "run" / "changes").read_bytes() == b"version one"
        edit(cluster, record, "changes", b"the second version")
        wait_for(lambda: (root / "run" / "changes").read_bytes() == b"the second version")
        assert (root / "run" / "changes").stat().st_ino != before

    def test_more_files_at_once_than_the_queue_to_the_kernel_holds(
        self, cluster, api, record, root
    ):
        """llfuse's has a thousand places. None is lost, and requests go on meanwhile."""
        count = 3000

        def become(content):
            locator = arvados.KeepClient(api_client=api).put(content, copies=1)
            files = " ".join(f"0:{len(content)}:f{number}" for number in range(count))
            text = f". {locator} {files}\n"
            api.collections().update(uuid=record["uuid"], body={"manifest_text": text}).execute()

        def sizes():
            return {os.stat(root / "run" / f"f{number}").st_size for number in range(count)}

        become(b"one")
        wait_for(lambda: sizes() == {3})
        become(b"three")
        wait_for(lambda: os.listdir(root) == ["run"] and sizes() == {5})
        api.collections().update(uuid=record["uuid"], body={"manifest_text": ""}).execute()
        wait_for(lambda: not any((root / "run" / f"f{n}").exists() for n in range(count)))

    def test_new_file_appears_and_removed_one_goes(self, cluster, record, root):
        assert not (root / "run" / "new").exists()
        assert (root / "run" / "same").exists()
        edit(cluster, record, "new", b"hello")
        wait_for((root / "run" / "new").exists)
        collection = arvados.collection.Collection(record["uuid"], api_client=cluster.api())
        collection.remove("same")
        collection.save()
        wait_for(lambda: not (root / "run" / "same").exists())

    def test_unchanged_file_keeps_its_inode_and_gets_the_new_time(self, cluster, record, root):
        before = (root / "run" / "same").stat()
        edit(cluster, record, "changes", b"the second version")
        wait_for(lambda: (root / "run" / "same").stat().st_mtime_ns > before.st_mtime_ns)
        assert (root / "run" / "same").stat().st_ino == before.st_ino
        assert (root / "run" / "same").read_bytes() == b"as before"

    def test_mapped_file_keeps_the_version_that_it_mapped(self, cluster, record, root):
        path = root / "run" / "changes"
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            edit(cluster, record, "changes", b"the second version")
            wait_for(lambda: path.read_bytes() == b"the second version")
            assert mapped[:] == file.read() == b"version one"
        edit(cluster, record, "changes", b"and a third")
        wait_for(lambda: path.read_bytes() == b"and a third")
        assert mapped[:] == b"version one"

    def test_collection_by_id_follows_too(self, cluster, api, record, listening):
        path = listening("--by-id") / record["uuid"]
        assert (path / "changes").read_bytes() == b"version one"
        edit(cluster, record, "changes", b"the second version")
        wait_for(lambda: (path / "changes").read_bytes() == b"the second version")
        api.collections().trash(uuid=record["uuid"]).execute()
        wait_for(lambda: not path.exists())


def test_nothing_is_asked_again_while_nothing_changes(cluster, api, root):
    """Not even what others change elsewhere costs a request."""
    create(api, f"elsewhere {os.urandom(4).hex()}", {"f": b"x"})
    assert (root / "run" / "same").read_bytes() == b"as before"
    assert os.listdir(root) == ["run"]
    assert sorted(os.listdir(root / "run")) == ["changes", "same", "sub"]
    cluster.request_counts(reset=True)
    for number in range(20):
        body = {"collection": {"name": f"elsewhere {number} {os.urandom(4).hex()}"}}
        api.collections().create(body=body).execute()
        assert os.listdir(root) == ["run"]
        assert sorted(os.listdir(root / "run")) == ["changes", "same", "sub"]
        assert (root / "run" / "same").read_bytes() == b"as before"
    asked = cluster.request_counts()
    assert {name for name in asked if not name.startswith("POST")} == set(), asked


def test_changes_of_our_own_are_no_news(cluster, project, record, listening):
    """They come back as events, and cost no request."""
    root = listening("--project", project["uuid"], "--read-write")
    (root / "run" / "mine").write_bytes(b"hello")
    assert sorted(os.listdir(root / "run")) == ["changes", "mine", "same", "sub"]
    create(cluster.api(), "later", {"f": b"x"}, owner=project["uuid"])
    wait_for((root / "later").exists)  # so the event of the change before has come, too
    cluster.request_counts(reset=True)
    assert (root / "run" / "mine").stat().st_size == 5
    assert sorted(os.listdir(root / "run")) == ["changes", "mine", "same", "sub"]
    assert cluster.request_counts() == {}


@pytest.fixture
def anna(cluster, tmp_path_factory):
    """Another user: her uuid, and the environment of her mounts."""
    api = cluster.api()
    user = {"email": f"anna.{os.urandom(4).hex()}@example.com", "is_active": True}
    uuid = api.users().create(body={"user": user}).execute()["uuid"]
    body = {"api_client_authorization": {"owner_uuid": uuid}}
    token = api.api_client_authorizations().create(body=body).execute()
    env = cluster.environment(tmp_path_factory.mktemp("anna"))
    return uuid, {**env, "ARVADOS_API_TOKEN": f"v2/{token['uuid']}/{token['api_token']}"}


class TestLinks:
    def test_project_is_shared(self, api, project, record, anna, tmp_path):
        uuid, env = anna
        with RunningMount(tmp_path / "anna", "--all", *NEVER, env=env) as running:
            wait_for(lambda: CONNECTED in running.log)
            by_id = running / "by_id" / project["uuid"]
            assert os.listdir(running / "shared") == []
            assert not by_id.exists()
            permission = {
                "link_class": "permission",
                "name": "can_read",
                "tail_uuid": uuid,
                "head_uuid": project["uuid"],
            }
            api.links().create(body={"link": permission}).execute()
            wait_for(lambda: os.listdir(running / "shared") != [])
            wait_for((by_id / "run" / "same").exists)
            shared = running / "shared" / os.listdir(running / "shared")[0]
            assert shared.exists()

    def test_project_is_shared_no_more(self, cluster, api, project, record, anna, tmp_path):
        """The bus does not tell of it: she may not see who shared. So it takes the refresh time."""
        uuid, env = anna
        permission = {
            "link_class": "permission",
            "name": "can_read",
            "tail_uuid": uuid,
            "head_uuid": project["uuid"],
        }
        link = api.links().create(body={"link": permission}).execute()
        arguments = ("--shared", "--refresh-time", "1")
        with RunningMount(tmp_path / "anna", *arguments, env=env) as running:
            wait_for(lambda: CONNECTED in running.log)
            (name,) = os.listdir(running.directory)
            assert (running / name).exists()
            api.links().delete(uuid=link["uuid"]).execute()
            wait_for(lambda: os.listdir(running.directory) == [])
            wait_for(lambda: not (running / name).exists())

    def test_tag_comes_and_goes(self, api, record, listening):
        root = listening("--by-tag")
        name = f"tag {os.urandom(4).hex()}"
        assert not (root / name).exists()
        tag = {"link_class": "tag", "name": name, "head_uuid": record["uuid"]}
        link = api.links().create(body={"link": tag}).execute()
        wait_for((root / name / record["uuid"]).exists)
        api.links().delete(uuid=link["uuid"]).execute()
        wait_for(lambda: not (root / name).exists())


def test_mount_left_alone_answers_rightly_after_many_changes(api, project, mount):
    """Scaled down; benchmarks/soak.py is the long one."""
    running = mount("--project", project["uuid"], *NEVER, "--directory-cache", str(8 << 20))
    wait_for(lambda: CONNECTED in running.log)
    uuids = []
    for number in range(50):
        body = {"name": f"run {number}", "owner_uuid": project["uuid"]}
        uuids.append(api.collections().create(body={"collection": body}).execute()["uuid"])
    wait_for(lambda: len(os.listdir(running.directory)) == 50)
    for name in os.listdir(running.directory):
        os.listdir(running / name)
    before = running.rss()
    for number in range(500):
        body = {"name": f"walk {number}"}
        api.collections().update(uuid=uuids[number % 50], body=body).execute()
    expected = {f"walk {number}" for number in range(450, 500)}
    wait_for(lambda: set(os.listdir(running.directory)) == expected)
    assert running.rss() - before < 16 << 20
