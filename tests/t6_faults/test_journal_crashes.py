"""A mount that dies, or a machine that loses power, at any moment of writing and committing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arvados_fuse.errors import JournalError, NoSpace
from arvados_fuse.journal.records import Create, Write
from arvados_fuse.journal.recovery import orphans
from tests.support.journals import (
    ABOUT_US,
    UUID,
    Content,
    Killed,
    Killer,
    LosingDisk,
    Program,
    collection_journal,
    full_disk,
    orphan,
    replay,
)

STEPS = 60
ROOT = Path(__file__).parents[2]


def recovered_content(program: Program, directory: Path, *, after_power_cut: bool) -> Content:
    """What the collection is after recovery; the newest committed version when nothing counts."""
    left = orphan(directory, after_power_cut=after_power_cut)
    recovered = left.read(UUID) if UUID in left.collections() else None
    if recovered is None:
        return program.history[program.committed]
    return replay(recovered, program.versions)


def killed_program(seed: int, directory: Path, calls: int, part: float) -> tuple[Program, bool]:
    """A program that was killed at this system call; and whether it lived to the end instead."""
    program = Program(seed, None)
    with pytest.MonkeyPatch.context() as patch:
        killer = Killer(patch, calls, part)
        try:
            program = Program(seed, collection_journal(directory))
            for _ in range(STEPS):
                program.step()
        except Killed:
            return program, False
        finally:
            killer.calls_left = 1 << 60
    return program, True


@pytest.mark.parametrize("part", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_every_system_call(tmp_path: Path, seed: int, part: float) -> None:
    """What was answered before is there, and the step that was going on is there or is not."""
    calls, lived = 0, False
    while not lived:
        directory = tmp_path / str(calls)
        directory.mkdir()
        program, lived = killed_program(seed, directory, calls, part)
        if (directory / "about").exists():
            content = recovered_content(program, directory, after_power_cut=False)
            whole = Program(seed, None)
            for _ in range(min(program.steps + 1, STEPS)):
                whole.step()
            assert content in whole.history[program.steps :]
        shutil.rmtree(directory)
        calls += 1
    assert calls > 60, "it was killed at many places"


@pytest.mark.parametrize("seed", range(16))
def test_power_cut_after_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """What is left is what was there at one moment, and that is not before the last sync."""
    disk = LosingDisk(monkeypatch)
    directory = tmp_path / "journal"
    program = Program(seed, collection_journal(directory))
    for number in range(STEPS):
        program.step()
        left = tmp_path / str(number)
        disk.cut_power(directory, left, seed)
        for name in ("lock", "about"):
            (left / name).touch()
        content = recovered_content(program, left, after_power_cut=True)
        at_least = max(program.synced, program.forgotten)
        assert content in program.history[at_least:]
        shutil.rmtree(left)


@pytest.mark.parametrize("seed", range(20))
def test_a_full_disk_refuses_and_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Each change is made in memory only when the journal has it, so both agree to the end."""
    program = Program(seed, collection_journal(tmp_path))
    refused = 0
    with full_disk(monkeypatch, free=40 * seed):
        for _ in range(STEPS):
            try:
                program.step()
            except NoSpace:
                refused += 1
    assert refused
    content = recovered_content(program, tmp_path, after_power_cut=False)
    assert content == program.content()


def test_a_commit_makes_room_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs some itself, and takes it from the reserve."""
    journal = collection_journal(tmp_path)
    journal.record(Create(1, "a"))
    with full_disk(monkeypatch, free=0):
        with pytest.raises(NoSpace, match="make room"):
            journal.append(b"more")
        reserve_size = (tmp_path / "reserve").stat().st_size
        assert reserve_size
    sealed = journal.rotate()
    write, is_given_up = os.pwrite, []

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        if (tmp_path / "reserve").exists():
            is_given_up.append(True)
            raise OSError(28, "No space left on device")
        return write(descriptor, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        journal.committed(sealed.generation, "v1")
    assert is_given_up
    assert journal.is_empty
    journal.committed(journal.rotate().generation, "v2")
    assert (tmp_path / "reserve").stat().st_size == reserve_size, "it is taken again"


def test_bytes_that_the_disk_has_lost_are_not_forgotten_by_trying_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel reports a lost page once; a second fdatasync succeeds."""
    journal = collection_journal(tmp_path)
    chunk, offset = journal.append(b"bytes")
    journal.record(Write(1, 0, 5, chunk.number, offset))
    with monkeypatch.context() as patch:

        def fail(_: int) -> None:
            raise OSError(5, "Input/output error")

        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(JournalError):
            journal.sync()
    with pytest.raises(JournalError):
        journal.sync()
    journal.committed(journal.rotate().generation, "v1")
    journal.record(Create(2, "b"))
    journal.sync()


# -- real processes

WRITER = """
import sys
from pathlib import Path
from arvados_fuse.journal.journal import Journal
from tests.support.journals import ABOUT_US, UUID, Program

journal = Journal.create(Path(sys.argv[1]), ABOUT_US, 1 << 30)
program = Program(int(sys.argv[2]), journal.collection(UUID, "v0"))
while True:
    program.step()
    sys.stdout.write(f"{program.steps}\\n")
    sys.stdout.flush()
"""


@pytest.mark.parametrize("seed", range(8))
def test_kill_9(tmp_path: Path, seed: int) -> None:
    """All that a real process has answered is there after it was killed at any time."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), str(seed)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    time.sleep(0.01 + seed * 0.02)
    assert orphans(tmp_path, "zzzzz", ABOUT_US.user_uuid) == [], "it lives"
    process.send_signal(signal.SIGKILL)
    answered = int((b"1\n" + process.stdout.read()).rpartition(b"\n")[0].split()[-1])
    process.wait()
    process.stdout.close()
    program = Program(seed, None)
    for _ in range(answered + 1):
        program.step()
    (left,) = orphans(tmp_path, "zzzzz", ABOUT_US.user_uuid)
    recovered = left.read(UUID)
    content = program.history[program.committed]
    if recovered is not None:
        content = replay(recovered, program.versions)
    assert content in program.history[answered:]
    left.discard(UUID)
    left.close()
    assert list(tmp_path.iterdir()) == []


FULL_TMPFS = """
import os, sys
from pathlib import Path
from arvados_fuse.errors import NoSpace
from arvados_fuse.journal.journal import Journal
from arvados_fuse.journal.records import Create, Write
from tests.support.journals import ABOUT_US, UUID

journal = Journal.create(Path(sys.argv[1]), ABOUT_US, 1 << 30)
collection = journal.collection(UUID, "v0")
collection.record(Create(1, "a"))
for commit in range(3):
    written = 0
    while True:
        try:
            chunk, offset = collection.append(bytes([1 + commit]) * 100_000)
        except NoSpace:
            break
        collection.record(Write(1, written, 100_000, chunk.number, offset))
        written += 100_000
        del chunk
    assert written > 4_000_000, written
    while True:
        try:
            collection.record(Create(2, "x" * 200))
        except NoSpace:
            break
    sealed = collection.rotate()
    assert sum(chunk.size for chunk in sealed.chunks) == written
    if commit < 2:
        collection.note_committed(sealed.generation, f"v{commit + 1}", {1: "a"})
        collection.shorten()
    del sealed
print(written, flush=True)
"""


def test_a_tmpfs_that_is_full(tmp_path: Path) -> None:
    """Filled to the last byte, three times: each commit makes room, and nothing gets lost."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(tmp_path)]
    shell = f'{" ".join(mount)} && exec "$0" -c "$1" "$2"'
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    subprocess.run(
        [
            *("unshare", *as_root, "--mount", "sh", "-c", shell),
            *(sys.executable, FULL_TMPFS, str(tmp_path)),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=60,
    )
