"""Writing to a mount: when it is durable and seen by others, what is refused, and who wins."""

import json
import os
import signal
import subprocess
import threading
import time

import arvados
import arvados.collection
import pytest

from tests.support.contents import create, pseudo_random
from tests.support.mounts import ARV_MOUNT
from tests.support.people import Person
from tests.support.workplace import (
    Workplace,
    changes,
    errno_of,
    new_collection,
    saved,
    shown,
)

NEVER = ("--commit-delay", "100")
"""Nothing is committed for a while after the first commit, unless somebody asks for it."""


def wait_for(condition, within_s=10.0):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def api(cluster):
    return cluster.api()


@pytest.fixture
def work(api, mount):
    """Mount an empty collection with `work("--option", ...)`."""

    def start(*options, **attributes):
        uuid = new_collection(api, **attributes)
        return Workplace(mount("--read-write", "--collection", uuid, *options), api, uuid)

    return start


class TestCommit:
    def test_a_lone_close_commits_before_it_returns(self, work):
        work = work()
        (work / "f").write_bytes(b"content")
        assert work.saved() == {"f": b"content"}

    def test_a_burst_is_committed_within_the_delay(self, work):
        work = work("--commit-delay", "0.3")
        for number in range(50):
            (work / f"f{number}").write_bytes(b"content")
        wait_for(lambda: len(work.saved()) == 50)

    def test_without_delay_every_close_commits(self, work):
        work = work("--commit-delay", "0")
        for number in range(5):
            (work / f"f{number}").write_bytes(b"content")
            assert len(work.saved()) == number + 1

    def test_fsync_commits_before_it_returns(self, work):
        work = work(*NEVER)
        (work / "f").write_bytes(b"first")
        with open(work / "f", "ab", buffering=0) as file:
            file.write(b", second")
            os.fsync(file.fileno())
            assert work.saved() == {"f": b"first, second"}
            file.write(b", third")
            os.fdatasync(file.fileno())
            assert work.saved() == {"f": b"first, second, third"}

    def test_fsync_of_a_directory_commits_before_it_returns(self, work):
        work = work(*NEVER)
        (work / "f").write_bytes(b"first")
        (work / "d").mkdir()
        (work / "f").rename(work / "d/g")
        descriptor = os.open(work.root, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        assert work.saved() == {"d/g": b"first"}

    def test_reading_the_commit_file_commits_and_tells_the_record(self, work):
        work = work(*NEVER)
        for name in "ab":
            (work / name).write_bytes(b"content")
        record = json.loads((work / ".arvados#commit").read_text())
        assert work.saved() == {"a": b"content", "b": b"content"}
        now = work.api.collections().get(uuid=work.uuid).execute()
        assert record["uuid"] == work.uuid
        assert record["portable_data_hash"] == now["portable_data_hash"]

    def test_so_does_reading_the_record(self, work):
        work = work(*NEVER)
        for name in "ab":
            (work / name).write_bytes(b"content")
        record = json.loads((work / ".arvados#collection").read_text())
        assert record["portable_data_hash"] == saved_hash(work)
        assert set(work.saved()) == {"a", "b"}

    def test_unmounting_commits(self, work):
        work = work(*NEVER)
        for name in "ab":
            (work / name).write_bytes(b"content")
        assert work.running.unmount() == 0
        assert set(work.saved()) == {"a", "b"}

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_commits(self, work, number):
        work = work(*NEVER)
        for name in "ab":
            (work / name).write_bytes(b"content")
        work.running.process.send_signal(number)
        assert work.running.process.wait(20) == 0
        assert set(work.saved()) == {"a", "b"}

    def test_empty_files_and_directories_are_kept(self, work):
        work = work()
        (work / "empty").touch()
        (work / "d/e").mkdir(parents=True)
        work.end()
        assert work.saved() == {"empty": b"", "d/e": None}

    def test_names_of_all_kinds(self, work):
        work = work()
        for name in ("sp ace", "back\\slash", "naïve ☃", "line\nfeed", "\x01", "n" * 255):
            (work / name).write_text(name)
            (work / "d").mkdir(exist_ok=True)
            (work / "d" / name).mkdir()
            (work / "d" / name / name).write_text(name)
        work.end()

    def test_exec_waits_for_the_commit(self, env, api, tmp_path):
        uuid = new_collection(api)
        (tmp_path / "mnt").mkdir()
        script = "for i in 1 2 3; do echo $i > $0/$i; done"
        done = subprocess.run(
            [
                *(ARV_MOUNT, "--read-write", *NEVER, "--collection", uuid, tmp_path / "mnt"),
                *("--exec", "sh", "-c", script, tmp_path / "mnt"),
            ],
            env=env,
            timeout=50,
        )
        assert done.returncode == 0
        assert saved(api, uuid) == {"1": b"1\n", "2": b"2\n", "3": b"3\n"}


def saved_hash(work):
    return work.api.collections().get(uuid=work.uuid).execute()["portable_data_hash"]


class TestStorageClasses:
    def test_new_collections_want_them_and_blocks_are_sent_for_them(self, api, mount):
        """The standalone cluster has one class, `default`: another shows that it is asked for."""
        body = {"group": {"name": f"classes {os.urandom(4).hex()}", "group_class": "project"}}
        project = api.groups().create(body=body).execute()["uuid"]
        running = mount(
            *("--read-write", "--storage-classes", "archive", "--commit-delay", "0"),
            *("--retries", "0", "--project", project),
        )
        running.expected_log += ["Keep write error", "Cannot commit", "Cannot save"]
        (running / "new").mkdir()
        owned = api.collections().list(filters=[["owner_uuid", "=", project]]).execute()
        (record,) = owned["items"]
        assert record["storage_classes_desired"] == ["archive"]
        assert errno_of(lambda: (running / "new/f").write_bytes(b"content")) == "ENOSPC"
        assert "too few in storage class archive" in running.log
        (running / "new/f").unlink()


class TestTmp:
    def test_is_never_saved_and_tells_all_of_itself(self, api, mount):
        before = api.collections().list(limit=0).execute()["items_available"]
        running = mount("--read-write", "--mount-tmp", "tmp", "--mount-by-id", "by_id")
        (running / "tmp/d").mkdir()
        (running / "tmp/d/f").write_bytes(pseudo_random(100_000))
        with open(running / "tmp/open", "wb", buffering=0) as file:
            file.write(b"so far")
            record = json.loads((running / "tmp/.arvados#collection").read_text())
        reader = arvados.collection.CollectionReader(record["manifest_text"], api_client=api)
        assert reader.portable_data_hash() == record["portable_data_hash"]
        with reader.open("d/f", "rb") as found:
            assert found.read() == pseudo_random(100_000)
        with reader.open("open", "rb") as found:
            assert found.read() == b"so far"
        (running / "tmp/d/f").unlink()
        again = json.loads((running / "tmp/.arvados#collection").read_text())
        assert again["portable_data_hash"] != record["portable_data_hash"]
        assert shown(running / "tmp") == {"d": None, "open": b"so far"}
        assert running.unmount() == 0
        assert api.collections().list(limit=0).execute()["items_available"] == before

    def test_two_are_apart(self, mount):
        running = mount("--read-write", "--mount-tmp", "one", "--mount-tmp", "two")
        (running / "one/f").write_text("one")
        assert os.listdir(running / "two") == []
        assert errno_of(os.rename, running / "one/f", running / "two/f") == "EXDEV"
        subprocess.run(["mv", running / "one/f", running / "two/f"], check=True)
        assert shown(running.directory) == {"one": None, "two/f": b"one"}


# -- what is refused ----------------------------------------------------------------------------


FILES = {"f": b"content", "d/g": b"more"}


class Owner(Person):
    """A user who has projects."""

    def project(self, name, **attributes):
        body = {"group": {"name": name, "group_class": "project", **attributes}}
        return self.api.groups().create(body=body).execute()["uuid"]


class TestRefused:
    @pytest.fixture
    def person(self, cluster, env):
        """Whom the mounts of a test belong to."""
        person = Owner(cluster, os.urandom(4).hex())
        env["ARVADOS_API_TOKEN"] = person.token
        return person

    def test_names_of_the_mounts_own(self, work):
        """What `.arvados#` names stand for cannot be hidden by a file."""
        work = work()
        (work / "f").write_bytes(b"x")
        for call in (
            lambda: (work / ".arvados#own").write_bytes(b""),
            lambda: (work / ".arvados#own").mkdir(),
            lambda: (work / "f").rename(work / ".arvados#own"),
        ):
            assert errno_of(call) == "EPERM"

    def test_everything_on_a_read_only_mount(self, mount, api):
        record = create(api, "refused", FILES)
        running = mount("--collection", record["uuid"])
        assert set(changes(running.directory, "f", "d").values()) == {"EROFS"}
        for call in ((os.chmod, running / "f", 0o600), (os.utime, running / "f")):
            assert errno_of(*call) == "EROFS"
        assert errno_of(os.symlink, "f", running / "s") == "EROFS"
        assert errno_of(os.link, running / "f", running / "s") == "EROFS"

    def test_everything_in_a_collection_by_its_hash(self, mount, api):
        record = create(api, "refused", FILES)
        running = mount("--read-write", "--collection", record["portable_data_hash"])
        assert set(changes(running.directory, "f", "d").values()) == {"EPERM"}

    def test_everything_in_a_stored_version(self, mount, api):
        record = create(api, "refused", FILES)
        running = mount("--read-write", "--collection", record["uuid"])
        versions = running / ".arvados#versions"
        assert set(changes(versions / "1", "f", "d").values()) == {"EPERM"}
        assert errno_of(os.mkdir, versions / "2") == "EPERM"
        assert errno_of(os.rmdir, versions / "1") == "EPERM"

    def test_everything_in_directories_that_are_not_of_the_cluster(self, mount, api, person):
        record = create(person.api, "mine", FILES, owner=person.uuid)
        running = mount("--read-write")
        (running / f"by_id/{record['uuid']}").stat()
        for directory in (
            running.directory,
            running / "by_id",
            running / "shared",
            running / "by_tag",
        ):
            assert errno_of(os.mkdir, directory / "new") == "EPERM"
            assert errno_of(os.mknod, directory / "new") == "EPERM"
        assert errno_of(os.rmdir, running / "by_id") == "EPERM"
        assert errno_of(os.unlink, running / "README") == "EPERM"
        assert errno_of(os.truncate, running / "README", 0) == "EPERM"
        assert errno_of(os.rename, running / "by_id", running / "new") == "EPERM"
        assert errno_of(os.rmdir, running / f"by_id/{record['uuid']}") == "EPERM"
        mine = running / f"by_id/{record['uuid']}"
        assert errno_of(os.rename, mine, running / "by_id/new") == "EPERM"
        assert errno_of(os.rename, mine / "f", running / "home/f") == "EPERM"
        assert errno_of(os.rename, mine / "f", running / "by_id/f") == "EPERM"
        assert shown(mine) == FILES

    def test_files_in_projects(self, mount, person):
        create(person.api, "collection", FILES, owner=person.uuid)
        home = mount("--read-write", "--home").directory
        assert errno_of(os.mknod, home / "new") == "ENOTSUP"
        assert errno_of(lambda: open(home / "new", "w")) == "ENOTSUP"
        assert errno_of(os.unlink, home / "collection") == "EISDIR"

    def test_changes_of_projects(self, mount, person):
        create(person.api, "full", FILES, owner=person.uuid)
        person.project("project")
        home = mount("--read-write", "--home").directory
        assert errno_of(os.mkdir, home / "full") == "EEXIST"
        assert errno_of(os.rmdir, home / "full") == "ENOTEMPTY"
        assert errno_of(os.rmdir, home / "project") == "EPERM"
        assert errno_of(os.rmdir, home / "missing") == "ENOENT"
        assert errno_of(os.rename, home / "project", home / "other") == "EPERM"
        assert errno_of(os.rename, home / "full", home / "project") == "EPERM"
        assert sorted(os.listdir(home)) == ["full", "project"]

    def test_everything_in_a_frozen_project(self, mount, person):
        project = person.project("frozen")
        record = create(person.api, "collection", FILES, owner=project)
        body = {"group": {"frozen_by_uuid": person.uuid}}
        person.api.groups().update(uuid=project, body=body).execute()
        running = mount("--read-write", "--project", project)
        assert set(changes(running / "collection", "f", "d").values()) == {"EPERM"}
        assert errno_of(os.mkdir, running / "new") == "EPERM"
        assert errno_of(os.rmdir, running / "collection") == "EPERM"
        assert errno_of(os.rename, running / "collection", running / "new") == "EPERM"
        assert saved(person.api, record["uuid"]) == FILES

    def test_everything_in_what_is_shared_to_be_read(self, mount, person, cluster, api):
        other = Owner(cluster, os.urandom(4).hex())
        project = other.project("for readers")
        record = create(other.api, "collection", FILES, owner=project)
        link = {"link_class": "permission", "name": "can_read"}
        link |= {"tail_uuid": person.uuid, "head_uuid": project}
        api.links().create(body={"link": link}).execute()
        running = mount("--read-write", "--project", project)
        assert set(changes(running / "collection", "f", "d").values()) == {"EPERM"}
        assert errno_of(os.mkdir, running / "new") == "EPERM"
        assert errno_of(os.rmdir, running / "collection") == "EPERM"
        assert saved(other.api, record["uuid"]) == FILES


# -- what fails -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_faults")
class TestFailures:
    """The cluster refuses for a while. Nothing is lost, and everybody is told who has to know."""

    QUICK = ("--retries", "0", "--commit-delay", "0")

    FAULTS = (
        {"route": "api", "method": "PUT", "status": 500},
        {"route": "api", "method": "PUT", "status": 503},
        {"route": "keep", "method": "PUT", "status": 503},
        {"route": "keep", "method": "PUT", "status": 507},
    )

    @pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f['route']}-{f['status']}")
    def test_are_told_by_fsync_and_close_and_are_tried_again(self, work, cluster, fault):
        work = work(*self.QUICK)
        work.running.expected_log += ["Cannot commit", "Keep write error"]
        (work / "before").write_bytes(b"before")
        cluster.set_faults([fault])
        with open(work / "f", "wb", buffering=0) as file:
            file.write(b"content")
            wanted = "ENOSPC" if fault["status"] == 507 else "EIO"
            assert errno_of(os.fsync, file.fileno()) == wanted
            assert errno_of(lambda: (work / "g").write_bytes(b"more")) == wanted
            assert (work / "f").read_bytes() == b"content"
            assert errno_of(os.close, os.dup(file.fileno())) == wanted
            cluster.set_faults([])
            os.fsync(file.fileno())
        wait_for(lambda: work.saved() == {"before": b"before", "f": b"content", "g": b"more"})
        with open(work / "f", "ab", buffering=0) as file:
            os.fsync(file.fileno())
        lines = [x for x in work.running.log.splitlines() if "Cannot commit" in x]
        assert len(lines) == 1

    def test_at_the_end_fail_the_mount_and_stay_in_the_journal(self, work, cluster, mount):
        work = work(*self.QUICK)
        work.running.expected_log += ["Cannot commit", "is not committed", "saved"]
        (work / "before").write_bytes(b"before")
        cluster.set_faults([self.FAULTS[0]])
        assert errno_of(lambda: (work / "f").write_bytes(b"content")) == "EIO"
        assert work.running.unmount() == 75
        assert work.saved() == {"before": b"before"}
        cluster.set_faults([])
        mount("--read-write", "--collection", work.uuid)
        assert work.saved() == {"before": b"before", "f": b"content"}

    def test_at_the_end_fail_exec(self, env, api, tmp_path, cluster):
        uuid = new_collection(api)
        (tmp_path / "mnt").mkdir()
        cluster.set_faults([self.FAULTS[2]])
        command = [
            *(ARV_MOUNT, "--read-write", "--retries", "0", "--collection", uuid, tmp_path / "mnt"),
            *("--exec", "sh", "-c", "echo x > $0/f; exit 0", tmp_path / "mnt"),
        ]
        done = subprocess.run(command, env=env, timeout=50, capture_output=True, text=True)
        assert done.returncode == 75, done
        assert "is not committed" in done.stderr


# -- two writers ----------------------------------------------------------------------------------


class TestTwoWriters:
    """Another client changes the collection before what was written here is committed."""

    @pytest.fixture
    def both(self, work, api):
        work = work(*NEVER)
        for name in ("a", "b", "d/c"):
            (work / name).parent.mkdir(exist_ok=True)
            (work / name).write_bytes(b"at first")
        json.loads((work / ".arvados#commit").read_text())
        return work

    def edit(self, work, change):
        """Let another client change and save the collection."""
        collection = arvados.collection.Collection(work.uuid, api_client=work.api)
        change(collection)
        collection.save()

    @staticmethod
    def put(path, content):
        def change(collection):
            with collection.open(path, "wb") as file:
                file.write(content)

        return change

    def test_different_paths_merge(self, both):
        (both / "a").write_bytes(b"ours")
        self.edit(both, self.put("b", b"theirs"))
        self.edit(both, self.put("new", b"theirs too"))
        assert both.running.unmount() == 0
        assert both.saved() == {
            "a": b"ours",
            "b": b"theirs",
            "new": b"theirs too",
            "d/c": b"at first",
        }

    def test_what_they_replaced_is_not_written_to(self, both):
        """A handle goes on reading what it opened; a write would mix their content with ours."""
        with (both / "a").open("r+b", buffering=0) as file:
            self.edit(both, self.put("a", b"theirs, longer"))
            wait_for(lambda: (both / "a").read_bytes() == b"theirs, longer")
            assert os.pread(file.fileno(), 100, 0) == b"at first"
            both.running.expected_log.append("was changed elsewhere since it was opened")
            assert errno_of(os.pwrite, file.fileno(), b"ours", 0) == "ESTALE"
        assert (both / "a").read_bytes() == b"theirs, longer"

    def test_the_same_path_keeps_both(self, both):
        both.running.expected_log.append("a was changed here and elsewhere")
        (both / "a").write_bytes(b"ours")
        self.edit(both, self.put("a", b"theirs"))
        assert both.running.unmount() == 0
        found = both.saved()
        assert found.pop("a") == b"theirs"
        (name,) = (path for path in found if path.endswith("~conflict~"))
        assert name.startswith("a~20")
        assert found[name] == b"ours"

    def test_what_they_removed_and_we_changed_stays(self, both):
        (both / "a").write_bytes(b"ours")
        self.edit(both, lambda collection: collection.remove("a"))
        assert both.running.unmount() == 0
        assert both.saved()["a"] == b"ours"

    def test_what_we_removed_and_they_changed_comes_back(self, both):
        (both / "a").unlink()
        self.edit(both, self.put("a", b"theirs"))
        assert both.running.unmount() == 0
        assert both.saved()["a"] == b"theirs"

    def test_a_directory_that_we_moved_takes_their_change_along(self, both):
        (both / "d").rename(both / "e")
        self.edit(both, self.put("d/c", b"theirs"))
        assert both.running.unmount() == 0
        assert both.saved()["e/c"] == b"theirs"

    def test_many_changes_of_both_at_the_same_time(self, work):
        work = work("--commit-delay", "0.05")

        source = create(work.api, "source", {"f": b"theirs"})["portable_data_hash"]

        def theirs():
            # In one step: `save` of the SDK reads and then replaces, and so removes what is new.
            for number in range(15):
                change = {f"/their {number}": f"{source}/f"}
                work.api.collections().update(
                    uuid=work.uuid, body={"collection": {}, "replace_files": change}
                ).execute()
                time.sleep(0.02)

        other = threading.Thread(target=theirs)
        other.start()
        for number in range(150):
            (work / f"our {number}").write_bytes(b"ours")
            time.sleep(0.005)
        other.join()
        (work / ".arvados#commit").read_text()
        found = work.saved()
        assert sum(content == b"ours" for content in found.values()) == 150
        assert sum(content == b"theirs" for content in found.values()) == 15
