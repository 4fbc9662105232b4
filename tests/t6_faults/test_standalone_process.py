"""The process of the standalone cluster: its command, its life with its users, its crashes."""

import fcntl
import hashlib
import http.client
import itertools
import json
import os
import queue
import re
import signal
import socket
import sqlite3
import ssl
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import arvados.config
import arvados.events
import pytest

from arvados_fuse.standalone.launch import LaunchError, ensure_running
from tests.support.cluster import RunningCluster
from tests.support.patience import wait_until

ROOT = Path(__file__).parents[2]
MODULE = [sys.executable, "-m", "arvados_fuse.standalone"]
TIME_LIMIT_S = 20


def run(*arguments):
    """Run the command to its end."""
    return subprocess.run(
        [*MODULE, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
    )


@pytest.fixture
def place(tmp_path):
    return tmp_path / "cluster"


class TestCommand:
    """arv-standalone DIR"""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signals_end_it_cleanly(self, place, number):
        process = subprocess.Popen(
            [*MODULE, place], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        line = process.stdout.readline()
        assert re.fullmatch(
            r"cluster x\w{4} is ready: API https://127\.0\.0\.1:\d+/,"
            rf" Keep http://127\.0\.0\.1:\d+/, settings in {place}/env\.sh\n",
            line,
        )
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert stat.S_IMODE((place / "env.sh").stat().st_mode) == 0o600
        process.send_signal(number)
        assert process.communicate(timeout=TIME_LIMIT_S) == ("", "")
        assert process.returncode == 0
        assert not (place / "env.sh").exists()

    def test_requests_that_take_long_do_not_keep_it(self, place):
        """Nor do they add up: that would be longer than anybody here waits."""
        with RunningCluster(place, "--keep-services", "3") as cluster:
            cluster.set_faults([{"path": "^/arvados/v1/users", "latency_s": 600}])
            services = cluster.request("GET", "/arvados/v1/keep_services/accessible")[1]["items"]
            waiting = [
                socket.create_connection(("127.0.0.1", service["service_port"]))
                for service in services
            ]
            for client in waiting:  # the bodies never come
                client.sendall(f"PUT /{'0' * 32} HTTP/1.1\r\nHost: x\r\n".encode())
                client.sendall(b"Content-Length: 60000000\r\n\r\n" + bytes(1_000_000))
            host, port = cluster.env["ARVADOS_API_HOST"].split(":")
            api = cluster.insecure.wrap_socket(socket.create_connection((host, int(port))))
            api.sendall(b"GET /arvados/v1/users/current HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_until(lambda: {"PUT keep": 3}.items() <= cluster.request_counts().items())
            wait_until(lambda: "GET /arvados/v1/users/current" in cluster.request_counts())
            assert cluster.stop() == 0
            assert cluster.log == ""
            for client in (*waiting, api):
                client.close()

    def test_nobody_else_can_read_anything(self, place):
        with RunningCluster(place) as cluster:
            cluster.api().collections().create(body={}).execute()
            modes = {path: stat.S_IMODE(path.stat().st_mode) for path in place.rglob("*")}
        assert {path: mode for path, mode in modes.items() if mode & 0o077} == {}

    def test_env_works_in_a_shell(self, place):
        with RunningCluster(place) as cluster:
            script = f". {place}/env.sh; echo $ARVADOS_API_HOST $ARVADOS_API_HOST_INSECURE"
            printed = subprocess.check_output(["sh", "-c", script], text=True)
            assert printed.split() == [cluster.env["ARVADOS_API_HOST"], "1"]
            assert cluster.env["ARVADOS_API_TOKEN"].startswith("v2/")

    def test_it_listens_on_loopback_only(self, place):
        with RunningCluster(place) as cluster:
            listening = f"/proc/{cluster.pid}/net/tcp"
            inodes = {
                os.readlink(f"/proc/{cluster.pid}/fd/{fd}")[8:-1]
                for fd in os.listdir(f"/proc/{cluster.pid}/fd")
                if os.readlink(f"/proc/{cluster.pid}/fd/{fd}").startswith("socket:")
            }
            rows = [line.split() for line in Path(listening).read_text().splitlines()[1:]]
            mine = [row[1] for row in rows if row[9] in inodes and row[3] == "0A"]
            assert len(mine) == 3  # the API, Keep, the event bus
            assert all(address.startswith("0100007F:") for address in mine)

    def test_second_start_on_a_directory_in_use(self, place):
        with RunningCluster(place) as cluster:
            second = run(place)
            assert second.returncode == 1
            assert "in use" in second.stderr
            assert second.stderr.count("\n") == 1
            assert cluster.request("GET", "/arvados/v1/users/current")[0] == 200

    def test_ports_and_records_stay_over_restarts(self, place):
        with RunningCluster(place) as cluster:
            before = cluster.env, cluster.keep_url()
            created = cluster.request("POST", "/arvados/v1/collections", {"name": "x"})[1]
            cluster.restart()
            assert (cluster.env, cluster.keep_url()) == before
            path = f"/arvados/v1/collections/{created['uuid']}"
            assert cluster.request("GET", path) == (200, created)

    def test_port_that_is_taken_meanwhile_is_replaced(self, place):
        with RunningCluster(place) as cluster:
            host, port = cluster.env["ARVADOS_API_HOST"].split(":")
            cluster.stop()
            with socket.create_server((host, int(port))):
                cluster.start()
                assert cluster.env["ARVADOS_API_HOST"] != f"{host}:{port}"
                assert cluster.request("GET", "/arvados/v1/users/current")[0] == 200

    def test_ports_can_be_chosen(self, place):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
            taken = run(place, "--api-port", port)
        assert (taken.returncode, taken.stderr.count("\n")) == (1, 1)
        assert f"port {port}" in taken.stderr
        with RunningCluster(place, "--keep-port", str(port)) as cluster:
            assert cluster.keep_url().endswith(f":{port}/")

    @pytest.mark.parametrize(
        ("arguments", "code", "said"),
        [
            ([], 2, "DIR"),
            (["{}", "--nonsense"], 2, "--nonsense"),
            (["{}", "--api-port", "99999"], 2, "--api-port"),
            (["/proc/nonsense"], 1, "/proc/nonsense"),
            (["/dev/null"], 1, "/dev/null"),
            (["/dev/null/x"], 1, "/dev/null/x"),
        ],
    )
    def test_errors_are_said_in_one_line(self, place, arguments, code, said):
        done = run(*(argument.format(place) for argument in arguments))
        assert done.returncode == code
        assert said in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr

    def test_database_that_is_none_is_said_in_one_line(self, place):
        place.mkdir()
        (place / "cluster.sqlite").write_bytes(b"nonsense" * 1000)
        done = run(place)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "cluster.sqlite" in done.stderr

    def test_database_that_is_damaged_is_said_in_one_line(self, place):
        with RunningCluster(place):
            pass
        with closing(sqlite3.connect(place / "cluster.sqlite")) as database:
            (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'meta'")
            (size,) = database.execute("PRAGMA page_size")
        with (place / "cluster.sqlite").open("r+b") as file:
            file.seek((root[0] - 1) * size[0])
            file.write(b"nonsense" * (size[0] // 8))
        for arguments in ([], ["user", "add", "somebody"]):
            done = run(place, *arguments)
            assert (done.returncode, done.stderr.count("\n")) == (1, 1)
            assert "cluster.sqlite: database disk image is malformed" in done.stderr

    @pytest.mark.parametrize("key", ["keep_services", "api_port", "event_port", "keep_port"])
    def test_numbers_that_make_no_sense_are_said_in_one_line(self, place, key):
        with RunningCluster(place):
            pass
        with sqlite3.connect(place / "cluster.sqlite") as database:
            database.execute("UPDATE meta SET value = '99999' WHERE key = ?", (key,))
        database.close()
        done = run(place)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert f"cluster.sqlite is damaged: {key} is '99999'" in done.stderr

    def test_control_route_is_not_there_without_faults(self, place):
        with RunningCluster(place, faults=False) as cluster:
            keep = cluster.keep_url().split("/")[2]
            context = ssl.create_default_context(cafile=place / "tls.pem")
            for connection in (
                http.client.HTTPSConnection(cluster.env["ARVADOS_API_HOST"], context=context),
                http.client.HTTPConnection(keep),
            ):
                for path in ("/_control", "/_control/requests"):
                    connection.request("GET", path)
                    answer = connection.getresponse()
                    answer.read()
                    assert answer.status == 404
                connection.close()


def event_bus(cluster):
    """The number of the process of the event bus, which is the only child of the cluster's."""
    children = Path(f"/proc/{cluster.pid}/task/{cluster.pid}/children")
    (pid,) = wait_until(lambda: children.read_text().split())
    return int(pid)


class TestEventBus:
    """The event bus has a process of its own."""

    @pytest.fixture
    def listen(self):
        """Listen with the official library; return a queue of what it receives."""
        clients = []

        def start(cluster):
            received = queue.Queue()
            clients.append(arvados.events.subscribe(cluster.api(), [], received.put, 0))
            assert received.get(timeout=TIME_LIMIT_S) == {"status": 200}
            return received

        yield start
        for client in clients:
            client.close(timeout=5)

    @pytest.fixture(autouse=True)
    def insecure(self, monkeypatch):
        monkeypatch.setitem(arvados.config.settings(), "ARVADOS_API_HOST_INSECURE", "1")

    def next_event(self, received):
        while True:
            message = received.get(timeout=TIME_LIMIT_S)
            if "object_uuid" in message:
                return message["object_uuid"]

    def test_it_comes_back_when_it_dies_and_clients_miss_nothing(self, place, listen):
        with RunningCluster(place) as cluster:
            received = listen(cluster)
            api = cluster.api()
            first = api.collections().create(body={"name": "first"}).execute()["uuid"]
            assert self.next_event(received) == first
            old = event_bus(cluster)
            os.kill(old, signal.SIGKILL)
            missed = [api.collections().create(body={}).execute()["uuid"] for _ in range(10)]
            assert [self.next_event(received) for _ in missed] == missed
            assert event_bus(cluster) != old
            assert cluster.log.count("event bus") == cluster.log.count("\n") == 1

    def test_it_is_no_orphan_when_the_cluster_is_killed(self, place):
        with RunningCluster(place) as cluster:
            process = Path(f"/proc/{event_bus(cluster)}")
            cluster.kill()
            wait_until(lambda: not process.exists() or "\nState:\tZ" in status_of(process))

    def test_it_is_told_of_what_other_processes_change(self, place, listen):
        with RunningCluster(place) as cluster:
            received = listen(cluster)
            done = run(place, "user", "add", "ann")
            uuids = {self.next_event(received)}
            while done.stdout.strip() not in uuids:
                uuids.add(self.next_event(received))

    def test_its_port_stays_over_restarts(self, place):
        with RunningCluster(place) as cluster:
            before = cluster.websocket_url()
            cluster.restart()
            assert cluster.websocket_url() == before
            cluster.kill()
            cluster.start()
            assert cluster.websocket_url() == before


def status_of(process):
    try:
        return (process / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "\nState:\tZ"


class TestUsers:
    """A cluster that runs as long as somebody needs it."""

    def is_running(self, place):
        with (place / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def launch(self, place, sample=False):
        return ensure_running(place, sample=sample, wait_s=TIME_LIMIT_S)

    def test_starts_with_the_first_and_ends_with_the_last(self, place):
        first = self.launch(place)
        second = self.launch(place)
        assert (first.host, first.token) == (second.host, second.token)
        first.release()
        time.sleep(0.3)
        assert self.is_running(place)
        second.release()
        wait_until(lambda: not self.is_running(place))
        assert (place / "log").read_text() == ""

    def test_user_that_is_killed_is_no_user_any_more(self, place):
        script = (
            "import sys, pathlib\n"
            "from arvados_fuse.standalone.launch import ensure_running\n"
            "access = ensure_running(pathlib.Path(sys.argv[1]), sample=False, wait_s=20)\n"
            "print(access.host, flush=True)\n"
            "sys.stdin.read()\n"
        )
        user = subprocess.Popen(
            [sys.executable, "-c", script, place],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert user.stdout.readline()
        assert self.is_running(place)
        user.kill()
        user.communicate()
        wait_until(lambda: not self.is_running(place))

    def test_processes_that_are_forked_are_users_and_programs_are_not(self, place):
        access = self.launch(place)
        program = subprocess.Popen(["sleep", "60"])
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        try:
            access.release()
            time.sleep(0.3)
            assert self.is_running(place)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        wait_until(lambda: not self.is_running(place))
        program.kill()
        program.wait()

    def test_next_user_gets_a_new_cluster_with_the_old_content(self, place):
        first = self.launch(place)
        first.release()
        second = self.launch(place)  # at once: the first cluster may still be ending
        assert (second.host, second.token) == (first.host, first.token)
        second.release()
        wait_until(lambda: not self.is_running(place))

    def test_many_users_at_once_get_the_same_cluster(self, place):
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(self.launch(place))) for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 5
        assert len({access.host for access in found}) == 1
        for access in found:
            access.release()
        wait_until(lambda: not self.is_running(place))

    def test_cluster_that_somebody_else_runs_is_joined_and_left_running(self, place):
        with RunningCluster(place) as cluster:
            access = self.launch(place)
            assert access.host == cluster.env["ARVADOS_API_HOST"]
            access.release()
            time.sleep(0.3)
            assert cluster.request("GET", "/arvados/v1/users/current")[0] == 200

    def test_sample_is_there_at_once(self, place):
        access = self.launch(place, sample=True)
        joined = RunningCluster(place)
        joined.env = {"ARVADOS_API_HOST": access.host, "ARVADOS_API_TOKEN": access.token}
        groups = joined.request("GET", "/arvados/v1/groups")[1]["items"]
        projects = [group["name"] for group in groups if group["group_class"] == "project"]
        assert projects == ["Sample project"]
        access.release()
        wait_until(lambda: not self.is_running(place))

    def test_stale_env_of_a_crash_is_not_believed(self, place):
        cluster = RunningCluster(place)
        cluster.start()
        cluster.kill()
        assert (place / "env.sh").exists()
        access = self.launch(place)
        assert access.token == cluster.env["ARVADOS_API_TOKEN"]
        access.release()
        wait_until(lambda: not self.is_running(place))

    def test_stranger_on_the_port_of_a_crashed_cluster_is_not_believed(self, place, tmp_path):
        crashed = RunningCluster(place)
        crashed.start()
        port = crashed.env["ARVADOS_API_HOST"].split(":")[1]
        crashed.kill()
        with RunningCluster(tmp_path / "stranger", "--api-port", port):
            access = self.launch(place)
            assert access.token == crashed.env["ARVADOS_API_TOKEN"]
            assert access.host != crashed.env["ARVADOS_API_HOST"]
            access.release()
            wait_until(lambda: not self.is_running(place))

    def test_reason_of_a_failure_is_the_clusters_own(self, place):
        place.mkdir()
        (place / "cluster.sqlite").write_bytes(b"nonsense" * 1000)
        with pytest.raises(LaunchError, match=r"^cannot use the database .*cluster\.sqlite"):
            self.launch(place)

    def test_directory_that_cannot_be_used_is_said(self):
        with pytest.raises(LaunchError, match="/dev/null/x"):
            self.launch(Path("/dev/null/x"))

    def test_log_has_no_token(self, place):
        access = self.launch(place)
        access.release()
        wait_until(lambda: not self.is_running(place))
        assert access.token not in (place / "log").read_text()


class TestCrash:
    """kill -9"""

    def test_what_was_acknowledged_is_there(self, place):
        with RunningCluster(place) as cluster:
            load = Load(cluster)
            wait_until(lambda: len(load.blocks) > 50 and len(load.collections) > 50)
            cluster.kill()
            load.join()
            cluster.start()
            for locator, content in load.blocks.items():
                assert cluster.block_path(locator[:32]).read_bytes() == content
            for uuid, portable_data_hash in load.collections.items():
                status, record = cluster.request("GET", f"/arvados/v1/collections/{uuid}")
                assert status == 200
                assert record["portable_data_hash"] == portable_data_hash
            assert list((place / "blocks" / "incoming").iterdir()) == []


class Load:
    """Threads that put blocks and create collections until the cluster is gone.

    blocks: content by locator; collections: portable data hash by uuid; all acknowledged
    """

    def __init__(self, cluster):
        self.blocks = {}
        self.collections = {}
        self._cluster = cluster
        self._keep = cluster.keep_url().split("/")[2]
        self._api = cluster.env["ARVADOS_API_HOST"]
        self._token = cluster.env["ARVADOS_API_TOKEN"]
        self._threads = [
            threading.Thread(target=self._until_gone, args=(work, number), daemon=True)
            for work in (self._put_blocks, self._create_collections)
            for number in range(2)
        ]
        for thread in self._threads:
            thread.start()

    def join(self):
        for thread in self._threads:
            thread.join(TIME_LIMIT_S)
            assert not thread.is_alive()

    def _until_gone(self, work, number):
        try:
            work(number)
        except (OSError, http.client.HTTPException):
            return

    def _put_blocks(self, number):
        connection = http.client.HTTPConnection(self._keep, timeout=TIME_LIMIT_S)
        while True:
            content = os.urandom(20_000)
            path = f"/{hashlib.md5(content).hexdigest()}"
            connection.request("PUT", path, content, {"Authorization": f"Bearer {self._token}"})
            answer = connection.getresponse()
            locator = answer.read().decode()
            if answer.status == 200:
                self.blocks[locator] = content

    def _create_collections(self, number):
        context = ssl.create_default_context(cafile=self._cluster.dir / "tls.pem")
        connection = http.client.HTTPSConnection(self._api, context=context, timeout=TIME_LIMIT_S)
        for count in itertools.count():
            text = f". acbd18db4cc2f85cedef654fccc4a4d8+3 0:3:file-{number}-{count}\n"
            connection.request(
                "POST",
                "/arvados/v1/collections",
                json.dumps({"manifest_text": text}),
                {
                    "Authorization": f"Bearer {self._token}",
                    "Content-Type": "application/json",
                },
            )
            answer = connection.getresponse()
            record = json.loads(answer.read())
            if answer.status == 200:
                self.collections[record["uuid"]] = record["portable_data_hash"]
