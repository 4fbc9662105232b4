"""Where the files of a user are unless something else is said, and who has what was denied."""

import os
import pwd
from pathlib import Path

import pytest

from arvados_fuse.command import owners, usual

PLACES = [
    (usual.cache_dir, "XDG_CACHE_HOME", ".cache", "arvados/keep"),
    (usual.journal_dir, "XDG_STATE_HOME", ".local/state", "arvados/journal"),
    (usual.standalone_dir, "XDG_DATA_HOME", ".local/share", "arvados-standalone"),
]
NO_USER = 4_000_000_000


@pytest.fixture(autouse=True)
def home(monkeypatch):
    """A home of which nothing is said."""
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    for _, variable, *_ in PLACES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", "/home/she")


@pytest.mark.parametrize(("place", "variable", "base", "name"), PLACES)
def test_is_below_the_home_or_where_the_variable_says(monkeypatch, place, variable, base, name):
    assert place() == Path("/home/she", base, name)
    monkeypatch.setenv(variable, "/elsewhere")
    assert place() == Path("/elsewhere", name)


@pytest.mark.parametrize("nothing", ["", "relative/path"])
@pytest.mark.parametrize(("place", "variable", "base", "name"), PLACES)
def test_a_variable_that_is_no_absolute_path_does_not_count(
    monkeypatch, place, variable, base, name, nothing
):
    monkeypatch.setenv(variable, nothing)
    assert place() == Path("/home/she", base, name)


def test_a_service_has_a_cache_of_its_own(monkeypatch):
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/one:/var/cache/two")
    assert usual.cache_dir() == Path("/var/cache/one/keep")


@pytest.mark.parametrize("nobody_says", [True, False])
def test_who_has_no_home_has_the_root(monkeypatch, nobody_says):
    monkeypatch.delenv("HOME")
    if nobody_says:
        monkeypatch.setattr(os, "getuid", lambda: NO_USER)
    usual.ensure_home()
    expected = "/" if nobody_says else pwd.getpwuid(os.getuid()).pw_dir
    assert Path.home() == Path(expected)


class TestOwner:
    """What is said of who has what one may not use."""

    def test_of_a_user_that_the_machine_knows_is_the_name(self):
        assert owners.name(0) == "root"

    def test_of_another_is_the_number(self):
        assert owners.name(NO_USER) == f"the user with number {NO_USER}"

    def test_is_said_of_the_nearest_that_there_is(self, monkeypatch, tmp_path):
        mine = owners.name(os.getuid())
        monkeypatch.setattr(os, "geteuid", lambda: NO_USER)
        said = owners.remark(PermissionError(), tmp_path / "not there" / "at all")
        assert said == f" ({tmp_path} belongs to {mine})"

    def test_is_said_when_a_permission_is_the_cause(self, monkeypatch, tmp_path):
        monkeypatch.setattr(os, "geteuid", lambda: NO_USER)
        error = ValueError()
        error.__cause__ = PermissionError()
        assert "belongs to" in owners.remark(error, tmp_path)

    def test_is_not_said_of_what_is_ours(self, tmp_path):
        assert owners.remark(PermissionError(), tmp_path) == ""

    def test_is_not_said_of_other_errors(self, monkeypatch, tmp_path):
        monkeypatch.setattr(os, "geteuid", lambda: NO_USER)
        assert owners.remark(FileNotFoundError(), tmp_path) == ""
