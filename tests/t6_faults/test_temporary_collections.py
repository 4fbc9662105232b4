"""What is in a temporary collection can be read for as long as the mount lives.

The cluster has no collection that refers to its blocks: only this mount knows of them. The user is
no administrator: of those the cluster checks no signatures.
"""

import json
import os
import signal
import subprocess
import time

import arvados.collection
import pytest

from tests.support.contents import create, pseudo_random
from tests.support.mounts import RunningMount
from tests.support.workplace import errno_of, shown

pytestmark = pytest.mark.usefixtures("no_faults")

CONTENT = pseudo_random(200_000)


class Mounted:
    """A temporary collection of a user whose token is in the settings file.

    root: where it is
    user_uuid: whose it is
    """

    def __init__(self, cluster, directory):
        self._cluster = cluster
        home = directory.with_name("home")
        self._settings = home / ".config/arvados/settings.conf"
        self._settings.parent.mkdir(parents=True)
        body = {"email": f"{os.urandom(4).hex()}@example.com", "is_active": True}
        self.user_uuid = cluster.api().users().create(body={"user": body}).execute()["uuid"]
        self._write_settings()
        env = {k: v for k, v in os.environ.items() if not k.startswith(("ARVADOS_", "XDG_"))}
        self.mount = RunningMount(
            directory,
            # Nothing that was read stays in a cache.
            *("--read-write", "--retries=0", "--ram-cache", "--file-cache", "1"),
            *("--mount-tmp", "tmp", "--mount-by-id", "by_id"),
            env={**env, "HOME": str(home)},
        )
        self.root = self.mount / "tmp"

    def _write_settings(self):
        body = {"api_client_authorization": {"owner_uuid": self.user_uuid}}
        record = self._cluster.api().api_client_authorizations().create(body=body).execute()
        self.token_uuid = record["uuid"]
        self.token = f"v2/{record['uuid']}/{record['api_token']}"
        lines = {**self._cluster.env, "ARVADOS_API_TOKEN": self.token}
        self._settings.write_text("".join(f"{k}={v}\n" for k, v in lines.items()))

    def use_new_token(self):
        self._write_settings()
        self.mount.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while self.mount.log.count("Using a new token") == 0:
            assert time.monotonic() < deadline, self.mount.log
            time.sleep(0.02)

    def manifest(self):
        """The manifest of the collection; all of it is in Keep then."""
        return json.loads((self.root / ".arvados#collection").read_text())["manifest_text"]

    def content_for_user(self):
        """What the user finds who makes a collection of the manifest with the token of now."""
        api = arvados.api(
            "v1",
            host=self._cluster.env["ARVADOS_API_HOST"],
            token=self.token,
            insecure=True,
            cache=False,
            num_retries=0,
        )
        body = {"collection": {"manifest_text": self.manifest()}}
        uuid = api.collections().create(body=body).execute()["uuid"]
        reader = arvados.collection.CollectionReader(uuid, api_client=api)
        found = {}
        for name in reader:
            with reader.open(name, "rb") as file:
                found[name] = file.read()
        return found


@pytest.fixture
def mounted(cluster, tmp_path):
    mounted = Mounted(cluster, tmp_path / "mnt")
    with mounted.mount:
        yield mounted


def test_it_can_be_read_and_made_a_collection_with_a_new_token(mounted):
    (mounted.root / "sent").write_bytes(CONTENT)
    mounted.manifest()
    (mounted.root / "in the journal").write_bytes(b"not sent yet")
    mounted.use_new_token()
    content = {"sent": CONTENT, "in the journal": b"not sent yet"}
    assert mounted.content_for_user() == content
    assert shown(mounted.root) == content


def test_a_token_that_is_revoked_does_no_harm(mounted, cluster):
    """Keep checks the signature alone: that of the old token still fits."""
    (mounted.root / "f").write_bytes(CONTENT)
    mounted.manifest()
    cluster.api().api_client_authorizations().delete(uuid=mounted.token_uuid).execute()
    mounted.mount.expected_log += ["answered 40[13]", "token"]
    mounted.use_new_token()
    assert mounted.content_for_user() == {"f": CONTENT}


def test_a_file_that_is_open_is_read_on(mounted):
    with open(mounted.root / "f", "w+b", buffering=0) as file:
        file.write(CONTENT)
        mounted.manifest()
        mounted.use_new_token()
        assert os.pread(file.fileno(), len(CONTENT), 0) == CONTENT


def test_a_file_that_is_open_and_has_no_name_is_read_on(mounted):
    (mounted.root / "other").write_bytes(b"is renamed")
    with (
        open(mounted.root / "removed", "w+b", buffering=0) as removed,
        open(mounted.root / "replaced", "w+b", buffering=0) as replaced,
    ):
        removed.write(CONTENT)
        replaced.write(CONTENT[::-1])
        mounted.manifest()
        (mounted.root / "removed").unlink()
        (mounted.root / "other").rename(mounted.root / "replaced")
        mounted.use_new_token()
        assert os.pread(removed.fileno(), len(CONTENT), 0) == CONTENT
        assert os.pread(replaced.fileno(), len(CONTENT), 0) == CONTENT[::-1]


def test_blocks_are_stored_anew_once(mounted, cluster):
    (mounted.root / "f").write_bytes(CONTENT)
    mounted.manifest()
    mounted.use_new_token()
    first = mounted.manifest()
    cluster.request_counts(reset=True)
    assert mounted.manifest() == first
    assert "PUT keep" not in cluster.request_counts()


def test_what_keep_refuses_for_good_is_an_error_that_names_the_file(mounted, cluster):
    """As a proxy does, which asks whether a token is still good."""
    (mounted.root / "d").mkdir()
    (mounted.root / "d/lost").write_bytes(CONTENT)
    mounted.manifest()
    (mounted.root / "new").write_bytes(b"not sent yet")
    mounted.mount.expected_log += ["Cannot commit tmp-", "d/lost", "refused"]
    cluster.set_faults([{"route": "keep", "method": "GET", "status": 403}])
    mounted.use_new_token()
    assert errno_of(lambda: (mounted.root / ".arvados#collection").read_text()) == "EACCES"
    assert "d/lost in a temporary collection" in mounted.mount.log
    assert errno_of((mounted.root / "d/lost").read_bytes) == "EACCES"
    (mounted.root / "d/lost").unlink()
    (mounted.root / "d").rmdir()
    assert "new" in mounted.manifest()


def test_a_file_of_another_collection_is_copied_and_not_moved(mounted, cluster):
    """Its blocks might be collected as garbage when that collection does not have them any more."""
    uuid = create(cluster.api(), "source", {"f": CONTENT}, mounted.user_uuid)["uuid"]
    source = mounted.mount / "by_id" / uuid / "f"
    assert errno_of(os.rename, source, mounted.root / "f") == "EXDEV"
    subprocess.run(["mv", source, mounted.root / "f"], check=True)
    assert mounted.content_for_user() == {"f": CONTENT}
