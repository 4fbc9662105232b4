"""`arv-mount --recover`: what mounts that did not end well have left."""

import re
import subprocess

import pytest

from tests.support.mounts import ARV_MOUNT, is_alive
from tests.support.workplace import new_collection, saved


@pytest.fixture
def recover(env, tmp_path):
    """Run `arv-mount --recover ...`; return its exit code, and what it says."""

    def run(*arguments: str, **more: str) -> tuple[int, str]:
        done = subprocess.run(
            [ARV_MOUNT, "--recover", *arguments],
            env={**env, **more},
            capture_output=True,
            text=True,
            timeout=50,
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture
def uuid(cluster):
    return new_collection(cluster.api())


@pytest.fixture
def killed(mount, uuid):
    """A mount that was killed before it could commit a file."""
    running = mount("--read-write", "--collection", uuid, "--commit-delay", "600")
    (running / "first").write_bytes(b"committed at once")
    (running / "second").write_bytes(b"kept " * 1000)
    running.kill()
    return running


def test_nothing_is_there(recover):
    code, said = recover()
    assert code == 0
    assert re.fullmatch(r"There are no journals in /.*/journal\.\n", said)


def test_list_tells_what_whose_where_and_how_much_without_a_token(recover, cluster, killed, uuid):
    code, said = recover("list", ARVADOS_API_HOST="", ARVADOS_API_TOKEN="")
    assert code == 0
    name, about, changes = said.splitlines()
    user = cluster.api().users().current().execute()["uuid"]
    assert name.startswith(f"{user[:5]}-{user}-")
    assert f"cluster {cluster.env['ARVADOS_API_HOST']}, user {user}," in about
    assert f"mounted on {killed.directory} at 20" in about
    assert re.fullmatch(rf"  {uuid}: \d changes, 5\.0 kB written", changes)


def test_list_is_the_default_and_changes_nothing(recover, killed):
    assert recover() == recover("list") == recover("list")


def test_a_living_mount_is_left_alone(recover, mount, uuid):
    running = mount("--read-write", "--collection", uuid, "--commit-delay", "600")
    (running / "first").write_bytes(b"committed at once")
    (running / "second").write_bytes(b"kept")
    _, said = recover()
    name, _, state = said.splitlines()
    assert state == "  in use by a mount that lives"
    code, said = recover("discard", name)
    assert code == 1
    assert "its mount lives" in said
    assert recover("commit")[0] == 0
    assert (running / "second").read_bytes() == b"kept"
    assert running.unmount() == 0


def test_commit_commits(recover, cluster, killed, uuid):
    code, said = recover("commit")
    assert code == 0, said
    assert re.search(rf"Committed \d changes of {uuid}", said)
    content = {"first": b"committed at once", "second": b"kept " * 1000}
    assert saved(cluster.api(), uuid) == content
    assert "There are no journals" in recover()[1]


def test_what_cannot_be_committed_stays_and_the_exit_code_is_75(recover, cluster, killed, uuid):
    cluster.set_faults([{"route": "api", "method": "PUT", "path": "/collections/", "status": 403}])
    try:
        code, said = recover("commit", "--retries", "0")
    finally:
        cluster.set_faults([])
    assert code == 75
    assert f"What was written to {uuid} and not committed stays in" in said
    assert f"{uuid}: " in recover()[1]
    assert recover("commit")[0] == 0
    assert saved(cluster.api(), uuid)["second"] == b"kept " * 1000


def test_discard_removes_what_is_named(recover, cluster, killed, uuid):
    name = recover()[1].splitlines()[0]
    assert recover("discard", name) == (0, f"Discarded {name}: changes of {uuid}.\n")
    assert "There are no journals" in recover()[1]
    assert recover("commit")[0] == 0
    assert list(saved(cluster.api(), uuid)) == ["first"]


@pytest.mark.parametrize("name", ["no-such-journal", "..", ".", "/", "../journal"])
def test_discard_refuses_what_is_no_journal(recover, killed, name):
    code, said = recover("discard", name)
    assert code == 1
    assert "There is no journal" in said
    assert len(recover()[1].splitlines()) == 3


@pytest.mark.parametrize("arguments", [["discard"], ["list", "/mnt"], ["commit", "/mnt"], ["all"]])
def test_wrong_command_lines(recover, arguments):
    assert recover(*arguments)[0] == 2


def test_two_mounts_that_start_at_once_recover_one_journal_once(
    mount, env, tmp_path, cluster, killed, uuid
):
    processes = []
    directories = [tmp_path / "one", tmp_path / "two"]
    for directory in directories:
        directory.mkdir()
        processes.append(
            subprocess.Popen(
                [ARV_MOUNT, "--read-write", "--collection", uuid, directory],
                env=env,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        for process in processes:
            _, said = process.communicate(timeout=30)
            assert process.returncode == 0, said
        for directory in directories:
            assert is_alive(directory)
        content = {"first": b"committed at once", "second": b"kept " * 1000}
        assert saved(cluster.api(), uuid) == content
    finally:
        for directory in directories:
            subprocess.run(["fusermount", "-u", "-z", directory], check=False)
