"""An empty collection on a mount that can be written to, and what the cluster has of it after."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arvados.collection

from tests.support.mounts import RunningMount

__all__ = ["Workplace", "changes", "errno_of", "new_collection", "saved", "shown"]

RECORD = ".arvados#collection"

Content = dict[str, "bytes | None"]
"""Path of each file and its bytes; None for a directory that has nothing in it."""


def new_collection(api: Any, name: str = "", **attributes: Any) -> str:
    """Make an empty collection and return its uuid."""
    name = name or f"workplace {os.urandom(6).hex()}"
    body = {"name": name, "manifest_text": "", **attributes}
    return str(api.collections().create(body={"collection": body}).execute()["uuid"])


def shown(root: Path) -> Content:
    """All that a directory holds, as programs read it."""
    content: Content = {}
    for directory, subdirectories, files in os.walk(root):
        here = Path(directory)
        for name in files:
            content[str((here / name).relative_to(root))] = (here / name).read_bytes()
        if not subdirectories and not files and here != root:
            content[str(here.relative_to(root))] = None
    return content


def saved(api: Any, uuid: str) -> Content:
    """All that a collection holds, as a client of the SDK reads it."""
    content: Content = {}

    def walk(collection: Any, before: str) -> None:
        for name, item in collection.items():
            if isinstance(item, arvados.collection.RichCollectionBase):
                walk(item, f"{before}{name}/")
                if not len(item):
                    content[f"{before}{name}"] = None
            else:
                with collection.open(name, "rb") as file:
                    content[before + name] = file.read()

    walk(arvados.collection.CollectionReader(uuid, api_client=api), "")
    return content


class Workplace:
    """A collection, alone on a mount that can be written to.

    root: where it is; running: its mount; uuid: the collection
    """

    def __init__(self, running: RunningMount, api: Any, uuid: str) -> None:
        self.running = running
        self.api = api
        self.uuid = uuid
        self.root = running.directory

    def __truediv__(self, path: str) -> Path:
        return self.root / path

    def run(self, *command: object, code: int = 0) -> str:
        """Run a program in the collection; return what it prints."""
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=50,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        assert done.returncode == code, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout + done.stderr

    def saved(self) -> Content:
        """What the cluster has of it."""
        return saved(self.api, self.uuid)

    def end(self) -> None:
        """Unmount: the cluster must have then, byte for byte, what the mount has shown."""
        content = shown(self.root)
        assert self.running.unmount() == 0, self.running.log
        assert self.saved() == content


def errno_of(do: Callable[..., Any], *arguments: Any) -> str:
    """The name of the errno that `do` ends with."""
    try:
        do(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def changes(directory: Path, file: str, subdirectory: str) -> dict[str, str]:
    """Each kind of change, tried in a directory that has `file` and `subdirectory`."""
    return {
        "create": errno_of(lambda: os.close(os.open(directory / "new", os.O_CREAT | os.O_WRONLY))),
        "mknod": errno_of(os.mknod, directory / "new"),
        "mkdir": errno_of(os.mkdir, directory / "new"),
        "unlink": errno_of(os.unlink, directory / file),
        "rmdir": errno_of(os.rmdir, directory / subdirectory),
        "rename": errno_of(os.rename, directory / file, directory / "new"),
        "rename directory": errno_of(os.rename, directory / subdirectory, directory / "new"),
        "open": errno_of(lambda: os.close(os.open(directory / file, os.O_WRONLY))),
        "empty": errno_of(lambda: os.close(os.open(directory / file, os.O_WRONLY | os.O_TRUNC))),
        "append": errno_of(lambda: os.close(os.open(directory / file, os.O_RDWR | os.O_APPEND))),
        "truncate": errno_of(os.truncate, directory / file, 0),
    }
