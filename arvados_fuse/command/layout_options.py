"""The options that say what a mount shows and where, read into a tuple of places.

Names and meanings are those of the official driver's options.
"""

from __future__ import annotations

import argparse
import enum
import json
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from arvados_fuse.command.problem import CommandError
from arvados_fuse.fusedir.idents import is_collection_id, is_project_id

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ALL_PLACES", "Kind", "Place", "add_layout_options", "places"]


class Kind(enum.Enum):
    """What a directory shows. The value is what it is called in messages."""

    HOME = "home project"
    SHARED = "shared projects"
    TMP = "temporary collection"
    BY_ID = "by_id"
    BY_PDH = "by_pdh"
    BY_TAG = "by_tag"
    PROJECT = "project"
    COLLECTION = "collection"


class Place(NamedTuple):
    """A directory of the mount, and what it shows.

    path: its name in the root of the mount; "" if it is the root itself
    target: the id of the project or collection to show; "" for the other kinds
    """

    kind: Kind
    path: str
    target: str = ""


class _Mode(NamedTuple):
    """An option that says what the whole mount is."""

    name: str
    places: tuple[Place, ...]


ALL_PLACES = (
    Place(Kind.HOME, "home"),
    Place(Kind.SHARED, "shared"),
    Place(Kind.BY_ID, "by_id"),
    Place(Kind.BY_TAG, "by_tag"),
)
"""What `--all` shows."""

_CUSTOM = "custom"

_ROOTS = (
    ("--home", Kind.HOME, "your home project"),
    ("--shared", Kind.SHARED, "the projects that are shared with you, by their owners"),
    ("--by-id", Kind.BY_ID, "any collection or project, by uuid or portable data hash"),
    ("--by-pdh", Kind.BY_PDH, "any collection, by portable data hash"),
    ("--by-tag", Kind.BY_TAG, "a directory for each tag, with what is tagged"),
)
_DIRECTORIES = (
    ("--mount-home", Kind.HOME, "your home project"),
    ("--mount-shared", Kind.SHARED, "the projects that are shared with you"),
    ("--mount-tmp", Kind.TMP, "a collection that ends with the mount (with --read-write)"),
    ("--mount-by-id", Kind.BY_ID, "collections and projects by uuid or portable data hash"),
    ("--mount-by-pdh", Kind.BY_PDH, "collections by portable data hash"),
    ("--mount-by-tag", Kind.BY_TAG, "a directory for each tag"),
)


def add_layout_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this module to `parser`."""
    _add_modes(parser)
    group = parser.add_argument_group(
        "directories of your choice (each option any number of times)"
    )
    for flag, kind, text in _DIRECTORIES:
        group.add_argument(
            flag,
            dest="mounts",
            type=partial(Place, kind),
            action="append",
            default=[],
            metavar="NAME",
            help=f"show {text} in the directory NAME",
        )
    group.add_argument(
        "--filters",
        type=_filters,
        default=(),
        metavar="JSON_OR_FILE",
        help="list only what these filters let through, in projects, shared projects and tags: a"
        " JSON list as in list requests of the Arvados API, or a file that holds one",
    )


def _add_modes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to show (one of)").add_mutually_exclusive_group()

    def constant(flag: str, places: tuple[Place, ...], text: str) -> None:
        mode = _Mode(flag.lstrip("-"), places)
        group.add_argument(flag, dest="mode", action="store_const", const=mode, help=text)

    def with_target(flag: str, kind: Kind, known: Callable[[str], bool], text: str) -> None:
        mode = partial(_target_mode, flag.lstrip("-"), kind, known)
        metavar = "UUID_OR_PDH" if kind is Kind.COLLECTION else "UUID"
        group.add_argument(flag, dest="mode", type=mode, metavar=metavar, help=text)

    constant("--all", ALL_PLACES, "home, shared, by_id, by_tag and a README (the default)")
    constant("--custom", (), "the directories of the --mount-... options, and no others")
    for flag, kind, text in _ROOTS:
        constant(flag, (Place(kind, ""),), text)
    with_target("--project", Kind.PROJECT, is_project_id, "the project of this uuid")
    with_target(
        "--collection",
        Kind.COLLECTION,
        is_collection_id,
        "the collection of this uuid or portable data hash",
    )


_EXPECTED_ID = {
    Kind.PROJECT: "the uuid of a project (like zzzzz-j7d0g-0123456789abcde)",
    Kind.COLLECTION: "the uuid of a collection (like zzzzz-4zz18-0123456789abcde) and not a"
    " portable data hash (like d41d8cd98f00b204e9800998ecf8427e+0)",
}


def _target_mode(name: str, kind: Kind, known: Callable[[str], bool], text: str) -> _Mode:
    if not known(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not {_EXPECTED_ID[kind]}")
    return _Mode(name, (Place(kind, "", text),))


def places(namespace: argparse.Namespace) -> tuple[Place, ...]:
    """Return what the parsed options ask for: one place "" for the root, or several in it.

    Raises CommandError (exit code 1, as the official driver) if they contradict each other.
    """
    mode: _Mode | None = namespace.mode
    mounts: list[Place] = namespace.mounts
    if not mounts:
        # Of --custom alone the official driver makes --all.
        return mode.places if mode is not None and mode.places else ALL_PLACES
    if mode is not None and mode.name != _CUSTOM:
        raise CommandError(
            f"--{mode.name} cannot be combined with --mount-... options. Leave out one of them."
        )
    names: set[str] = set()
    for place in mounts:
        _check_name(place.path)
        if place.path in names:
            raise CommandError(
                f"Two --mount-... options name the directory {place.path!r}. Give each its own."
            )
        names.add(place.path)
    return tuple(mounts)


def _check_name(name: str) -> None:
    if name in ("", ".", "..") or "/" in name or "\0" in name or name.startswith(".arvados#"):
        raise CommandError(
            f"{name!r} cannot be the name of a directory in the mount. Give one name, without"
            " a slash, that does not begin with .arvados#."
        )


# -- filters -------------------------------------------------------------------------------


def _filters(text: str) -> tuple[Any, ...]:
    """Read filters of list requests, or the name of a file that holds some, and check them.

    (Arvados documentation, "Common resource methods", "Available list method filters".)
    """
    try:
        filters = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        filters = _filters_of_file(text)
    if not isinstance(filters, list):
        raise argparse.ArgumentTypeError(f"{filters!r} is not a list of filters")
    for filter_ in filters:
        if not _is_filter(filter_):
            raise argparse.ArgumentTypeError(
                f"{filter_!r} is not a filter: a filter is a list of attribute, operator and"
                ' operand, like ["name", "like", "A%"], or a text like "(file_count > 3)"'
            )
    return tuple(filters)


def _filters_of_file(name: str) -> Any:
    try:
        with open(name, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError) as error:  # not JSON, or no name of a file
        reason = getattr(error, "strerror", None) or error
        raise argparse.ArgumentTypeError(
            f"{name!r} is neither JSON nor the name of a file with JSON ({reason})"
        ) from None


def _is_filter(filter_: Any) -> bool:
    if isinstance(filter_, str):
        return filter_ != ""
    return (
        isinstance(filter_, list)
        and len(filter_) == 3
        and isinstance(filter_[0], str)
        and isinstance(filter_[1], str)
    )
