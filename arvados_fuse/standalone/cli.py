"""The command ``arv-standalone``: an Arvados cluster in the foreground."""

from __future__ import annotations

import argparse
import logging
import sqlite3
import sys
from collections.abc import Container, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from arvados_fuse.standalone import cluster, garbage, people
from arvados_fuse.standalone.directory import DATABASE, DirectoryUnusable
from arvados_fuse.standalone.network import AddressUnusable, network
from arvados_fuse.standalone.records.database import DatabaseUnusable
from arvados_fuse.usage import ArgumentParser, OutputError, say
from arvados_fuse.version import __version__

__all__ = ["main"]

logger = logging.getLogger(__name__)


def _directory(commands: Container[str], text: str) -> Path:
    """Read the path of a cluster's directory, where `commands` stand that came too early."""
    if not text:
        raise argparse.ArgumentTypeError("the name of a directory is needed")
    if text in commands:
        raise argparse.ArgumentTypeError(
            f"{text!r} is a command, which stands after the directory: arv-standalone DIR {text};"
            f" if it is a directory, say ./{text}"
        )
    return Path(text)


def _up_to(most: int, text: str) -> int:
    """Read a number from 1 to `most`."""
    if not text.isdecimal() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {most}")
    return int(text)


_port = partial(_up_to, 65535)
_service_count = partial(_up_to, cluster.MOST_KEEP_SERVICES)


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog="arv-standalone",
        description="Run an Arvados cluster on this machine, for this user. All of"
        " it is in one directory. To use it: source DIR/env.sh in a shell, then any Arvados"
        " command. It ends with Ctrl-C or SIGTERM.",
        allow_abbrev=False,
    )
    place = parser.add_argument("directory", metavar="DIR", help="made if it is not there")
    ports = "default: that of the last time, or any that is free"
    parser.add_argument("--api-port", type=_port, metavar="PORT", help=f"of the REST API ({ports})")
    parser.add_argument("--keep-port", type=_port, metavar="PORT", help=f"of Keep ({ports})")
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        help="let other machines reach it, on this IPv4 address, or on all for 0.0.0.0 (default:"
        " 127.0.0.1); read the warning that it prints",
    )
    parser.add_argument(
        "--name",
        metavar="HOST",
        help="under which clients reach it (default: ADDRESS, for 0.0.0.0 the name of the machine)",
    )
    parser.add_argument(
        "--keep-services",
        type=_service_count,
        metavar="N",
        help=f"how many Keep services there are, {cluster.MOST_KEEP_SERVICES} at most, each with"
        " blocks of its own (default: as many as the last time, 1 at first; never fewer)",
    )
    parser.add_argument(
        "--sample", action="store_true", help="put a sample project into a new cluster"
    )
    parser.add_argument(
        "--while-used",
        action="store_true",
        help="end when no process holds a shared lock on DIR/users.lock (arv-mount does)",
    )
    parser.add_argument(
        "--faults",
        action="store_true",
        help="for tests: let administrators make it misbehave by requests to /_control",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.set_defaults(run=_run_cluster)
    commands = parser.add_subparsers(
        metavar="[user ... | gc]", title="other things to do with a cluster that runs or not"
    )
    place.type = partial(_directory, commands.choices)
    _add_user_commands(commands)
    gc = commands.add_parser(
        "gc", help="list blocks of Keep that nothing refers to, or move them to a trash"
    )
    action = gc.add_mutually_exclusive_group()
    action.add_argument(
        "--delete",
        action="store_const",
        dest="action",
        const=garbage.collect,
        help="move them to the trash, and delete what has been there for two weeks",
    )
    action.add_argument(
        "--untrash",
        action="store_const",
        dest="action",
        const=garbage.untrash,
        help="take all blocks out of the trash",
    )
    gc.set_defaults(action=garbage.list_garbage)
    gc.set_defaults(run=_collect_garbage)
    return parser


def _add_user_commands(commands: Any) -> None:
    user = commands.add_parser("user", help="add users; see arv-standalone DIR user --help")
    actions = user.add_subparsers(required=True, metavar="add|env")
    add = actions.add_parser("add", help="make an active user, and print the uuid")
    add.add_argument("name", metavar="NAME", help="letters and digits, a letter first")
    add.add_argument("--email", help="default: NAME@localhost")
    add.add_argument("--admin", action="store_true", help="an administrator, who may do everything")
    add.set_defaults(run=_add_user)
    env = actions.add_parser("env", help="print what env.sh is for a user")
    env.add_argument("name", metavar="NAME")
    env.set_defaults(run=_print_environment)


def _collect_garbage(parsed: argparse.Namespace) -> None:
    for line in parsed.action(parsed.directory):
        say(line)


def _add_user(parsed: argparse.Namespace) -> None:
    say(people.add_user(parsed.directory, parsed.name, parsed.email, is_admin=parsed.admin))


def _print_environment(parsed: argparse.Namespace) -> None:
    say(people.environment_of(parsed.directory, parsed.name).rstrip("\n"))


def _run_cluster(parsed: argparse.Namespace) -> None:
    place = network(parsed.listen, parsed.name)
    if place.warning:
        logger.warning(place.warning)
    settings = cluster.Settings(
        directory=parsed.directory.absolute(),
        api_port=parsed.api_port,
        keep_port=parsed.keep_port,
        keep_services=parsed.keep_services,
        network=place,
        faults=parsed.faults,
        sample=parsed.sample,
        while_used=parsed.while_used,
    )
    cluster.run(settings, say)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s arv-standalone[%(process)d] %(levelname)s: %(message)s",
    )
    try:
        parsed.run(parsed)
    except (
        DirectoryUnusable,
        DatabaseUnusable,
        OutputError,
        AddressUnusable,
        cluster.PortTaken,
        cluster.TooFewServices,
        people.PeopleError,
    ) as error:
        print(f"arv-standalone: {error}", file=sys.stderr)
        return 1
    except sqlite3.Error as error:
        database = parsed.directory / DATABASE
        print(f"arv-standalone: cannot use the database {database}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"arv-standalone: cannot run on {parsed.directory}: {error}", file=sys.stderr)
        return 1
    return 0
