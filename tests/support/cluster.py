"""A standalone cluster for tests, in a process of its own, that can be killed and bent."""

from __future__ import annotations

import json
import os
import shlex
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import arvados

ROOT = Path(__file__).parents[2]
END_TIME_LIMIT_S = 20


class RunningCluster:
    """A cluster on `directory`, started with `arguments`. Use it as a context manager.

    under: a command that runs it, like ("strace", "-D")
    faults: whether `set_faults` and `request_counts` work
    env: what its users need in their environment
    dir: its directory
    insecure: TLS settings that let a client talk to it
    """

    def __init__(
        self, directory: Path, *arguments: str, faults: bool = True, under: Sequence[str] = ()
    ) -> None:
        self.dir = directory
        self.env: dict[str, str] = {}
        self._under = tuple(under)
        self._arguments = (*arguments, *(["--faults"] if faults else []))
        self._process: subprocess.Popen[str] | None = None
        self._log = directory.with_name(directory.name + ".cluster.log")
        self.insecure = ssl.create_default_context()
        self.insecure.check_hostname = False
        self.insecure.verify_mode = ssl.CERT_NONE

    def __enter__(self) -> RunningCluster:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process is not None, "the cluster does not run"
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has written to stderr."""
        return self._log.read_text()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        assert self._process is None, "the cluster runs already"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(*self._under, sys.executable, "-m", "arvados_fuse.standalone"),
                    *(str(self.dir), *self._arguments),
                ],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        line = self._process.stdout.readline()
        if "is ready" not in line:
            self._process.wait(END_TIME_LIMIT_S)
            self._process = None
            raise AssertionError(f"the cluster did not start:\n{self.log}")
        words = shlex.split((self.dir / "env.sh").read_text())
        self.env = dict(word.split("=", 1) for word in words if "=" in word)

    def stop(self) -> int | None:
        """End it as an administrator does, and return its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int | None:
        """End it as a crash does."""
        return self._end(signal.SIGKILL)

    def restart(self) -> None:
        """End it, and start it again on the same ports."""
        self.stop()
        self.start()

    def _end(self, number: signal.Signals) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        process.send_signal(number)
        try:
            return process.wait(END_TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the cluster did not end:\n{self.log}") from None
        finally:
            process.stdout.close()

    def api(self) -> Any:
        """A client of the SDK, as the administrator, that does not try again."""
        return arvados.api(
            "v1",
            host=self.env["ARVADOS_API_HOST"],
            token=self.env["ARVADOS_API_TOKEN"],
            insecure=True,
            cache=False,
            num_retries=0,
        )

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Send one request to the API as it is written here; return status and JSON, or text."""
        request = urllib.request.Request(
            f"https://{self.env['ARVADOS_API_HOST']}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.env['ARVADOS_API_TOKEN']}",
                "Content-Type": "application/json",
                **(headers or {}),
            },
        )
        try:
            with urllib.request.urlopen(request, context=self.insecure) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                is_json = error.headers.get_content_type() == "application/json"
                return error.code, json.load(error) if is_json else error.read().decode()

    def set_faults(self, rules: Sequence[dict[str, Any]]) -> None:
        """Misbehave by these rules, and no others; see arvados_fuse.standalone.faults."""
        status, answer = self.request("PUT", "/_control", list(rules))
        assert status == 200, answer

    def request_counts(self, reset: bool = False) -> dict[str, int]:
        """How often each operation was requested, like {"GET keep": 3}, since the last reset."""
        status, counts = self.request("DELETE" if reset else "GET", "/_control/requests")
        assert status == 200
        return counts

    def block_path(self, block_hash: str) -> Path:
        """Where the cluster keeps a block."""
        return self.dir / "blocks" / block_hash[:3] / block_hash

    def keep_url(self) -> str:
        """Where its Keep service is, with a slash at the end."""
        services = self.request("GET", "/arvados/v1/keep_services/accessible")[1]["items"]
        return f"http://{services[0]['service_host']}:{services[0]['service_port']}/"

    def websocket_url(self) -> str:
        """Where its event stream is."""
        return str(self.request("GET", "/discovery/v1/apis/arvados/v1/rest")[1]["websocketUrl"])

    def environment(self, home: Path) -> dict[str, str]:
        """The whole environment of a user of the cluster with this home."""
        home.mkdir(exist_ok=True)
        own = {k: v for k, v in os.environ.items() if not k.startswith(("ARVADOS_", "XDG_"))}
        return {**own, **self.env, "HOME": str(home)}
