"""When what a shell has written is saved: it closes a file before it writes to it."""

import subprocess

import pytest

from tests.support.workplace import Workplace, new_collection


@pytest.fixture
def work(cluster, mount):
    """An empty collection, of which nothing is saved unless somebody asks for it."""
    api = cluster.api()
    uuid = new_collection(api)
    running = mount("--read-write", "--commit-delay", "100", "--collection", uuid)
    return Workplace(running, api, uuid)


def test_output_of_a_shell_is_saved_when_the_command_is_done(work):
    """`sh` makes two descriptors of the file, and closes one before the command has begun."""
    subprocess.run(["sh", "-c", "echo content > f"], cwd=work.root, check=True)
    assert work.saved() == {"f": b"content\n"}
