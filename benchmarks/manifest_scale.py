"""Time and memory of collections with many files; each case runs in a process of its own.

    PYTHONPATH=. python benchmarks/manifest_scale.py

Columns: time to read the directory tree and to parse all files; memory (RSS), its peak, and the
footprint, per file beyond the manifest's text; time to look up and size 100,000
names; time to diff with a re-signed copy, and with a copy that has one file and one block more in
front.
"""

import hashlib
import multiprocessing
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from arvados_fuse.collection.tree import Tree, TreeDirectory

BLOCK = 1 << 26
CASES = [  # label, directories, files in each, bytes in each file, names in order
    ("1 x 1,000", 1, 1_000, 70_000, True),
    ("1 x 10,000", 1, 10_000, 70_000, True),
    ("1 x 100,000", 1, 100_000, 70_000, True),
    ("1 x 1,000,000", 1, 1_000_000, 70_000, True),
    ("... out of order", 1, 1_000_000, 70_000, False),
    ("... a block each", 1, 1_000_000, BLOCK, True),
    ("100 x 100", 100, 100, 70_000, True),
    ("1,000 x 1,000", 1_000, 1_000, 70_000, True),
    ("100,000 x 1", 100_000, 1, 70_000, True),
]


def manifest(directories: int, files: int, size: int, ordered: bool, key: str) -> str:
    """A manifest in normal form (but for the order of names), signed with ``key``."""
    return "".join(
        f"{f'./d{directory:06d}' if directories > 1 else '.'} "
        + " ".join(locators(directory, files * size, key))
        + "".join(
            f" {file * size}:{size}:sample_{file if ordered else file * 7919 % 1_000_003:07d}.fastq"
            for file in range(files)
        )
        + "\n"
        for directory in range(directories)
    )


def locators(directory: int, stream_size: int, key: str) -> Iterator[str]:
    """Locators for so many bytes, the last block as long as needed."""
    for start in range(0, stream_size, BLOCK):
        digest = hashlib.md5(f"{directory} {start}".encode()).hexdigest()
        signature = hashlib.sha1(f"{key}{digest}".encode()).hexdigest()
        yield f"{digest}+{min(BLOCK, stream_size - start)}+A{signature}@6553f100"


def resident_bytes() -> int:
    """The process's resident memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def forget_peak() -> None:
    """Let the peak of resident memory start from what is resident now (Linux, proc(5))."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """The peak of resident memory since ``forget_peak``."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def clock(start: float) -> str:
    """Seconds since ``start``, as a cell of the table."""
    return f"{time.perf_counter() - start:9.3f}"


def measure(label: str, directories: int, files: int, size: int, ordered: bool) -> None:
    """Print one row of the table."""
    text = manifest(directories, files, size, ordered, "one")
    count = directories * files
    before = resident_bytes()
    forget_peak()
    start = time.perf_counter()
    tree = Tree.from_manifest(text)
    row = [clock(start)]
    subdirectories = list(tree.root.subdirectories.values())
    parts = subdirectories or [tree.root]
    start = time.perf_counter()
    tables = [part.files() for part in parts]
    row.append(clock(start))
    row.append(f"{(resident_bytes() - before) / count:9.0f}")
    row.append(f"{(peak_bytes() - before) / count:9.0f}")
    shares = sum(map(TreeDirectory.footprint, [tree.root, *subdirectories])) - len(text)
    row.append(f"{shares / count:9.0f}")
    names = [(table, name) for table in tables for name in table.names][:: max(1, count // 100_000)]
    start = time.perf_counter()
    for table, name in names:
        table.size(table.index(name))
    row.append(clock(start))
    for front in ("", "d41d8cd98f00b204e9800998ecf84270+9 "):
        other = manifest(directories, files, size, ordered, "two")
        if front:
            other = shifted(other, front, 9)
        others = Tree.from_manifest(other).root
        pairs = [
            (table, (others.subdirectories[name] if directories > 1 else others).files())
            for name, table in zip(tree.root.subdirectories or ["."], tables, strict=True)
        ]
        start = time.perf_counter()
        assert sum(sum(1 for _ in mine.unchanged(theirs)) for mine, theirs in pairs) == count
        row.append(clock(start))
    print(f"{label:18}", *row, flush=True)


def shifted(text: str, locator: str, size: int) -> str:
    """The manifest with one more block and file at the front of each stream."""
    lines = []
    for line in text.splitlines():
        stream, *tokens = line.split(" ")
        moved = [
            token
            if ":" not in token
            else f"{int(token.split(':', 1)[0]) + size}:{token.split(':', 1)[1]}"
            for token in tokens
        ]
        first = next(place for place, token in enumerate(moved) if ":" in token)
        moved.insert(first, f"0:{size}:a_new_file")
        lines.append(f"{stream} {locator}{' '.join(moved)}\n")
    return "".join(lines)


def main() -> None:
    """Print the table."""
    print(
        f"{'files':18} {'tree s':>9} {'files s':>9} {'RSS B':>9} {'peak B':>9}"
        f" {'footpr. B':>9} {'lookup s':>9} {'resign s':>9} {'shift s':>9}"
    )
    for case in CASES:
        process = multiprocessing.get_context("spawn").Process(target=measure, args=case)
        process.start()
        process.join()


if __name__ == "__main__":
    main()
