"""The official driver and ours, side by side on one standalone cluster.

The official driver is installed by `make test` into an environment of its own; it is run, and what
it shows is compared with what ours shows.
"""

import errno
import os
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.cluster import RunningCluster
from tests.support.contents import create, pseudo_random
from tests.support.mounts import ARV_MOUNT, RunningMount

OFFICIAL = Path(__file__).parents[2] / ".venv-official" / "bin" / "arv-mount"

FILES = {
    "text file.txt": b"Hello\n",
    "empty": b"",
    "a/b/c/deep": b"down here",
    "a/\u00e4\u00f6\u00fc": b"letters",
    "a/colon:and\\backslash": b"escaped",
    "data.bin": pseudo_random(10_000_000, seed=5),
}


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A collection in a cluster of its own."""
    with RunningCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        record = create(cluster.api(), "side by side", FILES)
        yield {**record, "env": cluster.env}


@pytest.fixture
def both(record, tmp_path):
    """Mount with the same options by both drivers; return the two root directories."""
    with ExitStack() as mounts:

        def start(*arguments):
            roots = []
            for name, command in (("official", OFFICIAL), ("ours", ARV_MOUNT)):
                env = {**os.environ, **record["env"], "HOME": str(tmp_path / f"home-{name}")}
                Path(env["HOME"]).mkdir(exist_ok=True)
                running = RunningMount(tmp_path / name, *arguments, env=env, command=command)
                roots.append(mounts.enter_context(running).directory)
            return roots

        yield start


def contents(root):
    """Path, kind and bytes of everything below `root`."""
    found = {}
    for path, directories, files in os.walk(root):
        for name in directories:
            found[os.path.relpath(os.path.join(path, name), root)] = None
        for name in files:
            full = os.path.join(path, name)
            found[os.path.relpath(full, root)] = Path(full).read_bytes()
    return found


@pytest.mark.parametrize("ident", ["uuid", "portable_data_hash"])
def test_collection_is_the_same(both, record, ident):
    official, ours = map(contents, both("--collection", record[ident]))
    assert ours == official
    assert {path: data for path, data in ours.items() if data is not None} == FILES


def test_attributes_are_the_same_but_for_the_meant_differences(both, record):
    official, ours = both("--collection", record["uuid"])
    for path in [".", *contents(official)]:
        theirs, mine = (official / path).stat(), (ours / path).stat()
        for field in ("st_mode", "st_uid", "st_gid", "st_nlink", "st_size"):
            if field == "st_size" and stat.S_ISDIR(mine.st_mode):
                continue
            assert getattr(mine, field) == getattr(theirs, field), (path, field)
        assert int(mine.st_mtime) == int(theirs.st_mtime), path
        assert (theirs.st_blksize, mine.st_blksize) == (512, 65536)


def test_home_is_the_same(both):
    official, ours = both("--home")
    assert contents(ours) == contents(official)


def test_by_id_finds_the_same(both, record):
    official, ours = both("--by-id")
    for name in (record["uuid"], record["portable_data_hash"]):
        assert contents(ours / name) == contents(official / name) != {}
    assert sorted(os.listdir(ours)) == sorted(os.listdir(official))
    for root in (official, ours):
        with pytest.raises(FileNotFoundError):
            os.stat(root / "zzzzz-4zz18-000000000000000")


def test_errors_are_the_same(both, record):
    def errors(root):
        attempts = {
            "missing": lambda: os.stat(root / "none"),
            "not a directory": lambda: os.listdir(root / "empty"),
            "below a file": lambda: os.stat(root / "empty/x"),
            "create": lambda: (root / "new").touch(),
            "mkdir": lambda: (root / "new").mkdir(),
            "unlink": lambda: (root / "empty").unlink(),
            "rmdir": lambda: (root / "a").rmdir(),
            "rename": lambda: (root / "empty").rename(root / "other"),
        }
        found = {}
        for name, attempt in attempts.items():
            with pytest.raises(OSError) as raised:
                attempt()
            found[name] = errno.errorcode[raised.value.errno]
        return found

    official, ours = map(errors, both("--collection", record["uuid"]))
    assert ours == official


def test_attributes_of_what_cannot_be_changed(both, record):
    """There nothing happens and nothing is said; here the mount is read-only, and says so."""

    def outcomes(root):
        attempts = {
            "chmod": lambda: (root / "empty").chmod(0o777),
            "chown": lambda: os.chown(root / "empty", 1, 1),
            "utime": lambda: os.utime(root / "empty"),
            "link": lambda: (root / "link").symlink_to("empty"),
            "open": lambda: (root / "empty").open("r+b"),
        }
        found = {}
        for name, attempt in attempts.items():
            found[name] = "done"
            try:
                attempt()
            except OSError as error:
                found[name] = errno.errorcode[error.errno]
        return found, bool(os.statvfs(root).f_flag & os.ST_RDONLY)

    official, ours = map(outcomes, both("--collection", record["uuid"]))
    changes = dict.fromkeys(("chmod", "chown", "utime"), "done")
    assert official == ({**changes, "link": "ENOSYS", "open": "EPERM"}, False)
    assert ours == (dict.fromkeys(official[0], "EROFS"), True)
