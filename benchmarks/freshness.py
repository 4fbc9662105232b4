"""How soon a mount shows what others change, and what it costs to hear of changes elsewhere.

Run from the root of the repository, with nothing else running:

    .venv/bin/python -m benchmarks.freshness [--changes 50] [--events 10000]

Shown is the time from the cluster's answer to a change until the mount shows it, in milliseconds,
for new names, renamed ones, and files with other content; and for changes of objects that nobody
has looked at, the processor time and memory of the mount and the requests that it sent.
"""

import argparse
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.cluster import RunningCluster
from tests.support.contents import create
from tests.support.mounts import RunningMount

CONNECTED = "The event bus is connected"
TIME_LIMIT_S = 30.0
POLL_S = 0.0005


def wait_until(condition: Callable[[], bool]) -> float:
    """Return the milliseconds until `condition()` was true."""
    started = time.perf_counter()
    while not condition():
        if time.perf_counter() - started > TIME_LIMIT_S:
            raise SystemExit("The mount did not show a change in time.")
        time.sleep(POLL_S)
    return (time.perf_counter() - started) * 1e3


def processor_s(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def shown(path: Path) -> bytes:
    """The content of a file; nothing if it is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def latencies(api: Any, project: str, root: Path, changes: int) -> dict[str, list[float]]:
    """Milliseconds of each change of each kind."""
    found: dict[str, list[float]] = {"new": [], "renamed": [], "other content": []}
    contents = [
        create(api, f"content {parity}", {"f": b"%d" % parity}, owner=project) for parity in (0, 1)
    ]
    record = create(api, "run", {"f": b"0"}, owner=project)
    for number in range(changes):
        name = root / f"new {number}"
        name.exists()  # so that it is known to be missing
        body = {"name": name.name, "owner_uuid": project}
        new = api.collections().create(body={"collection": body}).execute()
        found["new"].append(wait_until(name.exists))
        name = root / f"renamed {number}"
        name.exists()
        api.collections().update(uuid=new["uuid"], body={"name": name.name}).execute()
        found["renamed"].append(wait_until(name.exists))
        parity = (number + 1) % 2
        text = api.collections().get(uuid=contents[parity]["uuid"]).execute()["manifest_text"]
        path, wanted = root / "run" / "f", b"%d" % parity
        shown(path)
        api.collections().update(uuid=record["uuid"], body={"manifest_text": text}).execute()
        found["other content"].append(wait_until(lambda p=path, w=wanted: shown(p) == w))
    return found


def storm(cluster: RunningCluster, mount: RunningMount, events: int) -> None:
    """Change objects that the mount does not show, and print what that cost it."""
    pid = mount.process.pid
    owner = {"name": f"elsewhere {os.urandom(4).hex()}", "group_class": "project"}
    project = cluster.api().groups().create(body=owner).execute()["uuid"]
    api = cluster.api()
    records = [
        api.collections().create(body={"collection": {"owner_uuid": project}}).execute()["uuid"]
        for _ in range(20)
    ]
    time.sleep(1)
    before_s, before_bytes = processor_s(pid), mount.rss()
    cluster.request_counts(reset=True)

    def change(numbers: range) -> None:
        mine = cluster.api()
        for number in numbers:
            body = {"name": f"changed {number}"}
            mine.collections().update(uuid=records[number % len(records)], body=body).execute()

    threads = 4
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(change, (range(start, events, threads) for start in range(threads))))
    time.sleep(2)
    used_s = processor_s(pid) - before_s
    ours = re.compile("PUT |.*/(discovery|config)")  # what this program asks itself
    others = {k: v for k, v in cluster.request_counts().items() if not ours.match(k)}
    print(f"{events} changes elsewhere: {used_s:.2f} s of processor time,", end=" ")
    print(
        f"{(mount.rss() - before_bytes) / 1024:.0f} KiB more memory; requests: {others or 'none'}"
    )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--changes", type=int, default=50, help="of each kind")
    parser.add_argument("--events", type=int, default=10_000, help="changes elsewhere")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, RunningCluster(Path(name) / "cluster") as cluster:
        api = cluster.api()
        body = {"name": "watched", "group_class": "project"}
        project = api.groups().create(body=body).execute()["uuid"]
        env = cluster.environment(Path(name) / "home")
        options = ("--project", project)
        with RunningMount(Path(name) / "mnt", *options, env=env, time_limit_s=3600.0) as mount:
            wait_until(lambda: CONNECTED in mount.log)
            os.listdir(mount.directory)
            for kind, times in latencies(api, project, mount.directory, arguments.changes).items():
                print(
                    f"{kind}: median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms"
                )
            storm(cluster, mount, arguments.events)


if __name__ == "__main__":
    main()
