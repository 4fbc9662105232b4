"""The command line: defaults, conflicts, and one clear line for what is wrong."""

from pathlib import Path

import pytest

from arvados_fuse.command.arguments import Action, Settings, parse
from arvados_fuse.command.layout_options import ALL_PLACES
from arvados_fuse.version import __version__

PROJECT = "zzzzz-j7d0g-0123456789abcde"
COLLECTION = "zzzzz-4zz18-0123456789abcde"
PDH = "d41d8cd98f00b204e9800998ecf8427e+0"


def refused(capsys, *arguments: str) -> str:
    """Read a command line that is wrong; return the one line that says why."""
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    start, end = "arv-mount: ", "; see arv-mount --help\n"
    assert err.startswith(start)
    assert err.endswith(end)
    assert err.count("\n") == 1
    return err[len(start) : -len(end)]


def test_defaults_are_those_of_the_official_driver(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert parse([str(tmp_path)]) == Settings(
        mount_dir=tmp_path,
        action=Action.MOUNT,
        places=ALL_PLACES,
        filters=(),
        command=(),
        foreground=False,
        allow_other=False,
        writable=False,
        subtype="",
        unmount_timeout_s=2.0,
        crunchstat_interval_s=0,
        encoding="utf-8",
        storage_classes=(),
        listen_for_events=True,
        commit_delay_s=1,
        journal_dir=Path("/state/arvados/journal"),
        journal_size=0,
        recover=None,
        journal="",
        debug=False,
        logfile=None,
        retries=10,
        refresh_time_s=15,
        directory_cache=134217728,
        file_cache=0,
        ram_cache=False,
        disk_cache_dir=None,
        standalone_dir=None,
    )


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        parse(["mnt"]).retries = 3


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--foreground"], "foreground", True),
        (["--allow-other"], "allow_other", True),
        (["--debug"], "debug", True),
        (["--read-write"], "writable", True),
        (["--enable-write"], "writable", True),
        (["--read-write", "--read-only"], "writable", False),
        (["--subtype", "abc"], "subtype", "abc"),
        (["--replace"], "action", Action.REPLACE),
        (["--unmount"], "action", Action.UNMOUNT),
        (["--unmount-all"], "action", Action.UNMOUNT_ALL),
        (["--unmount-timeout", "8"], "unmount_timeout_s", 8.0),
        (["--unmount-timeout=0.5"], "unmount_timeout_s", 0.5),
        (["--crunchstat-interval=10"], "crunchstat_interval_s", 10.0),
        (["--encoding", "iso8859-1"], "encoding", "iso8859-1"),
        (["--storage-classes", "fast,archive"], "storage_classes", ("fast", "archive")),
        (["--storage-classes", " fast, ,"], "storage_classes", ("fast",)),
        (["--storage-classes", ""], "storage_classes", ()),
        (["--disable-event-listening"], "listen_for_events", False),
        (["--commit-delay", "0"], "commit_delay_s", 0.0),
        (["--journal-size", "1000000"], "journal_size", 1000000),
        (["--journal-dir", "/var/lib/x"], "journal_dir", Path("/var/lib/x")),
        (["--logfile", "log"], "logfile", Path("log")),
        (["--retries", "0"], "retries", 0),
        (["--refresh-time", "600"], "refresh_time_s", 600),
        (["--directory-cache", "1000000"], "directory_cache", 1000000),
        (["--file-cache", "0"], "file_cache", 0),
        (["--file-cache", "1073741824"], "file_cache", 1 << 30),
        (["--ram-cache"], "ram_cache", True),
        (["--disk-cache"], "ram_cache", False),
        (["--disk-cache-dir", "/var/cache/x"], "disk_cache_dir", Path("/var/cache/x")),
    ],
)
def test_each_option_sets_its_field_and_no_other(arguments, field, value):
    settings, plain = parse(["mnt", *arguments]), parse(["mnt"])
    assert getattr(settings, field) == value
    changed = {n for n in Settings.__slots__ if getattr(settings, n) != getattr(plain, n)}
    assert changed <= {field}


def test_a_journal_has_room_for_more_than_itself(capsys):
    assert "give 0, or 1000000 or more" in refused(capsys, "--journal-size", "999999", "mnt")
    assert "whole number" in refused(capsys, "--journal-size", "1M", "mnt")


@pytest.mark.parametrize("subtype", ["keep,allow_other", "a\\b", "a\nb", "gr\u00fcn"])
def test_a_subtype_is_no_list_of_other_options_of_fuse(capsys, subtype):
    """Nor what FUSE cannot be given, or does not show as it was given."""
    assert "choose another" in refused(capsys, "--subtype", subtype, "mnt")


def test_read_only_is_accepted_as_scripts_say_it():
    assert parse(["--read-only", "mnt"]) == parse(["mnt"])


class TestMountDir:
    def test_is_absolute_so_that_it_stays_right_in_another_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert parse(["sub/../mnt"]).mount_dir == tmp_path / "mnt"

    def test_is_needed(self, capsys):
        assert refused(capsys) == "the following arguments are required: MOUNT_DIR"

    @pytest.mark.parametrize("action", [[], ["--replace"], ["--unmount"], ["--unmount-all"]])
    def test_has_a_name(self, capsys, action):
        """A variable of the shell that was not set: that is not the current directory."""
        line = refused(capsys, *action, "")
        assert line == "MOUNT_DIR is empty; if the current directory is meant, say ."

    def test_may_be_the_current_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert parse(["."]).mount_dir == tmp_path

    def test_is_one(self, capsys):
        assert "unrecognized arguments: b" in refused(capsys, "a", "b")


class TestExec:
    def test_takes_the_rest_of_the_line(self):
        settings = parse(["mnt", "--retries", "3", "--exec", "ls", "-l", "--all", "mnt"])
        assert settings.command == ("ls", "-l", "--all", "mnt")
        assert (settings.retries, settings.places) == (3, ALL_PLACES)

    def test_two_dashes_end_it(self):
        settings = parse(["--exec", "ls", "-l", "--", "mnt"])
        assert settings.command == ("ls", "-l")
        assert settings.mount_dir.name == "mnt"

    @pytest.mark.parametrize("command", [[], [""], ["", "argument"]])
    def test_without_a_command(self, capsys, command):
        assert refused(capsys, "mnt", "--exec", *command) == "--exec needs a command"

    def test_goes_with_foreground_which_it_implies(self):
        settings = parse(["mnt", "--foreground", "--exec", "true"])
        assert settings.command == ("true",)


class TestRecover:
    @pytest.mark.parametrize("name", [[], [""]])
    def test_discard_needs_a_name(self, capsys, name):
        assert "needs the name of the journal" in refused(capsys, "--recover", "discard", *name)


class TestJournal:
    def test_has_a_usual_place_that_clearing_caches_spares(self, monkeypatch, tmp_path):
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert parse(["mnt"]).journal_dir == tmp_path / ".local" / "state" / "arvados" / "journal"


class TestStandalone:
    def test_has_a_usual_place(self, monkeypatch, tmp_path):
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        usual = tmp_path / ".local" / "share" / "arvados-standalone"
        assert parse(["mnt", "--standalone"]).standalone_dir == usual
        monkeypatch.setenv("XDG_DATA_HOME", "/data")
        assert parse(["mnt", "--standalone"]).standalone_dir == Path("/data/arvados-standalone")

    def test_may_be_elsewhere(self):
        settings = parse(["mnt", "--standalone", "--standalone-dir", "/srv/arvados"])
        assert settings.standalone_dir == Path("/srv/arvados")

    def test_elsewhere_alone_is_refused(self, capsys):
        line = refused(capsys, "mnt", "--standalone-dir", "/srv/arvados")
        assert line == "--standalone-dir is only of use with --standalone"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--all", "--home"],
        ["--home", "--by-id"],
        ["--by-id", "--project", PROJECT],
        ["--project", PROJECT, "--collection", COLLECTION],
        ["--ram-cache", "--disk-cache"],
        ["--replace", "--unmount"],
        ["--unmount", "--unmount-all"],
    ],
)
def test_what_excludes_each_other(capsys, arguments):
    line = refused(capsys, "mnt", *arguments)
    flags = [argument for argument in arguments if argument.startswith("--")]
    assert line == f"argument {flags[1]}: not allowed with argument {flags[0]}"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--retries", "-1"], "'-1' is not a whole number of 0 or more"),
        (["--retries", "many"], "'many' is not a whole number of 0 or more"),
        (["--refresh-time", "1.5"], "'1.5' is not a whole number of 0 or more"),
        (["--file-cache", "1G"], "'1G' is not a whole number of 0 or more"),
        (["--directory-cache", ""], "'' is not a whole number of 0 or more"),
        (["--project", COLLECTION], f"'{COLLECTION}' is not the uuid of a project"),
        (["--project", ""], "'' is not the uuid of a project"),
        (["--collection", PROJECT], f"'{PROJECT}' is not the uuid of a collection"),
        (["--collection", "d41d8cd98f00b204e9800998ecf8427e"], "not a portable data hash"),
        (["--unmount-timeout", "-1"], "'-1' is not a number of seconds"),
        (["--unmount-timeout", "inf"], "'inf' is not a number of seconds"),
        (["--crunchstat-interval", "often"], "'often' is not a number of seconds"),
        (["--crunchstat-interval", "nan"], "'nan' is not a number of seconds"),
        (["--encoding", "klingon"], "'klingon' is not a character encoding of file names"),
        (["--encoding", "utf-16"], "'utf-16' is not a character encoding of file names"),
        (["--encoding", "idna"], "'idna' is not a character encoding of file names"),
        (["--encoding", "base64"], "'base64' is not a character encoding of file names"),
        (["--refresh-time", "9" * 20], "is more than 1000000000 seconds"),
        (["--commit-delay", "1e300"], "'1e300' is not a number of seconds from 0 to 1000000000"),
        (["--crunchstat-interval", "1e10"], "'1e10' is not a number of seconds"),
        (["--unmount-timeout", "1e10"], "'1e10' is not a number of seconds"),
        (["--logfile", ""], "the name of a file is needed"),
        (["--no-such-option"], "unrecognized arguments: --no-such-option"),
    ],
)
def test_bad_values_are_named_with_what_is_expected(capsys, arguments, hint):
    assert hint in refused(capsys, "mnt", *arguments)


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_questions_are_answered(capsys, flag):
    with pytest.raises(SystemExit) as caught:
        parse([flag])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(
        {"--version": f"arv-mount {__version__}\n", "--help": "usage: arv-mount "}[flag]
    )
