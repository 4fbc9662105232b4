"""A mount was killed, and what it had written to is gone: what was written is saved all the same.

The user is no administrator: of those the cluster checks no signatures, and they see everything.
"""

import os
import re
import subprocess
from contextlib import ExitStack
from itertools import count

import pytest

from tests.support.contents import create
from tests.support.mounts import ARV_MOUNT, RunningMount
from tests.support.people import Person
from tests.support.workplace import saved

BEFORE = b"before " * 1000


@pytest.fixture
def person(cluster):
    return Person(cluster, os.urandom(4).hex())


@pytest.fixture
def env(cluster, person, tmp_path):
    return {**cluster.environment(tmp_path / "home"), "ARVADOS_API_TOKEN": person.token}


@pytest.fixture
def killed(person, env, tmp_path):
    """Make a collection of the person, change it, kill the mount, and return the uuid."""
    directories = (tmp_path / f"mnt{number}" for number in count())
    with ExitStack() as mounts:

        def kill(files, change):
            files = {**files, "opener": b"", "salt": os.urandom(9)}
            uuid = create(person.api, f"run {os.urandom(4).hex()}", files)["uuid"]
            options = ("--read-write", "--commit-delay", "600", "--collection", uuid)
            running = mounts.enter_context(RunningMount(next(directories), *options, env=env))
            (running / "opener").write_bytes(b"the first change is committed at once")
            change(running)
            running.kill()
            return uuid

        yield kill


@pytest.fixture
def recover(env):
    """Run `arv-mount --recover commit`; return its exit code, and what it says."""

    def run():
        done = subprocess.run(
            [ARV_MOUNT, "--recover", "commit", "--retries", "0"],
            env=env,
            capture_output=True,
            text=True,
            timeout=50,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def change(running):
    """Write a new file, and change others in part."""
    (running / "new").write_bytes(b"all of it ours")
    with open(running / "a", "ab") as file:
        file.write(b"of ours")


def take_away(cluster, uuid):
    """Let somebody else own a collection, who shares nothing: it is as if it were gone for good."""
    admin = cluster.api()
    owner = admin.users().current().execute()["uuid"]
    admin.collections().update(uuid=uuid, body={"collection": {"owner_uuid": owner}}).execute()


def rescued(person, said):
    """The collection that the message names: its record, and what it holds."""
    found = re.search(r"; what was written to it is in the new collection (\S+), (.+), in", said)
    assert found is not None, said
    record = person.api.collections().get(uuid=found[1]).execute()
    assert record["name"] == found[2]
    assert record["owner_uuid"] == person.uuid
    return record, saved(person.api, found[1])


def test_what_was_written_to_a_collection_in_the_trash_is_saved_as_another(person, killed, recover):
    uuid = killed({"a": BEFORE, "b": b"not touched"}, change)
    person.api.collections().delete(uuid=uuid).execute()
    code, said = recover()
    assert code == 0, said
    record, content = rescued(person, said)
    assert re.fullmatch(
        r"run [0-9a-f]{8} recovered 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", record["name"]
    )
    assert content == {"a": BEFORE + b"of ours", "new": b"all of it ours"}
    assert f"{uuid} is in the trash" in said


def test_of_one_that_is_gone_for_good_what_is_in_keep_still_is_saved(
    cluster, person, killed, recover
):
    uuid = killed({"a": BEFORE, "b": b"not touched"}, change)
    take_away(cluster, uuid)
    code, said = recover()
    assert code == 0, said
    record, content = rescued(person, said)
    assert record["name"].startswith(f"{uuid} recovered 20")
    assert content == {"a": BEFORE + b"of ours", "new": b"all of it ours"}


def test_what_cannot_be_read_any_more_is_named_and_the_rest_is_saved(
    cluster, person, env, killed, recover
):
    """What the journal says of old blocks is signed for a token that is used no more."""

    def change_more(running):
        change(running)
        os.truncate(running / "cut", 10)

    uuid = killed({"a": BEFORE, "cut": b"c" * 1000}, change_more)
    take_away(cluster, uuid)
    body = {"api_client_authorization": {"owner_uuid": person.uuid}}
    token = cluster.api().api_client_authorizations().create(body=body).execute()
    env["ARVADOS_API_TOKEN"] = f"v2/{token['uuid']}/{token['api_token']}"
    code, said = recover()
    assert code == 0, said
    _, content = rescued(person, said)
    assert content.pop("new") == b"all of it ours"
    ((name, data),) = content.items()
    assert re.fullmatch(r"a~\d{8}-\d{6}~incomplete~", name)
    assert data == bytes(len(BEFORE)) + b"of ours"
    assert f"a of {uuid} is incomplete: {len(BEFORE)} bytes" in said
    assert f"are zeros in {name}" in said
    assert f"cut of {uuid} is lost" in said


def test_only_the_version_is_gone_and_what_was_changed_cannot_be_read(
    cluster, person, env, killed, recover
):
    """The collection is there, somebody has replaced the file, and the token is another."""
    uuid = killed({"a": BEFORE}, change)
    manifest = person.api.collections().get(uuid=uuid).execute()["manifest_text"]
    theirs = "".join(line for line in manifest.splitlines(True) if ":a" not in line)
    other = create(person.api, "other", {"a": b"theirs"})["manifest_text"]
    person.api.collections().update(
        uuid=uuid, body={"collection": {"manifest_text": theirs + other}}
    ).execute()
    body = {"api_client_authorization": {"owner_uuid": person.uuid}}
    token = cluster.api().api_client_authorizations().create(body=body).execute()
    env["ARVADOS_API_TOKEN"] = f"v2/{token['uuid']}/{token['api_token']}"
    code, said = recover()
    assert code == 0, said
    content = saved(person.api, uuid)
    assert content["a"] == b"theirs"
    assert content["new"] == b"all of it ours"
    (name,) = (name for name in content if name.endswith("~incomplete~"))
    assert content[name] == bytes(len(BEFORE)) + b"of ours"


def test_keep_that_does_not_answer_is_no_reason_to_call_anything_lost(cluster, killed, recover):
    uuid = killed({"a": BEFORE}, change)
    take_away(cluster, uuid)
    cluster.set_faults([{"route": "keep", "method": "GET", "status": 503}])
    try:
        code, said = recover()
    finally:
        cluster.set_faults([])
    assert code == 75
    assert f"What was written to {uuid} and not committed stays in" in said
    assert recover()[0] == 0
