"""How long the standalone cluster takes for collections of very many files.

Run from the root of the repository, with nothing else running:

    python -m benchmarks.standalone_manifests [--directory DIR]

Each line is the best of some requests of one client. The edits add one file each, as a driver does
that commits one file after the other; their answers have no manifest in them.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.standalone_rates import Connection, running

SHAPES = ((100_000, 1_000), (100_000, 10), (100_000, 100_000), (1_000_000, 1_000))
"""Numbers of files, and how many of them are in each directory."""

FILE_SIZE = 100
FILES_PER_BLOCK = 1_000
NEW_FILE = "8cf8463b34caa8ac871a52d5dd7ad1ef+1"
REPEATS = 3


def manifest(files: int, per_directory: int) -> str:
    """Return a manifest with so many small files, in directories of one level."""
    lines = []
    for directory in range(files // per_directory):
        first = directory * per_directory
        size = min(per_directory, FILES_PER_BLOCK) * FILE_SIZE
        blocks = (
            f"{first + block:032x}+{size}" for block in range(0, per_directory, FILES_PER_BLOCK)
        )
        tokens = (f"{n * FILE_SIZE}:{FILE_SIZE}:file-{n:07d}.dat" for n in range(per_directory))
        lines.append(" ".join([f"./dir-{directory:05d}", *blocks, *tokens]) + "\n")
    return "".join(lines)


def best(what: str, send: Callable[[int], Any], repeats: int = REPEATS) -> Any:
    """Send requests, print the time of the fastest, and return the last answer."""
    times = []
    for number in range(repeats):
        start = time.perf_counter()
        answer = send(number)
        times.append(time.perf_counter() - start)
    print(f"    {what:32} {min(times):7.3f} s")
    return answer


def measure(connection: Connection, files: int, per_directory: int) -> None:
    """Print the times for one shape of collection."""
    print(f"{files} files, {per_directory} in each directory")
    body = {"collection": {"manifest_text": manifest(files, per_directory)}}
    made = best("create", lambda _: connection.request("POST", "collections", body))
    path = f"collections/{made['uuid']}"
    best("get", lambda _: connection.request("GET", path))

    def add(number: int) -> Any:
        body = {
            "collection": {"manifest_text": f". {NEW_FILE} 0:1:f\n"},
            "replace_files": {f"/dir-00000/new-{number}": "manifest_text/f"},
            "select": ["uuid", "portable_data_hash"],
        }
        return connection.request("PUT", path, body)

    best("add one file by replace_files", add, repeats=2 * REPEATS)
    best("get without the manifest", lambda _: connection.request("GET", f'{path}?select=["uuid"]'))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Large collections of the standalone cluster.")
    parser.add_argument("--directory", type=Path)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=given.directory) as temporary,
        running(Path(temporary) / "cluster") as access,
    ):
        connection = Connection(access)
        for files, per_directory in SHAPES:
            measure(connection, files, per_directory)


if __name__ == "__main__":
    main()
