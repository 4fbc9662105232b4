"""A mount left alone while other clients change many objects, some of which it knows.

Run from the root of the repository; the usual length is a night:

    .venv/bin/python -m benchmarks.soak [--hours 8] [--objects 10000]

A project of many collections is listed and looked into once; then they are renamed, changed,
trashed and untrashed for hours. Each minute one line tells the memory of the mount, the time in
which it lists the project, and how many changes there have been. The end compares all names and
contents with the cluster's, and fails if they differ, or if the mount has grown beyond its cap.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.cluster import RunningCluster
from tests.support.contents import create
from tests.support.mounts import RunningMount

CAP_BYTES = 64 << 20
"""`--directory-cache` of the mount: what it may grow by."""

SETTLE_TIME_LIMIT_S = 60.0
LOOKED_INTO = 500
"""Collections whose files the kernel knows; each change of one is fetched at once."""


def populate(api: Any, project: str, objects: int) -> tuple[list[str], list[str]]:
    """Make the collections; return their uuids, and the manifests that they change between."""
    manifests = []
    for number in range(4):
        files = {"f": b"version %d" % number, f"only {number}": b"x"}
        record = create(api, f"content {number}", files)
        manifests.append(api.collections().get(uuid=record["uuid"]).execute()["manifest_text"])
    uuids = []
    for number in range(objects):
        body = {"name": f"run {number}", "owner_uuid": project, "manifest_text": manifests[0]}
        uuids.append(api.collections().create(body={"collection": body}).execute()["uuid"])
    return uuids, manifests


def change(api: Any, chance: random.Random, uuids: list[str], manifests: list[str]) -> None:
    """Change one collection in one way."""
    uuid = chance.choice(uuids)
    kind = chance.random()
    if kind < 0.1:
        api.collections().trash(uuid=uuid).execute()
        api.collections().untrash(uuid=uuid, ensure_unique_name=True).execute()
        return
    body = (
        {"name": f"run {uuid[-15:]} {chance.randrange(1000)}"}
        if kind < 0.5
        else {"manifest_text": chance.choice(manifests)}
    )
    api.collections().update(uuid=uuid, body=body).execute()


def expected(api: Any, project: str) -> dict[str, set[str]]:
    """The files of each collection of the project, by name."""
    found: dict[str, set[str]] = {}
    last = ""
    while True:
        page = (
            api.collections()
            .list(
                filters=[["owner_uuid", "=", project], ["uuid", ">", last]],
                order=["uuid asc"],
                select=["uuid", "name", "manifest_text"],
                count="none",
            )
            .execute()["items"]
        )
        if not page:
            return found
        for record in page:
            tokens = record["manifest_text"].replace("\\040", " ")
            only = next(n for n in range(4) if f"only {n}" in tokens)
            found[record["name"]] = {"f", f"only {only}"}
        last = page[-1]["uuid"]


def differences(root: Path, wanted: dict[str, set[str]]) -> int:
    """How many names or listings the mount shows otherwise."""
    names = set(os.listdir(root))
    return len(names ^ wanted.keys()) + sum(
        set(os.listdir(root / name)) != wanted[name] for name in names & wanted.keys()
    )


def soak(api: Any, mount: RunningMount, project: str, hours: float, objects: int) -> bool:
    """Change things for so long; return whether the mount bore it well."""
    root = mount.directory
    chance = random.Random(0)
    uuids, manifests = populate(api, project, objects)
    for name in os.listdir(root)[:LOOKED_INTO]:
        (root / name / "f").read_bytes()
    at_first = mount.rss()
    print(f"{objects} collections; resident: {at_first >> 20} MiB", flush=True)
    changes, ends_at, told_at = 0, time.monotonic() + hours * 3600, time.monotonic()
    while time.monotonic() < ends_at:
        change(api, chance, uuids, manifests)
        changes += 1
        if time.monotonic() - told_at > 60:
            told_at = time.monotonic()
            os.listdir(root)
            took_s = time.monotonic() - told_at
            print(
                f"{changes} changes; listed in {took_s:.3f} s; {mount.rss() >> 20} MiB", flush=True
            )
    wanted = expected(api, project)
    settled_by = time.monotonic() + SETTLE_TIME_LIMIT_S
    while (wrong := differences(root, wanted)) and time.monotonic() < settled_by:
        time.sleep(1)
    grown = mount.rss() - at_first
    print(f"{changes} changes; grown by {grown >> 20} MiB; {wrong} differences from the cluster")
    return not wrong and grown <= CAP_BYTES * 1.1


def main() -> None:
    """Soak, and exit with 1 if the mount did not bear it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--objects", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, RunningCluster(Path(name) / "cluster") as cluster:
        api = cluster.api()
        body = {"name": "watched", "group_class": "project"}
        project = api.groups().create(body=body).execute()["uuid"]
        options = ("--project", project, "--directory-cache", str(CAP_BYTES), "--ram-cache")
        with RunningMount(
            Path(name) / "mnt",
            *options,
            env=cluster.environment(Path(name) / "home"),
            time_limit_s=arguments.hours * 3600 + 3600,
        ) as mount:
            well = soak(api, mount, project, arguments.hours, arguments.objects)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
