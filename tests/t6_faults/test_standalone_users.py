"""The commands ``arv-standalone DIR user ...``, on clusters that run and on those that do not."""

import os
import shlex
import subprocess
import sys

import arvados
import pytest

from tests.support.cluster import ROOT, RunningCluster


@pytest.fixture
def place(tmp_path):
    return tmp_path / "cluster"


@pytest.fixture
def user_command(place):
    """Run arv-standalone DIR user; return what it prints, or, if it fails, what it says."""

    def run(*arguments, fails=False):
        done = subprocess.run(
            [sys.executable, "-m", "arvados_fuse.standalone", place, "user", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode != 0) == fails, done.stderr
        return done.stderr if fails else done.stdout

    return run


def settings(text):
    words = shlex.split(text)
    return dict(word.split("=", 1) for word in words if "=" in word)


def client(text):
    env = settings(text)
    return arvados.api(
        "v1",
        host=env["ARVADOS_API_HOST"],
        token=env["ARVADOS_API_TOKEN"],
        insecure=True,
        cache=False,
        num_retries=0,
    )


def test_a_user_of_a_running_cluster(place, user_command):
    with RunningCluster(place):
        uuid = user_command("add", "ann", "--email", "ann@example.org").strip()
        api = client(user_command("env", "ann"))
        user = api.users().current().execute()
        assert (user["uuid"], user["username"], user["email"]) == (uuid, "ann", "ann@example.org")
        assert (user["is_active"], user["is_admin"]) == (True, False)
        made = api.collections().create(body={"name": "ann's"}).execute()
        assert made["owner_uuid"] == uuid


def test_an_administrator_added_while_the_cluster_does_not_run(place, user_command):
    with RunningCluster(place) as cluster:
        host = cluster.env["ARVADOS_API_HOST"]
    user_command("add", "boss", "--admin")
    text = user_command("env", "boss")
    assert settings(text)["ARVADOS_API_HOST"] == host
    with RunningCluster(place):
        assert client(text).users().current().execute()["is_admin"] is True


def test_the_environment_of_a_user_stays_the_same(place, user_command):
    with RunningCluster(place):
        user_command("add", "ann")
        assert user_command("env", "ann") == user_command("env", "ann")


def test_bad_requests_are_one_clear_sentence(place, user_command):
    assert "there is no cluster on" in user_command("add", "ann", fails=True)
    assert not place.exists()
    with RunningCluster(place):
        user_command("add", "ann")
        for arguments, text in (
            (("add", "ann"), "cannot add the user 'ann': there is one"),
            (("add", "a b"), "letters and digits"),
            (("env", "bob"), "there is no user 'bob'"),
        ):
            error = user_command(*arguments, fails=True)
            assert text in error
            assert error.count("\n") == 1


def test_a_user_s_blocks_are_for_his_token_alone(place, user_command, tmp_path):
    """Keep does not give a block to who has only seen another one's signature for it."""
    with RunningCluster(place):
        clients = []
        for name in ("ann", "bob"):
            user_command("add", name)
            env = {**os.environ, **settings(user_command("env", name))}
            clients.append((client(user_command("env", name)), env))
        (ann, _), (bob, _) = clients
        mine = arvados.KeepClient(api_client=ann, num_retries=0)
        locator = mine.put(b"for ann's eyes", copies=1, num_retries=0)
        assert mine.get(locator, num_retries=0) == b"for ann's eyes"
        other = arvados.KeepClient(
            api_client=bob, num_retries=0, block_cache=arvados.keep.KeepBlockCache(1 << 20)
        )
        with pytest.raises(arvados.errors.KeepReadError):
            other.get(locator, num_retries=0)
