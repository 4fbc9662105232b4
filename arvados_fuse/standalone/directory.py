"""The directory of a cluster: who uses it, and the files that tell others how to reach it.

``lock``        held by the process that runs the cluster
``users.lock``  held, shared, by each process that uses a cluster which ends with its users
``env.sh``      host and token, for ``source``; there only while the cluster is ready
``tls.pem``     key and certificate of the API
``cluster.sqlite``  all records
``log``         what a cluster prints that somebody else has started
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shlex
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from arvados_fuse.standalone.durable import make_directory

__all__ = [
    "DirectoryInUse",
    "DirectoryUnusable",
    "open_lock",
    "prepare",
    "read_environment",
    "refuse_another_owner",
    "take_lock",
    "write_file",
]

LOCK = "lock"
USERS_LOCK = "users.lock"
ENVIRONMENT = "env.sh"
LOG = "log"
BLOCKS = "blocks"
CERTIFICATE = "tls.pem"
DATABASE = "cluster.sqlite"

_OF_A_CLUSTER = re.compile(
    rf"{LOCK}|{USERS_LOCK}|{LOG}|.*\.log|{BLOCKS}.*|\.?({ENVIRONMENT}|{CERTIFICATE}|{DATABASE}).*|lost\+found"
)
"""Names of what may be there before the database is: of a first start that was cut off, of blocks
that were put there, of logs (`make mount` keeps that of the mount there), and of a new disk."""

_PATIENCE_S = 0.5
"""How long a lock may be held by somebody who only looks whether it is free."""


class DirectoryUnusable(Exception):
    """A directory that cannot be used; the message says why."""


class DirectoryInUse(DirectoryUnusable):
    """A directory on which another cluster runs."""


def prepare(directory: Path) -> None:
    """Make the directory, for this user only.

    One that holds other things is left as it is. Raises DirectoryUnusable.
    """
    try:
        make_directory(directory)
        refuse_another_owner(directory)
        _refuse_what_is_of_others(directory)
        directory.chmod(0o700)
    except OSError as error:
        raise DirectoryUnusable(f"cannot use {directory}: {error.strerror}") from error
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise DirectoryUnusable(f"cannot use {directory}: it is not writable")


def refuse_another_owner(directory: Path) -> None:
    """Refuse a directory of another user, to root as well. Raises DirectoryUnusable, and OSError.

    Its owner could not read what we would leave there: blocks, for one, would be gone for them.
    """
    owner = directory.stat().st_uid
    if owner != os.geteuid():
        raise DirectoryUnusable(
            f"cannot use {directory}: it belongs to another user (number {owner}), who alone can"
            " run a cluster on it"
        )


def _refuse_what_is_of_others(directory: Path) -> None:
    """Refuse a home, or /tmp, out of which others would be locked, and which would be littered."""
    if (directory / DATABASE).exists():
        return
    for path in sorted(directory.iterdir()):
        if not _OF_A_CLUSTER.fullmatch(path.name):
            raise DirectoryUnusable(
                f"cannot use {directory}: it holds {path.name}, and is no cluster's; choose an"
                " empty directory, or one that is not there yet"
            )


def block_store(directory: Path, number: int) -> Path:
    """Return where the blocks of the Keep service with this number are; the first is 0."""
    return directory / (f"{BLOCKS}-{number + 1}" if number else BLOCKS)


def block_stores(directory: Path) -> list[Path]:
    """Return the directories that hold blocks: one for each Keep service there has been."""
    return sorted(path for path in directory.glob(f"{BLOCKS}*") if path.is_dir())


def open_lock(directory: Path, name: str) -> BinaryIO:
    """Open a lock file; it is not inherited by programs that are started. Raises as `prepare`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        return open(os.open(directory / name, flags, 0o600), "ab")
    except OSError as error:
        raise DirectoryUnusable(f"cannot use {directory}: {error.strerror}") from error


def take_lock(directory: Path) -> BinaryIO:
    """Take the lock of the process that runs the cluster; it lasts until the file is closed.

    Raises DirectoryInUse.
    """
    file = open_lock(directory, LOCK)
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES) or time.monotonic() > deadline:
                file.close()
                raise DirectoryInUse(
                    f"{directory} is in use: another cluster runs on it; use that one,"
                    " stop it, or choose another directory"
                ) from None
        time.sleep(0.05)


def is_locked(directory: Path) -> bool:
    """Whether a cluster runs on the directory, or is about to."""
    with open_lock(directory, LOCK) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def write_file(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def environment_text(host: str, token: str) -> str:
    """Return what a shell has to run so that Arvados commands use a cluster: one export a line.

    host: with the port
    """
    variables = {
        "ARVADOS_API_HOST": host,
        "ARVADOS_API_TOKEN": token,
        "ARVADOS_API_HOST_INSECURE": "1",
    }
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def write_environment(directory: Path, host: str, token: str) -> None:
    """Write env.sh."""
    write_file(directory / ENVIRONMENT, environment_text(host, token).encode())


def remove_environment(directory: Path) -> None:
    """Remove env.sh, so that nobody takes the cluster for ready."""
    with suppress(FileNotFoundError):
        (directory / ENVIRONMENT).unlink()


def read_environment(directory: Path) -> dict[str, str] | None:
    """Return the variables of env.sh; None if there is none, or it does not say how to get in."""
    try:
        words = shlex.split((directory / ENVIRONMENT).read_text())
    except (FileNotFoundError, ValueError):  # ValueError: no text, or a quotation without end
        return None
    variables = dict(word.split("=", 1) for word in words if "=" in word)
    return variables if {"ARVADOS_API_HOST", "ARVADOS_API_TOKEN"} <= variables.keys() else None
