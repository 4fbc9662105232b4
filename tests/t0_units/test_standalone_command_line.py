"""The command line of `arv-standalone`: what is a directory, and one line for what is wrong."""

import os

import pytest

from arvados_fuse.standalone import cli, cluster


@pytest.fixture
def started(tmp_path, monkeypatch):
    """The directories on which clusters were started; none is in truth."""
    directories = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster, "run", lambda settings, _: directories.append(settings.directory))
    return directories


@pytest.fixture
def refused(started, capsys):
    """Give the command arguments that are wrong; return the one line that says why."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
        assert started == []
        assert os.listdir() == []
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        return err.strip()

    return run


class TestCommandInPlaceOfTheDirectory:
    @pytest.mark.parametrize(
        "arguments", [["gc"], ["gc", "--delete"], ["gc", "DIR"], ["--sample", "gc"]]
    )
    def test_gc_alone_does_not_make_a_cluster_called_gc(self, refused, arguments):
        assert refused(*arguments) == (
            "arv-standalone: argument DIR: 'gc' is a command, which stands after the directory:"
            " arv-standalone DIR gc; if it is a directory, say ./gc; see arv-standalone --help"
        )

    @pytest.mark.parametrize(
        "arguments", [["user"], ["user", "add", "ann"], ["user", "env", "ann"], ["user", "DIR"]]
    )
    def test_nor_does_user(self, refused, arguments):
        assert "'user' is a command, which stands after the directory" in refused(*arguments)

    @pytest.mark.parametrize("name", ["gc", "user"])
    def test_a_directory_of_that_name_can_be_named(self, started, tmp_path, name):
        assert cli.main([f"./{name}"]) == 0
        assert cli.main([str(tmp_path / name)]) == 0
        assert started == [tmp_path / name] * 2


def test_a_directory_without_a_name(refused):
    """A variable of the shell that was not set: that is not the current directory."""
    assert "argument DIR: the name of a directory is needed" in refused("")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "arv-standalone: the following arguments are required: DIR"),
        (["d", "--nonsense"], "arv-standalone: unrecognized arguments: --nonsense"),
        (["d", "--api-port", "0"], "argument --api-port: '0' is not a number from 1 to 65535"),
        (["d", "--keep-port", "https"], "--keep-port: 'https' is not a number from 1 to 65535"),
        (["d", "--keep-port", "9" * 5000], "is not a number from 1 to 65535"),
        (["d", "--keep-services", "17"], "'17' is not a number from 1 to 16"),
        (["d", "list"], "invalid choice: 'list'"),
        (["d", "user"], "arv-standalone DIR user: the following arguments are required: add|env"),
        (["d", "user", "add"], "the following arguments are required: NAME"),
        (["d", "gc", "--delete", "--untrash"], "not allowed with argument --delete"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(refused, arguments, says):
    line = refused(*arguments)
    assert says in line
    command = line.partition(":")[0]
    assert line.endswith(f"; see {command} --help")
