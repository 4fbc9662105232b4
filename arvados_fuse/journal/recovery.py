"""Journals whose mount is dead, and what counts in them.

A mount holds a lock on its journal for as long as it lives; whoever looks for journals takes the
locks of those that nobody holds, so that two mounts never recover the same one.

What counts is found so. Replay begins with the last log that has a Based record, which says what
the operations of that log, from its beginning, are on top of: logs before it are committed. When
the machine has run on since the mount died, everything that was written is there, up to the first
line that is not whole. When the machine was started anew it may have lost anything that was not
forced to the disk: operations count up to where the last Synced record vouches for them.
"""

import contextlib
import fcntl
import itertools
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from arvados_fuse.journal.chunks import Chunk, open_chunk
from arvados_fuse.journal.collection import DROPPED_PREFIX, remove_collection
from arvados_fuse.journal.files import OpenFile, disk_error
from arvados_fuse.journal.journal import ABOUT, LOCK, UNFINISHED_PREFIX, UNKNOWN, About, boot_id
from arvados_fuse.journal.log import log_name, read_log
from arvados_fuse.journal.records import Based, Closed, Operation, Synced, Write

__all__ = ["Orphan", "Recovered", "orphans", "take_lock"]

logger = logging.getLogger(__name__)

_LOG = re.compile(r"log-(\d{6,})", re.ASCII)
_CHUNK = re.compile(r"chunk-(\d{6,})", re.ASCII)

_UNFINISHED_AGE_S = 60.0
"""A directory that is older than this and not locked is nobody's beginning."""


class _Span(NamedTuple):
    """A log and how many bytes of it count; None for all whole lines."""

    path: Path
    end: int | None


class _Scan(NamedTuple):
    """What was seen in a log.

    based, synced_size: its last records of these kinds, if it has any
    is_empty: whether it has not a single line
    is_closed: whether it says that no operation is missing at its end
    """

    number: int
    path: Path
    based: Based | None
    synced_size: int | None
    is_empty: bool
    is_closed: bool


class Recovered:
    """What a dead mount wrote to one collection and did not commit.

    portable_data_hash: of the version that the operations are on top of; "" for none
    attached: the paths in it of files that the operations call by their identifiers
    contents: what those files have in it, as far as that is known
    chunks: by number. They can be read for as long as they are referred to, also after a discard
    """

    def __init__(self, based: Based, chunks: Mapping[int, Chunk], spans: tuple[_Span, ...]) -> None:
        self.portable_data_hash = based.portable_data_hash
        self.attached = based.attached
        self.contents = based.contents
        self.chunks = chunks
        self._spans = spans
        self._is_damaged = False

    def operations(self) -> Iterator[Operation]:
        """What was done, in order; read from the disk as it goes.

        Every Write refers to bytes that are there: where that does not hold the journal was damaged
        and ends, with a line in the program's log. Raises JournalError.
        """
        for generation in self.generations():
            yield from generation

    def generations(self) -> Iterator[Iterator[Operation]]:
        """The same, in the parts between which commits were begun. Read each before the next."""
        self._is_damaged = False
        for span in self._spans:
            if not self._is_damaged:
                yield self._read(span)

    def _read(self, span: _Span) -> Iterator[Operation]:
        for line in read_log(span.path):
            if span.end is not None and line.end > span.end:
                break
            record = line.record
            if isinstance(record, Write) and not self._has_bytes(record):
                logger.error("%s refers to bytes that are gone and is cut there", span.path)
                self._is_damaged = True
                return
            if not isinstance(record, Based | Synced | Closed):
                yield record

    def _has_bytes(self, write: Write) -> bool:
        chunk = self.chunks.get(write.chunk)
        return chunk is not None and 0 <= write.offset <= chunk.size - write.size


class Orphan:
    """The journal of a dead mount, locked for us. One thread at a time.

    directory: where it is
    lock: None to look at it only
    about: whose it was; fields are empty where that is damaged
    """

    def __init__(self, directory: Path, lock: OpenFile | None) -> None:
        self.directory = directory
        self.about = _read_about(directory)
        self._lock: OpenFile | None = lock

    def collections(self) -> list[str]:
        """The uuids of the collections that it has something of. Raises JournalError."""
        try:
            with os.scandir(self.directory) as entries:
                return sorted(
                    entry.name
                    for entry in entries
                    if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
                )
        except OSError as error:
            raise disk_error(error, self.directory) from error

    def read(self, uuid: str) -> Recovered | None:
        """What it has of a collection. None when nothing counts. Raises JournalError."""
        directory = self.directory / uuid
        scans = _from_last_based(_scan(directory))
        if not scans or scans[0].based is None:
            return None
        has_run_on = self.about.boot_id and self.about.boot_id == boot_id()
        spans = _written(scans) if has_run_on else _vouched_for(scans)
        chunks = {number: open_chunk(directory, number) for number in _numbered(directory, _CHUNK)}
        recovered = Recovered(scans[0].based, chunks, tuple(spans))
        if next(recovered.operations(), None) is None:
            return None
        return recovered

    def discard(self, uuid: str) -> None:
        """Remove what it has of a collection: it is committed, or not wanted.

        Raises JournalError.
        """
        remove_collection(self.directory / uuid)

    def close(self) -> None:
        """Leave it for others, or remove it when no collection is left in it."""
        if self._lock is not None and not self.collections():
            shutil.rmtree(self.directory, ignore_errors=True)
        self._lock = None


def orphans(root: Path, cluster_id: str, user_uuid: str) -> list[Orphan]:
    """The journals of a user of a cluster whose mounts are dead, each locked until closed.

    Those that another user of this machine has made are left alone, with a line in the program's
    log: they can seldom be read, and anybody may put something into a directory that is open to
    all. Removes what was left by mounts that died while beginning or removing one. Raises
    JournalError.
    """
    prefix = About("", cluster_id, user_uuid, "", "", "").directory_prefix
    found = []
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise disk_error(error, root) from error
    for name in names:
        directory = root / name
        if name.startswith(UNFINISHED_PREFIX):
            _remove_unfinished(directory)
        elif not name.startswith(prefix) or not _is_own(directory, root):
            continue
        elif (lock := take_lock(directory)) is not None:
            _remove_dropped(directory)
            found.append(Orphan(directory, lock))
    return found


def take_lock(directory: Path) -> OpenFile | None:
    """The lock of a journal, or None when somebody lives there, or it is gone."""
    try:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = OpenFile(directory / LOCK, os.open(directory / LOCK, flags))
        fcntl.flock(lock.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its owner may have removed it between the two.
        is_there = os.path.samestat(os.fstat(lock.descriptor), os.stat(lock.path))
    except (FileNotFoundError, NotADirectoryError, BlockingIOError):
        return None
    except OSError as error:
        raise disk_error(error, directory) from error
    return lock if is_there else None


def _is_own(directory: Path, root: Path) -> bool:
    """Whether this user made a journal, or who owns `root`, where some disks show all as another's.

    False, too, if it is gone.
    """
    try:
        owner = directory.lstat().st_uid
        if owner in (os.geteuid(), root.stat().st_uid):
            return True
    except OSError:
        return False
    logger.warning(
        "The journal %s is left alone: it belongs to another user of this machine (uid %d). If it"
        " is yours: sudo chown -R %d %s, and mount again.",
        directory,
        owner,
        os.geteuid(),
        directory,
    )
    return False


def _read_about(directory: Path) -> About:
    try:
        fields = json.loads((directory / ABOUT).read_text())
        return About(**{name: str(fields[name]) for name in About._fields})
    except (OSError, ValueError, TypeError, KeyError):
        logger.warning("%s does not say whose journal it is", directory)
        return UNKNOWN


def _remove_unfinished(directory: Path) -> None:
    with contextlib.suppress(OSError):  # another mount does it, or is just beginning
        if time.time() - directory.stat().st_mtime > _UNFINISHED_AGE_S:
            shutil.rmtree(directory)


def _remove_dropped(directory: Path) -> None:
    for doomed in directory.glob(DROPPED_PREFIX + "*"):
        shutil.rmtree(doomed, ignore_errors=True)


def _numbered(directory: Path, pattern: re.Pattern[str]) -> list[int]:
    """The numbers in the names of files, in order. Raises JournalError."""
    try:
        matches = map(pattern.fullmatch, os.listdir(directory))
    except OSError as error:
        raise disk_error(error, directory) from error
    return sorted(int(match[1]) for match in matches if match)


def _scan(directory: Path) -> list[_Scan]:
    """Look through all logs of a collection, in order. Raises JournalError."""
    scans = []
    for number in _numbered(directory, _LOG):
        path = directory / log_name(number)
        based, synced_size, is_empty, is_closed = None, None, True, False
        for _, record in read_log(path):
            is_empty = False
            if isinstance(record, Based):
                based = record
            elif isinstance(record, Synced):
                synced_size = record.size
            elif isinstance(record, Closed):
                is_closed = True
        scans.append(_Scan(number, path, based, synced_size, is_empty, is_closed))
    return scans


def _from_last_based(scans: list[_Scan]) -> list[_Scan]:
    """The logs that may count: logs before them are committed. Empty when none says its base."""
    for index in reversed(range(len(scans))):
        if scans[index].based is not None:
            return scans[index:]
    return []


def _written(scans: list[_Scan]) -> list[_Span]:
    """All whole lines: up to a log that is missing or damaged, if there is one."""
    spans = [_Span(scans[0].path, None)]
    for before, scan in itertools.pairwise(scans):
        is_next = before.is_closed and scan.number == before.number + 1
        if not is_next and not scan.is_empty:
            logger.error("the end of %s is lost: what comes after it cannot count", before.path)
            break
        spans.append(_Span(scan.path, None))
    return spans


def _vouched_for(scans: list[_Scan]) -> list[_Span]:
    """What was on the disk for sure when the machine lost the rest."""
    for index in reversed(range(len(scans))):
        size = scans[index].synced_size
        if size is not None:
            before = [_Span(scan.path, None) for scan in scans[:index]]
            return [*before, _Span(scans[index].path, size)]
    return []
