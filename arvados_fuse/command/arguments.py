"""The command line of `arv-mount`, read into one frozen settings object.

Options have the names, defaults and meanings of the official driver's; those that it does not
have are in a group of their own.
"""

from __future__ import annotations

import argparse
import enum
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arvados_fuse.command import usual
from arvados_fuse.command.layout_options import Place, add_layout_options, places
from arvados_fuse.command.values import (
    at_least,
    directory,
    encoding,
    file,
    journal_size,
    names,
    seconds,
    subtype,
    whole_seconds,
)
from arvados_fuse.usage import ArgumentParser
from arvados_fuse.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Action", "Recover", "Settings", "make_parser", "parse"]


class Action(enum.Enum):
    """What to do with the mount point."""

    MOUNT = "mount"
    REPLACE = "replace"
    UNMOUNT = "unmount"
    UNMOUNT_ALL = "unmount-all"


class Recover(enum.Enum):
    """What to do with journals whose mounts are dead."""

    LIST = "list"
    COMMIT = "commit"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the command line says.

    mount_dir: where to mount or unmount, absolute
    action: what to do there
    places: what is shown where
    filters: that listings of projects are narrowed down with, as in list requests of the API
    command: for --exec; empty without
    writable: whether what is mounted may be changed
    subtype: the mount table says fuse.SUBTYPE; "" for just fuse. Unmounting touches only mounts
        that have it
    unmount_timeout_s: how long unmounting may take
    crunchstat_interval_s: time between two reports of statistics; 0 for none
    encoding: of file names, as a name of Python's codec registry
    storage_classes: of what is written; empty for the cluster's default
    listen_for_events: whether to let the cluster tell of changes
    commit_delay_s: for how long the changes of a burst may be collected; 0 to commit each
    journal_dir: where what is written and not yet committed is kept
    journal_size: bytes of that from which on writers wait; 0 for what suits the disk
    recover: what to do with what dead mounts have left there, in place of mounting; None to mount
    journal: the name of the journal that is to be discarded; else ""
    logfile: where log lines go; None for standard error, or the system log when in background
    refresh_time_s: for how long what the cluster said is trusted
    directory_cache, file_cache: limits in bytes; a file_cache of 0 is chosen from what is free
    disk_cache_dir: None for the usual place
    standalone_dir: the embedded cluster to run or join; None to use the configured cluster
    """

    mount_dir: Path
    action: Action
    places: tuple[Place, ...]
    filters: tuple[Any, ...]
    command: tuple[str, ...]
    foreground: bool
    allow_other: bool
    writable: bool
    subtype: str
    unmount_timeout_s: float
    crunchstat_interval_s: float
    encoding: str
    storage_classes: tuple[str, ...]
    listen_for_events: bool
    commit_delay_s: float
    journal_dir: Path
    journal_size: int
    recover: Recover | None
    journal: str
    debug: bool
    logfile: Path | None
    retries: int
    refresh_time_s: float
    directory_cache: int
    file_cache: int
    ram_cache: bool
    disk_cache_dir: Path | None
    standalone_dir: Path | None


def parse(arguments: Sequence[str]) -> Settings:
    """Read the command line.

    Prints what is wrong, and ends the process with code 2; raises CommandError for options
    that contradict each other where the official driver ends with another code.
    """
    parser = make_parser()
    found = parser.parse_args(arguments)
    if found.standalone_dir is not None and not found.standalone:
        parser.error("--standalone-dir is only of use with --standalone")
    recover = None if found.recover is None else Recover(found.recover)
    _check_target(parser, found.mount_dir, recover)
    if found.command is not None and not any(found.command[:1]):
        parser.error("--exec needs a command")
    command = found.command or ()
    return Settings(
        mount_dir=Path(os.path.abspath(found.mount_dir or "")),
        action=found.action,
        places=places(found),
        filters=found.filters,
        command=tuple(command),
        foreground=found.foreground,
        allow_other=found.allow_other,
        writable=found.writable,
        subtype=found.subtype,
        unmount_timeout_s=found.unmount_timeout,
        crunchstat_interval_s=found.crunchstat_interval,
        encoding=found.encoding,
        storage_classes=found.storage_classes,
        listen_for_events=found.listen_for_events,
        commit_delay_s=found.commit_delay,
        journal_dir=found.journal_dir or usual.journal_dir(),
        journal_size=found.journal_size,
        recover=recover,
        journal=found.mount_dir or "" if recover is Recover.DISCARD else "",
        debug=found.debug,
        logfile=found.logfile,
        retries=found.retries,
        refresh_time_s=found.refresh_time,
        directory_cache=found.directory_cache,
        file_cache=found.file_cache,
        ram_cache=found.ram_cache,
        disk_cache_dir=found.disk_cache_dir,
        standalone_dir=(found.standalone_dir or usual.standalone_dir())
        if found.standalone
        else None,
    )


def _check_target(
    parser: argparse.ArgumentParser, target: str | None, recover: Recover | None
) -> None:
    """End the process if what the options are about is missing, or there is too much of it."""
    if recover is Recover.DISCARD and not target:
        parser.error("--recover discard needs the name of the journal; --recover shows the names")
    elif recover in (Recover.LIST, Recover.COMMIT) and target is not None:
        parser.error(f"--recover {recover.value} takes no MOUNT_DIR")
    elif recover is None and target is None:
        parser.error("the following arguments are required: MOUNT_DIR")
    elif recover is None and not target:
        parser.error("MOUNT_DIR is empty; if the current directory is meant, say .")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line, which also knows all options for the documents."""
    parser = ArgumentParser(
        prog="arv-mount",
        description="Show an Arvados cluster as a file system.",
        epilog="The cluster and token are taken from ARVADOS_API_HOST and ARVADOS_API_TOKEN, in"
        " the environment or in ~/.config/arvados/settings.conf. Unmount with: fusermount -u"
        " MOUNT_DIR",
    )
    parser.add_argument(
        "mount_dir", metavar="MOUNT_DIR", nargs="?", help="an empty directory to mount on"
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    add_layout_options(parser)
    _add_access_options(parser)
    _add_life_options(parser)
    _add_log_options(parser)
    _add_cache_options(parser)
    _add_exchange_options(parser)
    _add_writing_options(parser)
    _add_own_options(parser)
    return parser


def _add_access_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who may do what")
    group.add_argument(
        "--allow-other", action="store_true", help="let other users of this machine in too"
    )
    group.add_argument(
        "--read-only",
        dest="writable",
        action="store_false",
        help="refuse all changes (the default)",
    )
    group.add_argument(
        "--read-write",
        "--enable-write",
        dest="writable",
        action="store_true",
        help="let what is mounted be changed",
    )
    parser.set_defaults(writable=False)


def _add_life_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how long it lives")
    group.add_argument(
        "--exec",
        dest="command",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="mount, run the command that is the rest of the line, unmount, and exit with the"
        " command's exit code; put MOUNT_DIR before it, or end the command with --",
    )
    group.add_argument("--foreground", action="store_true", help="stay in the foreground")
    group.add_argument(
        "--subtype",
        type=subtype,
        default="",
        help="let the mount table say fuse.SUBTYPE; with --unmount or --unmount-all, touch only"
        " mounts that have it",
    )
    actions = group.add_mutually_exclusive_group()

    def action(flag: str, value: Action, text: str) -> None:
        actions.add_argument(flag, dest="action", action="store_const", const=value, help=text)

    action(
        "--replace",
        Action.REPLACE,
        "unmount first what FUSE has mounted there, whatever its subtype",
    )
    action("--unmount", Action.UNMOUNT, "unmount what FUSE has mounted there, and exit")
    action(
        "--unmount-all", Action.UNMOUNT_ALL, "unmount all that FUSE has mounted there or below it"
    )
    actions.add_argument(
        "--recover",
        nargs="?",
        choices=[each.value for each in Recover],
        const=Recover.LIST.value,
        help="list what mounts that did not end well have left in the journal (the default),"
        " commit what of that is this user's, or discard the journal that is named in place of"
        " MOUNT_DIR; and exit",
    )
    parser.set_defaults(action=Action.MOUNT)
    group.add_argument(
        "--unmount-timeout",
        type=seconds,
        default=2.0,
        metavar="SECONDS",
        help="for how long a daemon may go on after it was unmounted, before its connection is"
        " ended (default: 2)",
    )


def _add_log_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what it tells")
    group.add_argument("--debug", action="store_true", help="log more")
    group.add_argument("--logfile", type=file, metavar="FILE", help="append log lines to FILE")
    group.add_argument(
        "--crunchstat-interval",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="write statistics to standard error this often (default: 0, never), and never to the"
        " log file",
    )


def _add_exchange_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it talks to the cluster and to Linux")
    group.add_argument(
        "--retries",
        type=at_least(0),
        default=10,
        metavar="N",
        help="how often to repeat a request that failed for a passing reason (default: 10)",
    )
    group.add_argument(
        "--refresh-time",
        type=whole_seconds,
        default=15,
        metavar="SECONDS",
        help="how long to trust what the cluster said while nobody tells of changes (default: 15)",
    )
    group.add_argument(
        "--disable-event-listening",
        dest="listen_for_events",
        action="store_false",
        help="do not ask the cluster to tell of changes",
    )
    group.add_argument(
        "--encoding",
        type=encoding,
        default="utf-8",
        help="of file names, as Python names it (default: utf-8)",
    )


def _add_writing_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("writing")
    group.add_argument(
        "--storage-classes",
        type=names,
        default=(),
        metavar="CLASSES",
        help="storage classes of new collections, and of all that is written, with commas between"
        " them (default: the cluster's own; for what is written, those that the collection wants)",
    )
    group.add_argument(
        "--commit-delay",
        type=seconds,
        default=1.0,
        metavar="SECONDS",
        help="how long the changes of a burst may be collected for one commit (default: 1; 0"
        " makes every close commit)",
    )
    group.add_argument(
        "--journal-dir",
        type=directory,
        metavar="DIR",
        help="where what is written and not yet committed is kept (default:"
        " ~/.local/state/arvados/journal)",
    )
    group.add_argument(
        "--journal-size",
        type=journal_size,
        default=0,
        metavar="BYTES",
        help="how much of that there may be before writers have to wait, 1000000 or more (default:"
        " 0, which means half of the free disk space, 64 GiB at most)",
    )


def _add_cache_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("caches")
    kind = group.add_mutually_exclusive_group()
    kind.add_argument(
        "--disk-cache",
        dest="ram_cache",
        action="store_false",
        help="cache file data on disk (the default)",
    )
    kind.add_argument(
        "--ram-cache", dest="ram_cache", action="store_true", help="cache file data in memory"
    )
    parser.set_defaults(ram_cache=False)
    group.add_argument(
        "--disk-cache-dir",
        type=directory,
        metavar="DIR",
        help="where the disk cache is (default: ~/.cache/arvados/keep)",
    )
    group.add_argument(
        "--file-cache",
        type=at_least(0),
        default=0,
        metavar="BYTES",
        help="size of the cache of file data (default: 0, which means 256 MiB in memory, and on"
        " disk what fits well)",
    )
    group.add_argument(
        "--directory-cache",
        type=at_least(0),
        default=128 << 20,
        metavar="BYTES",
        help="size of the cache of names and attributes (default: 128 MiB)",
    )


def _add_own_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("without a cluster")
    group.add_argument(
        "--standalone",
        action="store_true",
        help="mount an embedded cluster of this machine; it is started if it does not run, and"
        " ends with the last mount that uses it",
    )
    group.add_argument(
        "--standalone-dir",
        type=directory,
        metavar="DIR",
        help="where the embedded cluster keeps its data (default:"
        " ~/.local/share/arvados-standalone)",
    )
