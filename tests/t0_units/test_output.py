"""What our commands print where nobody reads it, or where it has no room."""

import os
import subprocess
import sys
from contextlib import closing

import pytest

from arvados_fuse.standalone import identity
from arvados_fuse.standalone.directory import DATABASE
from arvados_fuse.standalone.records.database import Database

MOUNT = "import sys; from arvados_fuse.command.main import main; sys.exit(main())"


@pytest.fixture(params=["arv-mount", "arv-standalone gc", "arv-standalone user"])
def command(request, tmp_path):
    """A command that prints something and ends."""
    if request.param == "arv-mount":
        return [sys.executable, "-c", MOUNT, "--recover", "--journal-dir", tmp_path]
    with closing(Database(tmp_path / DATABASE)) as database:
        identity.establish(database)
    words = {"arv-standalone gc": ["gc"], "arv-standalone user": ["user", "env", "admin"]}
    module = [sys.executable, "-m", "arvados_fuse.standalone", tmp_path]
    return [*module, *words[request.param]]


def run(command, output):
    return subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=60)


def test_nobody_reads(command):
    """As of `... | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    done = run(command, writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_room(command):
    with open("/dev/full", "w") as full:
        done = run(command, full)
    assert done.returncode == 1
    assert done.stderr.endswith(": cannot write to standard output: No space left on device\n"), (
        done.stderr
    )
    assert done.stderr.count("\n") == 1
