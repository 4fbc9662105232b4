"""The command line of `arv-mount`, read into one frozen settings object.

Options have the names, defaults and meanings of the official driver's; those that it does not
have are in a group of their own.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arvados_fuse.command.layout_options import Place, add_layout_options, places
from arvados_fuse.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Settings", "make_parser", "parse"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the command line says.

    mount_dir: where to mount, absolute
    places: what is shown where
    filters: that listings of projects are narrowed down with, as in list requests of the API
    command: for --exec; empty without
    logfile: where log lines go; None for standard error, or the system log when in background
    refresh_time_s: for how long what the cluster said is trusted
    directory_cache, file_cache: limits in bytes; a file_cache of 0 is chosen from what is free
    disk_cache_dir: None for the usual place
    standalone_dir: the embedded cluster to run or join; None to use the configured cluster
    """

    mount_dir: Path
    places: tuple[Place, ...]
    filters: tuple[Any, ...]
    command: tuple[str, ...]
    foreground: bool
    allow_other: bool
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

    Prints usage and ends the process with code 2 if it is wrong; raises CommandError for options
    that contradict each other where the official driver ends with another code.
    """
    parser = make_parser()
    found = parser.parse_args(arguments)
    if found.standalone_dir is not None and not found.standalone:
        parser.error("--standalone-dir is only of use with --standalone")
    if found.command == []:
        parser.error("--exec needs a command")
    command = found.command or ()
    if command and found.foreground:
        parser.error("--exec runs in the foreground already: leave out --foreground")
    return Settings(
        mount_dir=Path(os.path.abspath(found.mount_dir)),
        places=places(found),
        filters=found.filters,
        command=tuple(command),
        foreground=found.foreground,
        allow_other=found.allow_other,
        debug=found.debug,
        logfile=found.logfile,
        retries=found.retries,
        refresh_time_s=found.refresh_time,
        directory_cache=found.directory_cache,
        file_cache=found.file_cache,
        ram_cache=found.ram_cache,
        disk_cache_dir=found.disk_cache_dir,
        standalone_dir=(found.standalone_dir or _standalone_dir()) if found.standalone else None,
    )


def _standalone_dir() -> Path:
    data_home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data_home) / "arvados-standalone"


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line, which also knows all options for the documents."""
    parser = argparse.ArgumentParser(
        prog="arv-mount",
        description="Show an Arvados cluster as a file system, read-only.",
        epilog="The cluster and token are taken from ARVADOS_API_HOST and ARVADOS_API_TOKEN, in"
        " the environment or in ~/.config/arvados/settings.conf. Unmount with: fusermount -u"
        " MOUNT_DIR",
    )
    parser.add_argument("mount_dir", metavar="MOUNT_DIR", help="an empty directory to mount on")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--exec",
        dest="command",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="mount, run the command that is the rest of the line, unmount, and exit with the"
        " command's exit code",
    )
    add_layout_options(parser)
    _add_mount_options(parser)
    _add_cache_options(parser)
    _add_own_options(parser)
    return parser


def _add_mount_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how to mount")
    group.add_argument("--foreground", action="store_true", help="stay in the foreground")
    group.add_argument(
        "--read-only", action="store_true", help="refuse all changes (always so, so far)"
    )
    group.add_argument(
        "--allow-other", action="store_true", help="let other users read the mount too"
    )
    group.add_argument("--debug", action="store_true", help="log more")
    group.add_argument("--logfile", type=Path, metavar="FILE", help="append log lines to FILE")
    group.add_argument(
        "--retries",
        type=_at_least(0),
        default=10,
        metavar="N",
        help="how often to repeat a request that failed for a passing reason (default: 10)",
    )
    group.add_argument(
        "--refresh-time",
        type=_at_least(0),
        default=15,
        metavar="SECONDS",
        help="how long to trust what the cluster said (default: 15)",
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
        type=Path,
        metavar="DIR",
        help="where the disk cache is (default: ~/.cache/arvados/keep)",
    )
    group.add_argument(
        "--file-cache",
        type=_at_least(0),
        default=0,
        metavar="BYTES",
        help="size of the cache of file data (default: 0, which means 256 MiB in memory, and on"
        " disk what fits well)",
    )
    group.add_argument(
        "--directory-cache",
        type=_at_least(0),
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
        type=Path,
        metavar="DIR",
        help="where the embedded cluster keeps its data (default:"
        " ~/.local/share/arvados-standalone)",
    )


class _at_least:  # noqa: N801 - reads as the type of an argument
    """An argument type: a whole number that is not smaller than `least`."""

    def __init__(self, least: int) -> None:
        self._least = least

    def __call__(self, text: str) -> int:
        if not text.isdecimal() or int(text) < self._least:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number of {self._least} or more"
            )
        return int(text)
