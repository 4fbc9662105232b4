"""Users that are not root, where tests run as root: on the same machine, with mounts of their own.

What users of a real machine have may be missing here: /dev/fuse is root's alone in many containers,
and the interpreter may be in root's home. A private mount namespace makes up for it. Nothing
outside is changed, and it goes with its last process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = f"{Path(sys.executable).parent}:/usr/bin:/bin"

USER = 65534
"""Nobody: a user that every machine knows."""

ANOTHER = 54321
"""A user without a name, as in many containers."""

STAGE = Path("/media")
"""Where the namespace has what is mounted elsewhere."""

TIME_LIMIT_S = 60
END_TIME_LIMIT_S = 10


class Machine:
    """The mount namespace, and programs in it. Use it as a context manager.

    place: a directory that all users can reach in it; below it is a home for each
    """

    def __init__(self, place: Path) -> None:
        assert os.geteuid() == 0, "To be several users takes root's rights: run this as root."
        self.place = place
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; read end"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout.readline() == b"ready\n"
        self._namespace = os.readlink(f"/proc/{self._holder.pid}/ns/mnt")

    def __enter__(self) -> Machine:
        self._let_go_of_mounts()
        self._root("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", STAGE)
        # /dev/null, too: some programs open it for everything that they start.
        for name in ("fuse", "null"):
            number = os.stat(f"/dev/{name}").st_rdev
            device = (str(os.major(number)), str(os.minor(number)))
            self._root("mknod", "-m", "666", STAGE / name, "c", *device)
            self._root("mount", "--bind", STAGE / name, f"/dev/{name}")
        self.configure_fuse("")
        self._uncover([self.place, ROOT, Path(sys.prefix), Path(sys.base_prefix)])
        for user in (USER, ANOTHER, 0):
            self.home(user).mkdir()
            self.home(user).chmod(0o711)
            os.chown(self.home(user), user, user)
        return self

    def __exit__(self, *_: object) -> None:
        """End all that still runs in the namespace, whatever its state. Its mounts go with it."""
        deadline = time.monotonic() + END_TIME_LIMIT_S
        while left := [pid for pid in self._processes() if pid != self._holder.pid]:
            assert time.monotonic() < deadline, f"these do not end: {left}"
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        self._holder.communicate(b"end\n", END_TIME_LIMIT_S)

    def home(self, user: int) -> Path:
        """Where this user is at home."""
        return self.place / f"home-{user}"

    def configure_fuse(self, lines: str) -> None:
        """Let /etc/fuse.conf have these lines."""
        configuration = self.place / f"fuse.conf-{time.monotonic_ns()}"
        configuration.write_text(lines)
        self._root("mount", "--bind", configuration, "/etc/fuse.conf")

    def start(
        self, user: int, script: str, *arguments: str | Path, **variables: str | Path | None
    ) -> subprocess.Popen[str]:
        """Start a shell script of this user, in their home, with these as $1, $2 and so on.

        variables: of the environment, besides the usual ones; None to leave one out
        """
        usual = {"HOME": self.home(user), "PATH": PROGRAMS, "LANG": "C.UTF-8"}
        environment = {name: str(v) for name, v in (usual | variables).items() if v is not None}
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        shell = ["/bin/sh", "-c", f"cd {self.home(user)}; {script}", "sh", *map(str, arguments)]
        return subprocess.Popen(
            [*self._inside(), *as_user, "/usr/bin/env", "-i"]
            + [f"{name}={value}" for name, value in environment.items()]
            + shell,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(
        self,
        user: int,
        script: str,
        *arguments: str | Path,
        code: int = 0,
        **variables: str | Path | None,
    ) -> str:
        """Run a shell script as `start` does; return all that it prints.

        code: with which it has to end
        """
        process = self.start(user, script, *arguments, **variables)
        try:
            said, _ = process.communicate(timeout=TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            raise AssertionError(f"{script!r} hangs; so far: {said}") from None
        assert process.returncode == code, f"{script!r} ended with {process.returncode}: {said}"
        assert "Traceback" not in said, said
        return said

    def _root(self, *command: str | Path) -> None:
        subprocess.run([*self._inside(), *command], cwd="/", check=True, timeout=TIME_LIMIT_S)

    def _inside(self) -> list[str]:
        return ["nsenter", "--mount", f"--target={self._holder.pid}"]

    def _let_go_of_mounts(self) -> None:
        """Unmount what FUSE has mounted elsewhere: else it would not end when it is unmounted."""
        for line in Path(f"/proc/{self._holder.pid}/mounts").read_text().splitlines():
            _, place, kind, *_ = line.split(" ")
            if kind.partition(".")[0] == "fuse":
                self._root("umount", "--lazy", place.encode().decode("unicode_escape"))

    def _uncover(self, wanted: Iterable[Path]) -> None:
        """Let all users reach these directories, whatever is above them."""
        hidden = [(each, top) for each in wanted if (top := _hiding(each)) is not None]
        for number, (each, _) in enumerate(hidden):
            self._root("mkdir", STAGE / str(number))
            self._root("mount", "--bind", each, STAGE / str(number))
        for top in {top for _, top in hidden}:
            self._root("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", top)
        for number, (each, _) in enumerate(hidden):
            self._root("mkdir", "-p", each)
            self._root("mount", "--bind", STAGE / str(number), each)

    def _processes(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and os.readlink(entry / "ns/mnt") == self._namespace:
                    found.append(int(entry.name))
        return found


def _hiding(path: Path) -> Path | None:
    """Return the uppermost directory above `path` that not all users can go through, if any."""
    above = reversed(path.parents)
    return next((each for each in above if not each.stat().st_mode & 0o001), None)
