"""Mounts that are killed, or whose cluster is, while somebody writes: nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from arvados_fuse.command.ending import SAME_SIGNAL_S
from arvados_fuse.command.writing import LAST_PATIENCE_S
from arvados_fuse.journal.chunks import chunk_name
from arvados_fuse.journal.records import Write
from arvados_fuse.journal.recovery import Orphan
from tests.support.mounts import END_TIME_LIMIT_S, RunningMount, is_mounted
from tests.support.patience import wait_until
from tests.support.workplace import new_collection, saved, shown
from tests.support.write_load import WriteLoad

ROOT = Path(__file__).parents[2]


@pytest.fixture
def env(cluster, tmp_path):
    return cluster.environment(tmp_path / "home")


@pytest.fixture
def mount(env, tmp_path):
    """Make mounts that can be written to."""
    directories = (tmp_path / f"mnt{number}" for number in count())
    with ExitStack() as mounts:
        yield lambda uuid, *arguments: mounts.enter_context(
            RunningMount(
                next(directories), "--read-write", "--collection", uuid, *arguments, env=env
            )
        )


@pytest.mark.parametrize("delay_s", [0.05, 0.9, 1.7])
def test_a_killed_mount_loses_nothing_whose_close_returned(cluster, mount, delay_s):
    uuid = new_collection(cluster.api())
    running = mount(uuid)
    with WriteLoad(running.directory, int(delay_s * 100)) as load:
        time.sleep(delay_s)
        running.kill()
        load.wait_for_end()
    after = mount(uuid)
    load.check(shown(after.directory))
    load.check(saved(cluster.api(), uuid))
    assert after.unmount() == 0


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.2, 0.4, 0.8])
def test_a_directory_on_its_way_to_another_collection_is_never_in_none(
    cluster, env, tmp_path, delay_s
):
    """Killed while a tree is moved to and fro: it is in one of the two as a whole, or in both."""
    api = cluster.api()
    name = f"moves {os.urandom(4).hex()}"
    body = {"group": {"name": name, "group_class": "project"}}
    project = api.groups().create(body=body).execute()["uuid"]
    one, two = (new_collection(api, each, owner_uuid=project) for each in ("one", "two"))
    tree = {f"d{number % 3}/f{number}": os.urandom(2000) for number in range(30)}
    arguments = ("--read-write", "--project", project)
    with RunningMount(tmp_path / "mnt", *arguments, env=env) as running:
        for path, data in tree.items():
            (running / "one/tree" / path).parent.mkdir(parents=True, exist_ok=True)
            (running / "one/tree" / path).write_bytes(data)
        mover = subprocess.Popen(
            [sys.executable, "-c", MOVER, running / "one/tree", running / "two/tree"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert mover.stdout is not None
        assert mover.stdout.readline() == "begun\n"
        time.sleep(delay_s)
        running.kill()
        assert mover.wait(20) != 0
    with RunningMount(tmp_path / "mnt", *arguments, env=env) as after:
        assert after.unmount() == 0
    contents = [below("tree", saved(api, uuid)) for uuid in (one, two)]
    assert tree in contents
    assert all(content in ({}, tree) for content in contents)


MOVER = """
import os, sys
one, two = sys.argv[1:]
print("begun", flush=True)
while True:
    os.rename(one, two)
    os.rename(two, one)
"""


def below(directory, content):
    return {p[len(directory) + 1 :]: d for p, d in content.items() if p.startswith(directory + "/")}


MOUNT = ".arvados#mount"


def test_a_killed_cluster_loses_nothing_and_the_mount_goes_on(cluster, mount):
    uuid = new_collection(cluster.api())
    running = mount(uuid)
    running.expected_log.append(f"Cannot commit {uuid}")
    with WriteLoad(running.directory, 7) as load:
        for pause_s in (0.6, 1.0):
            time.sleep(pause_s)
            cluster.kill()
            cluster.start()
        time.sleep(0.5)
    assert load.failure is None
    assert load.operations > 10
    assert running.unmount() == 0
    load.check(saved(cluster.api(), uuid))


def test_a_cluster_that_is_gone_for_good_ends_in_75_and_a_journal_for_the_next_mount(
    cluster, mount
):
    uuid = new_collection(cluster.api())
    running = mount(uuid, "--commit-delay", "600")
    (running / "first").write_bytes(b"committed at once")
    (running / "second").write_bytes(b"kept " * 1000)
    cluster.kill()
    try:
        # Its last requests are repeated for that long.
        assert running.unmount(LAST_PATIENCE_S + END_TIME_LIMIT_S) == 75
    finally:
        cluster.start()
    lines = (f"Cannot commit {uuid}, and will", f"What was written to {uuid} is not committed")
    running.expected_log += (*lines, "Keep write error")
    assert [line in running.log for line in lines] == [True, True]
    after = mount(uuid)
    assert shown(after.directory) == saved(cluster.api(), uuid)
    assert (after / "second").read_bytes() == b"kept " * 1000


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, None])
def test_sigint_while_saving_leaves_the_rest_to_the_next_mount(cluster, mount, first):
    """The cluster hangs. Whoever sits there need not wait until it is thought to be away."""
    uuid = new_collection(cluster.api())
    running = mount(uuid, "--commit-delay", "600")
    (running / "first").write_bytes(b"committed at once")
    (running / "second").write_bytes(b"kept")
    os.kill(cluster.pid, signal.SIGSTOP)
    try:
        if first is None:
            subprocess.run(["fusermount", "-u", running.directory], check=True)
        else:
            running.process.send_signal(first)
        wait_until(lambda: not is_mounted(running.directory))
        time.sleep(2 * SAME_SIGNAL_S)
        running.process.send_signal(signal.SIGTERM)  # which service managers send after the first
        assert running.process.poll() is None
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(END_TIME_LIMIT_S) == 75
    finally:
        os.kill(cluster.pid, signal.SIGCONT)
    line = "Interrupted: what is not saved yet is left to the next mount."
    running.expected_log += [line, f"What was written to {uuid} is not committed"]
    assert running.log.count(line) == 1
    after = mount(uuid)
    assert saved(cluster.api(), uuid) == {"first": b"committed at once", "second": b"kept"}
    assert after.unmount() == 0


def test_commits_that_fail_are_told_once_and_in_the_record_of_the_mount(cluster, mount):
    uuid = new_collection(cluster.api())
    running = mount(uuid, "--commit-delay", "0", "--retries", "0")
    running.expected_log.append(f"Cannot commit {uuid}")  # and no line for each fsync and close
    (running / "first").write_bytes(b"z")
    cluster.set_faults([{"route": "api", "path": "/collections/", "status": 500}])
    with open(running / "second", "wb") as file:
        for _ in range(3):
            file.write(b"x")
            with pytest.raises(OSError, match="Input/output error"):
                os.fsync(file.fileno())
        with pytest.raises(OSError, match="Input/output error"):
            file.close()
    (pending,) = json.loads((running / MOUNT).read_text())["pending"]
    assert pending["uuid"] == uuid
    assert "500" in pending["last_error"]
    assert pending["failing_since"] is not None
    assert pending["failures"] >= 3
    cluster.set_faults([])
    with open(running / "last", "wb") as file:
        file.write(b"y")
        os.fsync(file.fileno())
    assert json.loads((running / MOUNT).read_text())["pending"] == []
    assert running.log.count("Cannot commit") == 1
    assert running.log.count(f"Committed {uuid} after") == 1


def test_a_commit_whose_answer_was_lost_is_no_change_by_others(cluster, mount):
    """Killed after the cluster had made the commit and before the journal said so."""
    uuid = new_collection(cluster.api())
    running = mount(uuid, "--retries", "0", "--commit-delay", "0.2")
    (running / "first").write_bytes(b"1")
    rule = {"route": "api", "method": "PUT", "path": "/collections/", "cut_after_bytes": 1}
    cluster.set_faults([rule])
    with open(running / "file", "wb") as file:
        file.write(b"committed, though nobody knows")
        with pytest.raises(OSError, match="Input/output error"):
            os.fsync(file.fileno())
        assert saved(cluster.api(), uuid).keys() == {"first", "file"}
        file.write(b", and then changed")
        with pytest.raises(OSError, match="Input/output error"):
            file.close()
    running.kill()
    running.expected_log.append(f"Cannot commit {uuid}")
    cluster.set_faults([])
    mount(uuid)
    content = {"first": b"1", "file": b"committed, though nobody knows, and then changed"}
    assert saved(cluster.api(), uuid) == content


def cut_power(journal: Path) -> None:
    """Leave of a journal what was forced to the disk for sure, and noise where the rest was."""
    about = journal / "about"
    fields = json.loads(about.read_text())
    about.write_text(json.dumps({**fields, "boot_id": "another run of the machine"}))
    orphan = Orphan(journal, None)
    for uuid in orphan.collections():
        recovered = orphan.read(uuid)
        safe: dict[str, int] = {}
        for operation in recovered.operations() if recovered is not None else ():
            if isinstance(operation, Write):
                name = chunk_name(operation.chunk)
                safe[name] = max(safe.get(name, 0), operation.offset + operation.size)
        for chunk in (journal / uuid).glob("chunk-*"):
            size, start = chunk.stat().st_size, safe.get(chunk.name, 0)
            with chunk.open("r+b") as file:
                file.seek(start)
                file.write(os.urandom(size - start))


@pytest.mark.parametrize("delay_s", [2.5])
def test_after_a_power_cut_all_is_as_it_was_at_one_moment(cluster, mount, tmp_path, delay_s):
    uuid = new_collection(cluster.api())
    journals = tmp_path / "journals"
    options = ("--commit-delay", "600", "--journal-dir", str(journals))
    running = mount(uuid, *options)
    with WriteLoad(running.directory, int(delay_s * 10)) as load:
        time.sleep(delay_s)
        running.kill()
        load.wait_for_end()
    (journal,) = journals.iterdir()
    cut_power(journal)
    mount(uuid, *options)
    load.check_is_a_moment(saved(cluster.api(), uuid))


FULL_JOURNAL = """
import errno, json, os, sys
from pathlib import Path
from tests.support.mounts import RunningMount

directory, journal, uuid = sys.argv[1:]
options = ("--journal-dir", journal, "--journal-size", str(1 << 30), "--commit-delay", "600")
arguments = ("--read-write", "--collection", uuid, *options)
with RunningMount(Path(directory), *arguments, env=dict(os.environ)) as running:
    running.expected_log.append("Cannot write .*the journal cannot grow")
    (running / "first").write_bytes(b"committed at once")
    written = 0
    with open(running / "large", "wb", buffering=0) as file:
        try:
            while written < 100 << 20:
                written += file.write(b"0123456789" * 10_000)
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
        assert 4 << 20 < written < 8 << 20, written
        os.fsync(file.fileno())
        again = file.write(b"abcdefghij" * 10_000)
    (running / "last").write_bytes(b"it works again")
    assert running.unmount() == 0, running.log
print(json.dumps([written, again]))
"""


def test_a_full_journal_disk_refuses_and_works_again_after_a_commit(cluster, env, tmp_path):
    uuid = new_collection(cluster.api())
    journal = tmp_path / "journal"
    journal.mkdir()
    shell = 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"'
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    done = subprocess.run(
        [
            *("unshare", *as_root, "--mount", "sh", "-c", shell, journal),
            *(sys.executable, "-c", FULL_JOURNAL, tmp_path / "mnt", journal, uuid),
        ],
        env={**env, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    written, again = json.loads(done.stdout)
    content = saved(cluster.api(), uuid)
    assert (
        content["large"]
        == (b"0123456789" * 10_000 * 80)[:written] + (b"abcdefghij" * 10_000)[:again]
    )
    assert content["first"] == b"committed at once"
    assert content["last"] == b"it works again"
