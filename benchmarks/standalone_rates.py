"""How fast the standalone cluster answers, beside what the machine allows.

Run from the root of the repository, with nothing else running:

    python -m benchmarks.standalone_rates [--blocks 8] [--requests 1000] [--directory DIR]

It makes a cluster with 111,000 collections in DIR, which takes some 20 seconds, and removes it.
Blocks are of 64 MiB and lie in the kernel's page cache when they are read; MB are 10^6 bytes. If
nginx is installed, it serves the same files for comparison.
"""

import argparse
import hashlib
import http.client
import json
import os
import shutil
import socket
import sqlite3
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from arvados_fuse.standalone import directory, identity
from arvados_fuse.standalone.api import records
from arvados_fuse.standalone.api.collections import new_collection
from arvados_fuse.standalone.api.groups import new_group
from arvados_fuse.standalone.api.method import Call
from arvados_fuse.standalone.core import Core
from arvados_fuse.standalone.launch import ClusterAccess, ensure_running
from arvados_fuse.standalone.limits import Limits
from arvados_fuse.standalone.records.access import Caller
from arvados_fuse.standalone.records.database import Database
from arvados_fuse.standalone.records.model import Resource
from arvados_fuse.standalone.records.tables import COLLECTIONS, GROUPS, LINKS, TOKENS, USERS
from arvados_fuse.standalone.signatures import BlobSigner
from benchmarks.listeners import listening

BLOCK_SIZE = 64 << 20
CONNECTIONS = 8
PROJECT_SIZES = (1_000, 10_000, 100_000)
PAGE = 1000
REACHES = (10, 1_000, 10_000)
LISTENERS = (0, 10, 1000)
START_TIME_LIMIT_S = 60.0


class Connection:
    """One lasting connection to the API, as the administrator or with another token."""

    def __init__(self, access: ClusterAccess, token: str = "") -> None:
        self._token = token or access.token
        insecure = ssl.create_default_context()
        insecure.check_hostname = False
        insecure.verify_mode = ssl.CERT_NONE
        self._http = http.client.HTTPSConnection(access.host, context=insecure)
        self._http.connect()
        self._http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request and return its answer, which has to be good."""
        content = None if body is None else json.dumps(body)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        full_path = path if path.startswith("/") else f"/arvados/v1/{path}"
        self._http.request(method, full_path, content, headers)
        answer = self._http.getresponse()
        text = answer.read()
        assert answer.status == http.client.OK, text
        return json.loads(text)


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Reader(NamedTuple):
    """A user who can read other users' projects, and one collection in the last of them."""

    token: str
    project_uuid: str
    collection_uuid: str


def fill(place: Path) -> tuple[dict[int, str], dict[int, Reader]]:
    """Make a cluster with a project for each of PROJECT_SIZES, and a user for each of REACHES.

    Returns the uuids of the projects, and the users.
    """
    directory.prepare(place)
    database = Database(place / "cluster.sqlite")
    known = identity.establish(database)
    limits = Limits()
    signer = BlobSigner(known.signing_key, limits.blob_signing_ttl_s)
    core = Core(known.cluster_id, database, signer, 0, limits)
    caller = Caller(known.administrator_uuid, True, known.administrator_token, "")
    projects: dict[int, str] = {}

    def call(**attributes: Any) -> Call:
        return Call(core=core, parameters={}, attributes=attributes, identified=caller)

    with database.write() as db:
        for size in PROJECT_SIZES:
            project = new_group(call(name=f"{size} collections", group_class="project"))
            records.insert(db, call(), GROUPS, project)
            projects[size] = project["uuid"]
            for number in range(size):
                one = call(name=f"collection {number}", owner_uuid=project["uuid"])
                records.insert(db, one, COLLECTIONS, new_collection(one))
        readers = {count: add_reader(db, call, count) for count in REACHES}
    database.close()
    return projects, readers


def add_reader(db: sqlite3.Connection, call: Callable[..., Call], count: int) -> Reader:
    """Make a user to whom so many projects of the administrator are shared, one by one."""

    def insert(resource: Resource, **values: Any) -> dict[str, Any]:
        record = records.new_record(call(), resource, values)
        return records.insert(db, call(), resource, record, is_permitted=True)

    user = insert(USERS, username=f"reader{count}", is_active=True)
    token = insert(TOKENS, owner_uuid=user["uuid"], api_token=f"secret{count}")
    for number in range(count):
        project = insert(GROUPS, name=f"shared {count} {number}", group_class="project")
        permission = {"link_class": "permission", "name": "can_read"}
        insert(LINKS, **permission, tail_uuid=user["uuid"], head_uuid=project["uuid"])
    one = call(name="inside", owner_uuid=project["uuid"])
    collection = records.insert(db, one, COLLECTIONS, new_collection(one))
    secret = f"v2/{token['uuid']}/{token['api_token']}"
    return Reader(secret, project["uuid"], collection["uuid"])


@contextmanager
def running(place: Path) -> Iterator[ClusterAccess]:
    """Run the cluster in a process of its own, until that has ended."""
    access = ensure_running(place, sample=False, wait_s=START_TIME_LIMIT_S)
    try:
        yield access
    finally:
        access.release()
        while directory.is_locked(place):
            time.sleep(0.02)


def measure_requests(access: ClusterAccess, count: int) -> None:
    """Print how many requests the API answers in a second."""
    connections = [Connection(access) for _ in range(CONNECTIONS)]
    uuid = connections[0].request("POST", "collections", {"name": "measured"})["uuid"]
    for path in ("users/current", f"collections/{uuid}"):
        for used in (connections[:1], connections):
            print_rate(f"GET {path[:13]}", used, count, lambda c, p=path: c.request("GET", p))
    for used in (connections[:1], connections):
        print_rate("POST collections", used, count // 4, lambda c: c.request("POST", "collections"))


def print_rate(
    name: str, connections: Sequence[Connection], count: int, send: Callable[[Connection], Any]
) -> None:
    """Print the rate of `count` requests spread over `connections`."""
    share = count // len(connections)

    def work(connection: Connection) -> None:
        for _ in range(share):
            send(connection)

    with ThreadPoolExecutor(len(connections)) as threads:
        seconds = timed(lambda: list(threads.map(work, connections)))
    rate = share * len(connections) / seconds
    print(f"{name:22} {len(connections)} connections {rate:8.0f} requests/s")


def measure_listeners(access: ClusterAccess, count: int) -> None:
    """Print how long an update takes while nobody listens to the events, and while many do."""
    connection = Connection(access)
    path = "/discovery/v1/apis/arvados/v1/rest"
    url = connection.request("GET", path)["websocketUrl"]
    uuid = connection.request("POST", "collections")["uuid"]
    for listeners in LISTENERS:
        with listening(url, [access.token] * listeners):
            for pause_s, changes in ((0.0, count), (0.1, 100)):
                times_s = []
                for number in range(changes):
                    body = {"name": f"{listeners} {pause_s} {number}"}
                    update = partial(connection.request, "PUT", f"collections/{uuid}", body)
                    times_s.append(timed(update))
                    time.sleep(pause_s)
                rate = "ten a second" if pause_s else "back to back"
                times_s.sort()
                median_s, high_s = times_s[changes // 2], times_s[changes * 9 // 10]
                print(
                    f"update with {listeners:4} listeners, {rate}:"
                    f" median {median_s * 1e3:.2f} ms, nine of ten below {high_s * 1e3:.2f} ms"
                )


def measure_reach(access: ClusterAccess, readers: dict[int, Reader]) -> None:
    """Print how the number of projects that a user can reach tells on what he asks for."""
    for count, reader in readers.items():
        connection = Connection(access, reader.token)
        listed = urlencode({"filters": json.dumps([["owner_uuid", "=", reader.project_uuid]])})
        projects = urlencode({"filters": json.dumps([["group_class", "=", "project"]])})
        for name, path in (
            ("get a collection", f"collections/{reader.collection_uuid}"),
            ("list one project", f"collections?{listed}"),
            ("groups/shared", f"groups/shared?{projects}"),
        ):
            milliseconds = median_s(partial(connection.request, "GET", path), 200) * 1e3
            print(f"{name} of {count} reachable projects: {milliseconds:.2f} ms")


def median_s(work: Callable[[], object], count: int) -> float:
    """Return how long `work` usually takes."""
    return sorted(timed(work) for _ in range(count))[count // 2]


def measure_lists(access: ClusterAccess, projects: dict[int, str]) -> None:
    """Print how long it takes to list projects, page by page as clients do."""
    connection = Connection(access)
    for size, uuid in projects.items():
        seconds = timed(partial(list_all, connection, uuid, size))
        print(f"list {size:7} collections in pages of {PAGE}: {seconds:.2f} s")


def list_all(connection: Connection, project_uuid: str, size: int) -> None:
    """List a project as the SDK does: each page goes on after the last item of the one before."""
    filters: list[list[str]] = [["owner_uuid", "=", project_uuid]]
    after: list[list[str]] = []
    found = 0
    while True:
        page = {
            "filters": json.dumps(filters + after),
            "order": "uuid asc",
            "limit": PAGE,
            "count": "none",
        }
        items = connection.request("GET", f"collections?{urlencode(page)}")["items"]
        if not items:
            break
        found += len(items)
        after = [["uuid", ">", items[-1]["uuid"]]]
    assert found == size, found


def exchange(url: str, method: str, path: str, body: bytes | None, token: str) -> bytes:
    """Send one request to Keep and return the body of the good answer."""
    connection = http.client.HTTPConnection(url)
    connection.request(method, path, body, {"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    if method == "PUT" or answer.status != http.client.OK:
        content = answer.read()
    else:
        buffer = bytearray(1 << 20)
        while answer.readinto(buffer):
            pass
        content = b""
    assert answer.status == http.client.OK, content
    connection.close()
    return content


def print_speed(name: str, count: int, work: Callable[[], object]) -> None:
    """Print at which speed `work` moves `count` blocks."""
    print(f"{name:34} {count * BLOCK_SIZE / timed(work) / 1e6:7.0f} MB/s")


def measure_blocks(place: Path, count: int) -> None:
    """Print the speed of Keep, and of what it cannot be faster than."""
    blocks = [os.urandom(8) * (BLOCK_SIZE // 8) for _ in range(count)]
    hashes = [hashlib.md5(block).hexdigest() for block in blocks]
    print_speed("md5 in memory", count, lambda: [hashlib.md5(block) for block in blocks])
    print_speed("write and fsync files", count, lambda: write_files(place / "plain", blocks))
    locators: list[str] = []
    with running(place) as access:
        url = keep_url(access)

        def put() -> None:
            for block_hash, block in zip(hashes, blocks, strict=True):
                answer = exchange(url, "PUT", f"/{block_hash}", block, access.token)
                locators.append(answer.decode().strip())

        print_speed("PUT", count, put)
        print_speed("PUT again", count, put)
    # Only a new process has not yet checked the blocks.
    with running(place) as access:
        url = keep_url(access)

        def get() -> None:
            for locator in locators[:count]:
                exchange(url, "GET", f"/{locator}", None, access.token)

        print_speed("GET, first", count, get)
        print_speed("GET, again", count, get)
    if shutil.which("nginx"):
        measure_nginx(place, hashes)


def keep_url(access: ClusterAccess) -> str:
    """Return host and port of Keep."""
    (service,) = Connection(access).request("GET", "keep_services/accessible")["items"]
    return f"{service['service_host']}:{service['service_port']}"


def write_files(place: Path, blocks: list[bytes]) -> None:
    """Write each of `blocks` into a file, to the disk."""
    place.mkdir()
    for number, block in enumerate(blocks):
        with (place / str(number)).open("wb", buffering=0) as file:
            file.write(block)
            os.fsync(file.fileno())
    shutil.rmtree(place)


def measure_nginx(place: Path, hashes: list[str]) -> None:
    """Print at which speed nginx serves the files of the blocks."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (place / "nginx.conf").write_text(
        f"daemon off; pid {place}/nginx.pid; error_log stderr crit; worker_processes 1;"
        f" user {Path.home().owner()}; events {{}} http {{ access_log off; sendfile on;"
        f" server {{ listen 127.0.0.1:{port}; root {place}/blocks; }} }}"
    )
    command = ["nginx", "-p", str(place), "-c", str(place / "nginx.conf")]
    with subprocess.Popen(command) as server:
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.02)
            url = f"127.0.0.1:{port}"
            print_speed(
                "nginx, the same files",
                len(hashes),
                lambda: [exchange(url, "GET", f"/{h[:3]}/{h}", None, "") for h in hashes],
            )
        finally:
            server.terminate()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Rates of the standalone cluster.")
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--directory", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.directory) as temporary:
        place = Path(temporary) / "cluster"
        projects, readers = fill(place)
        with running(place) as access:
            measure_requests(access, given.requests)
            measure_lists(access, projects)
            measure_reach(access, readers)
            measure_listeners(access, given.requests)
        measure_blocks(place, given.blocks)


if __name__ == "__main__":
    main()
