"""System calls as POSIX and the Linux manual pages have them: result, errno, and what it leaves.

Each rule is a function that does something in an empty directory and returns what it saw; beside
it stands what POSIX wants to be seen. As a program, `posix_rules.py DIRECTORY UID` does all of it
as that user, in directories that it makes there, and prints what was seen as JSON.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import socket
import stat
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

NOBODY = 65534
OLD_NS = 1_000_000_000 * 10**9
"""A time long ago, which changes move on from."""


class Rule(NamedTuple):
    """do: tries it in the working directory, and returns what it saw

    wanted: what POSIX wants to be seen by the user who may do anything
    by_others: and by any other user
    """

    do: Callable[[], Any]
    wanted: Any
    by_others: Any


RULES: dict[str, Rule] = {}


def rule(wanted: Any, by_others: Any = None) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Enter a function into the table of rules, with what it must return."""

    def enter(do: Callable[[], Any]) -> Callable[[], Any]:
        RULES[do.__name__] = Rule(do, wanted, wanted if by_others is None else by_others)
        return do

    return enter


def outcome(do: Callable[..., Any], *arguments: Any, **more: Any) -> str:
    """Call `do`: "ok", or the name of the errno that it ends with."""
    try:
        do(*arguments, **more)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def attempt(*arguments: Any) -> str:
    """Open a file and close it again: "ok", or the name of the errno."""
    return outcome(lambda: os.close(os.open(*arguments)))


def kind(path: str) -> str:
    """What is there now: the content of a file, the names in a directory, or nothing."""
    here = Path(path)
    if here.is_dir():
        return f"directory {sorted(os.listdir(here))}"
    return f"file {here.read_text()!r}" if here.exists() else "nothing"


@contextmanager
def opened(path: str, flags: int = os.O_RDWR) -> Iterator[int]:
    """An open file."""
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def age(*paths: str) -> None:
    """Make files and directories old."""
    for path in paths:
        os.utime(path, ns=(OLD_NS, OLD_NS))


def is_new(path: str, clock: str = "st_mtime_ns") -> bool:
    """Whether a time of a file is that of this moment."""
    return bool(abs(getattr(os.stat(path), clock) - time.time_ns()) < 60 * 10**9)


def furnish() -> None:
    """Make one of each kind."""
    for name in ("file", "other"):
        Path(name).write_text(name)
    for name in ("empty", "vacant", "full", "laden"):
        os.mkdir(name)
    for name in ("full", "laden"):
        Path(name, "inner").write_text(name)


# -- rename ---------------------------------------------------------------------------------------

_RENAMES = {
    # (what, over what): what comes of it
    ("file", "missing"): "ok",
    ("file", "other"): "ok",
    ("file", "file"): "ok",
    ("file", "empty"): "EISDIR",
    ("file", "full"): "EISDIR",
    ("empty", "missing"): "ok",
    ("empty", "file"): "ENOTDIR",
    ("empty", "vacant"): "ok",
    ("empty", "full"): "ENOTEMPTY",
    ("empty", "empty"): "ok",
    ("full", "missing"): "ok",
    ("full", "file"): "ENOTDIR",
    ("full", "empty"): "ok",
    ("full", "laden"): "ENOTEMPTY",
    ("full", "full"): "ok",
    ("full", "full/in itself"): "EINVAL",
    ("empty", "empty/in itself"): "EINVAL",
    ("full/inner", "full"): "ENOTEMPTY",
    ("missing", "new"): "ENOENT",
    ("missing", "file"): "ENOENT",
    ("missing", "empty"): "ENOENT",
    ("file", "missing/new"): "ENOENT",
    ("file", "other/new"): "ENOTDIR",
    ("file/inner", "new"): "ENOTDIR",
    ("file", "new/"): "ENOTDIR",
    ("full", "new/"): "ok",
    ("file", "empty/moved"): "ok",
    ("full", "empty/moved"): "ok",
    ("full/inner", "moved"): "ok",
    ("file", "n" * 255): "ok",
    ("file", "n" * 256): "ENAMETOOLONG",
    ("file", "empty/."): "EBUSY",
    ("empty/.", "new"): "EBUSY",
}


def _rename(old: str, new: str) -> Callable[[], Any]:
    def do() -> Any:
        furnish()
        before = kind(old)
        came = outcome(os.rename, old, new)
        if came != "ok":
            return [came, kind(old) == before]
        return [came, kind(new) == before, old == new or kind(old) == "nothing"]

    return do


for (_old, _new), _came in _RENAMES.items():
    RULES[f"rename {_old} to {_new if len(_new) < 99 else len(_new)}"] = Rule(
        _rename(_old, _new),
        *[["ok", True, True] if _came == "ok" else [_came, True]] * 2,
    )


@rule([True, True, True])
def rename_notes_the_time_in_both_directories() -> Any:
    furnish()
    age("full", "empty", "full/inner")
    os.rename("full/inner", "empty/inner")
    return [is_new("full"), is_new("empty"), os.stat("empty/inner").st_mtime_ns == OLD_NS]


@rule([True, "file"])
def rename_keeps_the_inode() -> Any:
    furnish()
    before = os.stat("file").st_ino
    os.rename("file", "full/moved")
    return [os.stat("full/moved").st_ino == before, Path("full/moved").read_text()]


@rule(["file", 0])
def a_replaced_file_that_is_open_lives_on() -> Any:
    furnish()
    with opened("file") as descriptor:
        os.rename("other", "file")
        return [os.read(descriptor, 99).decode(), os.fstat(descriptor).st_nlink]


@rule("file, changed")
def a_renamed_file_that_is_open_is_written_to() -> Any:
    furnish()
    with opened("file") as descriptor:
        os.rename("file", "full/moved")
        os.pwrite(descriptor, b", changed", 4)
    return Path("full/moved").read_text()


# -- mkdir, rmdir, unlink ---------------------------------------------------------------------

_NAMES = {
    "missing": ("ok", "ENOENT", "ENOENT"),
    "file": ("EEXIST", "ENOTDIR", "ok"),
    "empty": ("EEXIST", "ok", "EISDIR"),
    "full": ("EEXIST", "ENOTEMPTY", "EISDIR"),
    "missing/new": ("ENOENT", "ENOENT", "ENOENT"),
    "file/new": ("ENOTDIR", "ENOTDIR", "ENOTDIR"),
    "n" * 255: ("ok", "ENOENT", "ENOENT"),
    "n" * 256: ("ENAMETOOLONG", "ENAMETOOLONG", "ENAMETOOLONG"),
    "p/" * 2100: ("ENAMETOOLONG", "ENAMETOOLONG", "ENAMETOOLONG"),
    "empty/.": ("EEXIST", "EINVAL", "EISDIR"),
    "full/..": ("EEXIST", "ENOTEMPTY", "EISDIR"),
    "": ("ENOENT", "ENOENT", "ENOENT"),
}


def _on_name(do: Callable[[str], Any], name: str) -> Callable[[], Any]:
    def trying() -> Any:
        furnish()
        return outcome(do, name)

    return trying


for (_name, _outcomes), (_number, _call) in product(
    _NAMES.items(), enumerate((os.mkdir, os.rmdir, os.unlink))
):
    _shown = _name if len(_name) < 99 else len(_name)
    RULES[f"{_call.__name__} of {_shown!r}"] = Rule(
        _on_name(_call, _name), *[_outcomes[_number]] * 2
    )


@rule([True, True, "directory []", True])
def mkdir_notes_the_time() -> Any:
    os.mkdir("parent")
    age("parent")
    os.mkdir("parent/child")
    made = os.stat("parent/child")
    return [
        is_new("parent"),
        is_new("parent/child"),
        kind("parent/child"),
        stat.S_ISDIR(made.st_mode),
    ]


@rule([True, 1, True])
def rmdir_notes_the_time() -> Any:
    furnish()
    os.mkdir("full/child")
    age("full")
    os.rmdir("full/child")
    return [is_new("full"), len(os.listdir("full")), not os.path.exists("full/child")]


@rule([True, False])
def unlink_notes_the_time() -> Any:
    furnish()
    age("full")
    os.unlink("full/inner")
    return [is_new("full"), os.path.exists("full/inner")]


@rule([0, 0])
def a_directory_that_was_removed_or_replaced_has_no_links() -> Any:
    for name in ("removed", "replaced", "other"):
        os.mkdir(name)
    with opened("removed", os.O_RDONLY) as removed, opened("replaced", os.O_RDONLY) as replaced:
        os.rmdir("removed")
        os.rename("other", "replaced")
        return [os.fstat(descriptor).st_nlink for descriptor in (removed, replaced)]


@rule(["inner", 0, "more"])
def an_unlinked_file_that_is_open_lives_on() -> Any:
    os.mkdir("d")
    Path("d/f").write_text("inner")
    with opened("d/f") as descriptor:
        os.unlink("d/f")
        os.rmdir("d")
        first = os.read(descriptor, 99).decode()
        os.pwrite(descriptor, b"more", 100)
        return [first, os.fstat(descriptor).st_nlink, os.pread(descriptor, 99, 100).decode()]


@rule(["ENOENT", "ENOENT"])
def nothing_is_made_in_a_directory_that_was_removed() -> Any:
    os.mkdir("d")
    with opened("d", os.O_RDONLY) as descriptor:
        os.rmdir("d")
        return [
            outcome(os.mkdir, "child", dir_fd=descriptor),
            outcome(os.open, "child", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor),
        ]


@rule([["old"], ["new", "old"], ["new"]])
def a_directory_that_is_rewound_shows_what_is_there_now() -> Any:
    os.mkdir("d")
    Path("d/old").touch()
    with opened("d", os.O_RDONLY) as descriptor:
        seen = [os.listdir(descriptor)]  # which rewinds it in the end
        Path("d/new").touch()
        seen.append(sorted(os.listdir(descriptor)))
        os.unlink("d/old")
        seen.append(os.listdir(descriptor))
    return seen


@rule([3, 2])
def a_directory_counts_its_subdirectories() -> Any:
    os.makedirs("d/sub")
    before = os.stat("d").st_nlink
    os.rmdir("d/sub")
    return [before, os.stat("d").st_nlink]


# -- open -----------------------------------------------------------------------------------------

_OPENS = {
    # (flags, name): outcome
    (os.O_RDONLY, "missing"): "ENOENT",
    (os.O_RDWR, "missing"): "ENOENT",
    (os.O_RDONLY | os.O_CREAT, "missing"): "ok",
    (os.O_WRONLY | os.O_CREAT, "file"): "ok",
    (os.O_WRONLY | os.O_CREAT | os.O_EXCL, "missing"): "ok",
    (os.O_WRONLY | os.O_CREAT | os.O_EXCL, "file"): "EEXIST",
    (os.O_WRONLY | os.O_CREAT | os.O_EXCL, "empty"): "EEXIST",
    (os.O_RDONLY, "empty"): "ok",
    (os.O_WRONLY, "empty"): "EISDIR",
    (os.O_RDWR, "empty"): "EISDIR",
    (os.O_RDONLY | os.O_CREAT, "empty"): "EISDIR",
    (os.O_WRONLY | os.O_TRUNC, "empty"): "EISDIR",
    (os.O_RDONLY | os.O_DIRECTORY, "empty"): "ok",
    (os.O_RDONLY | os.O_DIRECTORY, "file"): "ENOTDIR",
    (os.O_RDONLY | os.O_DIRECTORY, "missing"): "ENOENT",
    (os.O_WRONLY | os.O_CREAT, "file/new"): "ENOTDIR",
    (os.O_WRONLY | os.O_CREAT, "missing/new"): "ENOENT",
    (os.O_WRONLY | os.O_CREAT, "n" * 255): "ok",
    (os.O_WRONLY | os.O_CREAT, "n" * 256): "ENAMETOOLONG",
    (os.O_RDONLY | os.O_NOFOLLOW, "file"): "ok",
    (os.O_RDONLY, "file/"): "ENOTDIR",
    (os.O_WRONLY | os.O_CREAT, "new/"): "EISDIR",
}

_FLAGS = ("CREAT", "EXCL", "TRUNC", "DIRECTORY", "NOFOLLOW")


def _open(flags: int, name: str) -> Callable[[], Any]:
    def trying() -> Any:
        furnish()
        return attempt(name, flags)

    return trying


def _flag_names(flags: int) -> str:
    mode = ("RDONLY", "WRONLY", "RDWR")[flags & os.O_ACCMODE]
    return "|".join([mode, *(name for name in _FLAGS if flags & getattr(os, f"O_{name}"))])


for (_flags, _name), _came in _OPENS.items():
    _shown = _name if len(_name) < 99 else f"{len(_name)} n"
    RULES[f"open {_flag_names(_flags)} {_shown}"] = Rule(_open(_flags, _name), _came, _came)


@rule([0, 0, True, 1, True])
def create_makes_an_empty_file_and_notes_the_time() -> Any:
    os.mkdir("d")
    age("d")
    with opened("d/f", os.O_CREAT | os.O_WRONLY):
        made = os.stat("d/f")
    return [made.st_size, made.st_blocks, is_new("d/f"), made.st_nlink, is_new("d")]


@rule(True)
def create_belongs_to_who_made_it() -> Any:
    os.mkdir("d")
    Path("f").write_text("x")
    return [(os.stat(p).st_uid, os.stat(p).st_gid) for p in "df"] == [
        (os.getuid(), os.getgid())
    ] * 2


@rule(0o640)
def a_new_file_has_the_mode_asked_for() -> Any:
    os.umask(0)
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, 0o640))
    return stat.S_IMODE(os.stat("f").st_mode)


@rule(0o750)
def a_new_directory_has_the_mode_asked_for() -> Any:
    os.umask(0)
    os.mkdir("d", 0o750)
    return stat.S_IMODE(os.stat("d").st_mode)


@rule([0, True, 0])
def o_trunc_empties_the_file_and_notes_the_time() -> Any:
    furnish()
    age("file")
    with opened("file", os.O_WRONLY | os.O_TRUNC):
        found = os.stat("file")
        return [found.st_size, is_new("file"), found.st_blocks]


@rule("abcXYdef")
def o_append_writes_at_the_end_whoever_has_written_meanwhile() -> Any:
    Path("f").write_text("abc")
    with opened("f", os.O_WRONLY | os.O_APPEND) as first, opened("f", os.O_WRONLY) as second:
        os.lseek(first, 0, os.SEEK_SET)
        os.pwrite(second, b"XY", 3)
        os.write(first, b"def")
    return Path("f").read_text()


@rule(["EBADF", "EBADF"])
def a_descriptor_does_only_what_it_was_opened_for() -> Any:
    furnish()
    with opened("file", os.O_RDONLY) as reader, opened("file", os.O_WRONLY) as writer:
        return [outcome(os.write, reader, b"x"), outcome(os.read, writer, 1)]


@rule("EISDIR")
def a_directory_is_not_read_as_a_file() -> Any:
    furnish()
    with opened("empty", os.O_RDONLY) as descriptor:
        return outcome(os.read, descriptor, 1)


@rule(["x", 0])
def o_tmpfile_or_its_like_has_no_name() -> Any:
    with opened("f", os.O_RDWR | os.O_CREAT | os.O_EXCL) as descriptor:
        os.unlink("f")
        os.write(descriptor, b"x")
        return [os.pread(descriptor, 9, 0).decode(), len(os.listdir("."))]


# -- write, size ----------------------------------------------------------------------------------


@rule([True, 5, True])
def write_notes_the_time_and_the_size() -> Any:
    furnish()
    age("file")
    with opened("file", os.O_WRONLY) as descriptor:
        os.write(descriptor, b"fives")
        found = os.fstat(descriptor)
    return [is_new("file"), found.st_size, found.st_blocks > 0 or found.st_size < 4096]


@rule(["ok", 4, True])
def writing_nothing_changes_nothing() -> Any:
    furnish()
    age("file")
    with opened("file", os.O_WRONLY) as descriptor:
        came = outcome(os.write, descriptor, b"")
    return [came, os.stat("file").st_size, os.stat("file").st_mtime_ns == OLD_NS]


@rule(["file\0\0\0\0\0\0x", 11])
def writing_behind_the_end_leaves_zeros() -> Any:
    furnish()
    with opened("file", os.O_WRONLY) as descriptor:
        os.pwrite(descriptor, b"x", 10)
    return [Path("file").read_text(), os.stat("file").st_size]


_SIZES = (0, 1, 3, 4, 5, 4096, 100_000)


@rule([[size, ("file" + "\0" * size)[:size], True] for size in _SIZES])
def truncate_cuts_or_adds_zeros_and_notes_the_time() -> Any:
    seen = []
    for size in _SIZES:
        Path("f").write_text("file")
        age("f")
        os.truncate("f", size)
        # The time is noted by truncate, as the manual page has it, if the size changes.
        noted = is_new("f") or size == 4
        seen.append([os.stat("f").st_size, Path("f").read_text(), noted])
    return seen


@rule([2, "fi", True])
def ftruncate_does_the_same() -> Any:
    furnish()
    age("file")
    with opened("file") as descriptor:
        os.ftruncate(descriptor, 2)
        size = os.fstat(descriptor).st_size
    return [size, Path("file").read_text(), is_new("file")]


@rule(["EISDIR", "ENOENT", "ENOTDIR", "EINVAL"])
def truncate_fails() -> Any:
    furnish()
    return [
        outcome(os.truncate, "empty", 0),
        outcome(os.truncate, "missing", 0),
        outcome(os.truncate, "file/x", 0),
        outcome(os.truncate, "file", -1),
    ]


@rule(["EINVAL", "EINVAL"])
def ftruncate_of_what_is_open_for_reading_fails() -> Any:
    furnish()
    with opened("file", os.O_RDONLY) as descriptor:
        return [outcome(os.ftruncate, descriptor, 0), outcome(os.ftruncate, descriptor, -1)]


@rule(["EFBIG", 4])
def a_size_that_no_file_can_have() -> Any:
    furnish()
    return [outcome(os.truncate, "file", 2**62), os.stat("file").st_size]


@rule(["EFBIG", 4])
def a_write_where_no_file_can_be() -> Any:
    furnish()
    with opened("file", os.O_WRONLY) as descriptor:
        return [outcome(os.pwrite, descriptor, b"x", 2**62), os.stat("file").st_size]


@rule(True)
def what_was_truncated_does_not_come_back() -> Any:
    Path("f").write_bytes(b"x" * 10_000)
    os.truncate("f", 10)
    os.truncate("f", 10_000)
    return Path("f").read_bytes() == b"x" * 10 + bytes(9990)


@rule([b"abcMAPPEDj".decode(), b"abcMAPPEDj".decode()])
def a_shared_mapping_writes_to_the_file() -> Any:
    Path("f").write_text("abcdefghij")
    with opened("f") as descriptor:
        with mmap.mmap(descriptor, 10) as mapped:
            mapped[3:9] = b"MAPPED"
            mapped.flush()
            seen = os.pread(descriptor, 10, 0).decode()
    return [seen, Path("f").read_text()]


@rule([0, 10_000])
def lseek_finds_data() -> Any:
    Path("f").write_bytes(b"x" * 10_000)
    with opened("f") as descriptor:
        return [os.lseek(descriptor, 0, os.SEEK_DATA), os.lseek(descriptor, 0, os.SEEK_HOLE)]


@rule("ok")
def a_lock_can_be_taken() -> Any:
    Path("f").write_text("")
    with opened("f") as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return outcome(fcntl.lockf, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@rule(["ok", "ok", "ok"])
def everything_can_be_made_durable() -> Any:
    furnish()
    with opened("file") as file, opened("full", os.O_RDONLY) as directory:
        return [
            outcome(os.fsync, file),
            outcome(os.fdatasync, file),
            outcome(os.fsync, directory),
        ]


# -- attributes -----------------------------------------------------------------------------------


@rule([0o600, 0o751, 0o644, True, True])
def chmod_sets_the_mode_and_not_the_time() -> Any:
    furnish()
    age("file")
    os.chmod("file", 0o600)
    os.chmod("empty", 0o751)
    with opened("other") as descriptor:
        os.fchmod(descriptor, 0o644)
    return [
        *(stat.S_IMODE(os.stat(name).st_mode) for name in ("file", "empty", "other")),
        os.stat("file").st_mtime_ns == OLD_NS,
        is_new("file", "st_ctime_ns"),
    ]


@rule(["ENOENT", "ENOTDIR"])
def chmod_fails() -> Any:
    furnish()
    return [outcome(os.chmod, "missing", 0o600), outcome(os.chmod, "file/x", 0o600)]


@rule([1, 2], "EPERM")
def chown_is_for_root() -> Any:
    furnish()
    came = outcome(os.chown, "file", 1, 2)
    return [os.stat("file").st_uid, os.stat("file").st_gid] if came == "ok" else came


@rule(["ok", True])
def chown_to_oneself_changes_nothing() -> Any:
    furnish()
    before = os.stat("file").st_mtime_ns
    came = outcome(os.chown, "file", os.getuid(), os.getgid())
    return [came, os.stat("file").st_mtime_ns == before]


@rule(["ENOENT", "ENOTDIR"])
def chown_fails() -> Any:
    furnish()
    return [outcome(os.chown, "missing", -1, -1), outcome(os.chown, "file/x", -1, -1)]


@rule([OLD_NS + 123456789] * 3)
def utimens_sets_the_time_of_change() -> Any:
    furnish()
    times = (OLD_NS, OLD_NS + 123456789)
    os.utime("file", ns=times)
    os.utime("full", ns=times)
    with opened("other") as descriptor:
        os.utime(descriptor, ns=times)
    return [os.stat(name).st_mtime_ns for name in ("file", "full", "other")]


@rule(True)
def utimens_sets_the_time_of_access() -> Any:
    furnish()
    os.utime("file", ns=(OLD_NS + 1, OLD_NS + 2))
    return os.stat("file").st_atime_ns == OLD_NS + 1


@rule([True, True])
def utimens_without_times_means_now() -> Any:
    furnish()
    age("file")
    os.utime("file")
    return [is_new("file"), is_new("file", "st_ctime_ns")]


@rule(True)
def utimens_notes_the_time_of_the_last_attribute_change() -> Any:
    furnish()
    age("file")
    return is_new("file", "st_ctime_ns")


@rule([0, 0, -(10**9)])
def utimens_takes_times_before_1970() -> Any:
    furnish()
    os.utime("file", ns=(0, 0))
    os.utime("full", ns=(0, 0))
    os.utime("other", ns=(0, -(10**9)))
    return [os.stat(name).st_mtime_ns for name in ("file", "full", "other")]


@rule(["ENOENT", "ENOTDIR"])
def utimens_fails() -> Any:
    furnish()
    return [outcome(os.utime, "missing"), outcome(os.utime, "file/x")]


@rule([True, True])
def times_hold_when_the_file_is_committed() -> Any:
    furnish()
    age("file", "full")
    with opened("file") as descriptor:
        os.fsync(descriptor)
    return [os.stat(name).st_mtime_ns == OLD_NS for name in ("file", "full")]


@rule([OLD_NS, 0o600])
def attributes_move_along_with_a_directory() -> Any:
    furnish()
    age("full/inner")
    os.chmod("full/inner", 0o600)
    os.rename("full", "empty/moved")
    found = os.stat("empty/moved/inner")
    return [found.st_mtime_ns, stat.S_IMODE(found.st_mode)]


@rule([True, True])
def access_is_granted_to_who_made_it() -> Any:
    furnish()
    return [os.access("file", os.R_OK | os.W_OK), os.access("full", os.R_OK | os.W_OK | os.X_OK)]


# -- links and other kinds --------------------------------------------------------------------


@rule(["ok", 2])
def link_makes_a_second_name() -> Any:
    furnish()
    return [outcome(os.link, "file", "second"), os.stat("file").st_nlink]


@rule(["EEXIST", "ENOENT", "EPERM"])
def link_fails() -> Any:
    furnish()
    return [
        outcome(os.link, "file", "other"),
        outcome(os.link, "missing", "second"),
        outcome(os.link, "empty", "second"),
    ]


@rule(["ok", "file"])
def symlink_makes_a_link() -> Any:
    furnish()
    came = outcome(os.symlink, "file", "link")
    return [came, os.readlink("link") if came == "ok" else kind("link")]


@rule(["EEXIST", "ENOENT"])
def symlink_fails() -> Any:
    furnish()
    return [outcome(os.symlink, "x", "file"), outcome(os.symlink, "x", "missing/link")]


@rule("EINVAL")
def readlink_of_a_file_fails() -> Any:
    furnish()
    return outcome(os.readlink, "file")


@rule(["ok", 0, 1])
def mknod_makes_a_file() -> Any:
    came = outcome(os.mknod, "f", stat.S_IFREG | 0o644)
    return [came, os.stat("f").st_size, os.stat("f").st_nlink]


@rule(["EEXIST", "ENOENT", "ENOTDIR"])
def mknod_fails() -> Any:
    furnish()
    return [outcome(os.mknod, name) for name in ("file", "missing/new", "file/new")]


@rule("ok")
def mknod_makes_a_pipe() -> Any:
    return outcome(os.mkfifo, "pipe")


@rule("ok", "EPERM")
def mknod_makes_a_device() -> Any:
    return outcome(os.mknod, "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))


@rule("ok")
def a_socket_can_be_bound() -> Any:
    with socket.socket(socket.AF_UNIX) as server:
        return outcome(server.bind, "socket")


_ODD_NAMES = ["\x01", "...", "a\\b", "line\nfeed", "nai\u0308ve \u2603", "sp ace", "tab\there"]


@rule([_ODD_NAMES, True])
def names_of_all_kinds() -> Any:
    os.mkdir("d")
    for name in _ODD_NAMES:
        Path("d", name).write_text(name)
    found = sorted(os.listdir("d"))
    return [found, all(Path("d", name).read_text() == name for name in found)]


# -- the program ----------------------------------------------------------------------------------


def main(directory: str, user: int) -> None:
    """Do everything as `user` in directories below `directory`, and print what was seen."""
    if user != os.getuid():
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    os.umask(0o022)
    seen = {}
    base = Path(directory).absolute()
    for number, (name, do) in enumerate((name, rule.do) for name, rule in RULES.items()):
        place = base / f"rule{number}"
        place.mkdir()
        os.chdir(place)
        mask = os.umask(0o022)
        try:
            seen[name] = do()
        except Exception as error:
            seen[name] = f"{error!r} at {traceback.extract_tb(error.__traceback__)[-1]}"
        finally:
            os.umask(mask)
    os.chdir("/")
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
