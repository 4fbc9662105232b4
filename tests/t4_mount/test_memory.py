"""What a mount holds in memory while much is written: not what is written."""

import json
import os
import re
from pathlib import Path

from tests.support.contents import pseudo_random
from tests.support.workplace import new_collection

MIB = 1 << 20
PIECE = bytearray(pseudo_random(4 * MIB))
PIECES = 100
JOURNAL = 64 * MIB
ROOM_OF_A_COMMIT = 2 * 64 * MIB
"""What the journal may hold beyond its limit: chunks that are open though they are removed."""


def piece(number):
    """As large as `PIECE`, unlike any other, and made without much work."""
    PIECE[:8] = number.to_bytes(8, "big")
    return PIECE


def memory(running, field):
    """A line of the process's status, in bytes."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024


def journal_bytes(running):
    return json.loads((running / ".arvados#mount").read_text())["journal"]["used_bytes"]


def test_a_file_of_400_mib_goes_through_a_journal_of_64_with_little_memory(mount, cluster):
    """Some blocks are mapped while they are on their way; nothing else grows with the file."""
    name = f"large {os.urandom(6).hex()}"
    new_collection(cluster.api(), name)
    running = mount("--home", "--read-write", "--journal-size", str(JOURNAL))
    path = running / name / "file"
    os.listdir(path.parent)
    at_first = {field: memory(running, field) for field in ("RssAnon", "VmHWM")}
    with path.open("wb", buffering=0) as file:
        for number in range(PIECES):
            assert file.write(piece(number)) == len(PIECE)
            assert memory(running, "RssAnon") < at_first["RssAnon"] + 64 * MIB
            assert journal_bytes(running) <= JOURNAL + ROOM_OF_A_COMMIT
        os.fsync(file.fileno())
    assert memory(running, "VmHWM") < at_first["VmHWM"] + 300_000_000
    assert path.stat().st_size == PIECES * len(PIECE)
    with path.open("rb", buffering=0) as file:
        for number in (0, PIECES // 2, PIECES - 1):
            found = os.pread(file.fileno(), 1000, number * len(PIECE))
            assert found == piece(number)[:1000]
