"""What is written while block signatures run out, or the token is replaced, is saved all the same.

The user is no administrator: of those the cluster checks no signatures.
"""

import os
import signal
import time
from contextlib import suppress

import pytest

from tests.support.contents import create, pseudo_random
from tests.support.mounts import RunningMount
from tests.support.patience import wait_until
from tests.support.workplace import saved

NO_COMMIT = {"route": "api", "method": "PUT", "path": "collections/", "status": 503}
SIGNATURE_LIFE_S = 14 * 86400
EXPECTED_LOG = ["Cannot commit", "Cannot save", "answered 503"]

pytestmark = pytest.mark.usefixtures("no_faults")


@pytest.fixture(scope="module")
def user_uuid(cluster):
    body = {"email": "writer@example.com", "first_name": "A", "last_name": "W", "is_active": True}
    return cluster.api().users().create(body={"user": body}).execute()["uuid"]


class Mounted:
    """A mount of a collection of the user: a file of three pieces in one block, and its content."""

    def __init__(self, cluster, user_uuid, directory):
        self._cluster = cluster
        self._user_uuid = user_uuid
        home = directory.with_name("home")
        self._settings = home / ".config/arvados/settings.conf"
        self._settings.parent.mkdir(parents=True)
        self.content = pseudo_random(300_000)
        self.uuid = create(cluster.api(), directory.name, {"f": self.content}, user_uuid)["uuid"]
        self.change_settings()
        env = {k: v for k, v in os.environ.items() if not k.startswith(("ARVADOS_", "XDG_"))}
        self.mount = RunningMount(
            directory,
            *("--read-write", "--retries=0", "--collection", self.uuid),
            env={**env, "HOME": str(home)},
        )
        self.mount.expected_log += EXPECTED_LOG

    def change_settings(self):
        """Write a new token of the user into the settings file."""
        body = {"api_client_authorization": {"owner_uuid": self._user_uuid}}
        token = self._cluster.api().api_client_authorizations().create(body=body).execute()
        lines = {
            **self._cluster.env,
            "ARVADOS_API_TOKEN": f"v2/{token['uuid']}/{token['api_token']}",
        }
        self._settings.write_text("".join(f"{k}={v}\n" for k, v in lines.items()))

    def use_new_token(self):
        self.change_settings()
        self.mount.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "Using a new token" in self.mount.log, says=lambda: self.mount.log)

    def change_in_vain(self, *rules):
        """Overwrite the middle of the file: sent to Keep, and not committed."""
        self.content = self.content[:100_000] + b"new" + self.content[100_003:]
        descriptor = os.open(self.mount / "f", os.O_RDWR)
        self._cluster.set_faults([*rules, NO_COMMIT])
        os.pwrite(descriptor, b"new", 100_000)
        with pytest.raises(OSError):
            os.fsync(descriptor)
        with suppress(OSError):
            os.close(descriptor)

    def check_saved(self):
        self._cluster.set_faults([])
        with (self.mount / "f").open("r+b") as file:
            os.fsync(file.fileno())
        assert saved(self._cluster.api(), self.uuid) == {"f": self.content}
        assert (self.mount / "f").read_bytes() == self.content


@pytest.fixture
def mounted(cluster, user_uuid, tmp_path):
    mounted = Mounted(cluster, user_uuid, tmp_path / "mnt")
    with mounted.mount:
        yield mounted


def test_blocks_of_the_collection_and_of_the_journal_are_signed_for_a_new_token(mounted):
    mounted.change_in_vain()
    mounted.use_new_token()
    mounted.check_saved()


def test_what_is_not_saved_is_read_with_a_new_token(mounted, cluster):
    """While the commit goes on failing, only what was there before can be read anew."""
    mounted.change_in_vain()
    mounted.use_new_token()
    cluster.set_faults([])
    assert (mounted.mount / "f").read_bytes() == mounted.content
    mounted.check_saved()


def test_signatures_that_ran_out_before_the_commit_are_made_anew(mounted):
    """Keep is so slow, by its clock, that what it signs holds for a second."""
    slow = {"route": "keep", "clock_skew_s": -(SIGNATURE_LIFE_S - 1)}
    mounted.change_in_vain(slow)
    time.sleep(2.1)
    mounted.check_saved()


def test_who_may_not_write_any_more_causes_no_block_to_be_sent_again(mounted, cluster):
    mounted.mount.expected_log += ["answered 403", "not committed"]
    cluster.request_counts(reset=True)
    mounted.change_in_vain({**NO_COMMIT, "status": 403})
    for _ in range(3):
        with (mounted.mount / "f").open("rb") as file, pytest.raises(PermissionError):
            os.fsync(file.fileno())
    assert cluster.request_counts()["PUT keep"] == 1
    cluster.set_faults([])
