"""The options that say what a mount shows: each alone, together, and what contradicts itself."""

import json

import pytest

from arvados_fuse.command.arguments import parse
from arvados_fuse.command.layout_options import ALL_PLACES, Kind, Place
from arvados_fuse.command.problem import CommandError

PROJECT = "zzzzz-j7d0g-0123456789abcde"
COLLECTION = "zzzzz-4zz18-0123456789abcde"
PDH = "d41d8cd98f00b204e9800998ecf8427e+0"


def places(*arguments: str) -> tuple[Place, ...]:
    return parse([*arguments, "mnt"]).places


def filters(text: str) -> tuple:
    return parse(["--filters", text, "mnt"]).filters


@pytest.mark.parametrize("arguments", [[], ["--all"], ["--custom"]])
def test_all_is_the_default_also_of_custom_alone(arguments):
    assert places(*arguments) == ALL_PLACES


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["--home"], Place(Kind.HOME, "")),
        (["--shared"], Place(Kind.SHARED, "")),
        (["--by-id"], Place(Kind.BY_ID, "")),
        (["--by-pdh"], Place(Kind.BY_PDH, "")),
        (["--by-tag"], Place(Kind.BY_TAG, "")),
        (["--project", PROJECT], Place(Kind.PROJECT, "", PROJECT)),
        (["--collection", COLLECTION], Place(Kind.COLLECTION, "", COLLECTION)),
        (["--collection", PDH], Place(Kind.COLLECTION, "", PDH)),
    ],
)
def test_the_root_may_be_one_thing(arguments, place):
    assert places(*arguments) == (place,)


@pytest.mark.parametrize("custom", [["--custom"], []])
def test_any_number_of_directories_in_the_root(custom):
    asked = [
        ("--mount-tmp", Place(Kind.TMP, "tmp0")),
        ("--mount-tmp", Place(Kind.TMP, "tmp1")),
        ("--mount-by-pdh", Place(Kind.BY_PDH, "by_id")),
        ("--mount-by-id", Place(Kind.BY_ID, "by_uuid")),
        ("--mount-home", Place(Kind.HOME, "mine")),
        ("--mount-shared", Place(Kind.SHARED, "theirs")),
        ("--mount-by-tag", Place(Kind.BY_TAG, "tags")),
    ]
    arguments = [word for flag, place in asked for word in (flag, place.path)]
    assert places(*custom, *arguments) == tuple(place for _, place in asked)


def test_what_a_container_runner_asks_for():
    assert places("--mount-tmp", "tmp0", "--mount-by-id", "by_id", "--mount-by-id", "by_uuid") == (
        Place(Kind.TMP, "tmp0"),
        Place(Kind.BY_ID, "by_id"),
        Place(Kind.BY_ID, "by_uuid"),
    )


class TestContradictions:
    """They end with the code of the official driver, which is 1, and one line."""

    @pytest.mark.parametrize("mode", [["--all"], ["--home"], ["--by-id"], ["--project", PROJECT]])
    def test_whole_and_parts(self, mode):
        with pytest.raises(CommandError, match=rf"^{mode[0]} cannot be combined") as caught:
            places(*mode, "--mount-home", "x")
        assert caught.value.exit_code == 1

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0b"])
    def test_a_name_that_no_directory_can_have(self, name):
        with pytest.raises(CommandError, match="cannot be the name of a directory") as caught:
            places("--mount-home", name)
        assert caught.value.exit_code == 1

    def test_two_directories_of_one_name(self):
        with pytest.raises(CommandError, match="name the directory 'x'"):
            places("--mount-home", "x", "--mount-by-id", "x")


class TestFilters:
    def test_none_are_the_default(self):
        assert parse(["mnt"]).filters == ()

    def test_json_on_the_command_line(self):
        text = '[["collections.name", "like", "A%"], "(file_count > version)"]'
        assert filters(text) == (["collections.name", "like", "A%"], "(file_count > version)")

    def test_json_in_a_file(self, tmp_path):
        file = tmp_path / "filters.json"
        file.write_text(json.dumps([["name", "!=", None]]))
        assert filters(str(file)) == (["name", "!=", None],)

    def test_a_file_with_brackets_and_no_end(self, tmp_path, capsys):
        file = tmp_path / "filters.json"
        file.write_text("[" * 100_000)
        with pytest.raises(SystemExit):
            filters(str(file))
        assert "is neither JSON nor the name of a file with JSON" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("{}", "{} is not a list of filters"),
            ('"name"', "'name' is not a list of filters"),
            ('[["name"]]', "['name'] is not a filter: a filter is a list of attribute"),
            ('[["name", 3, "x"]]', "['name', 3, 'x'] is not a filter"),
            ("[3]", "3 is not a filter"),
            ('[""]', "'' is not a filter"),
            ("[" * 100_000, f"'{'[' * 100_000}' is neither JSON nor the name of a file with JSON"),
            ("[", "'[' is neither JSON nor the name of a file with JSON (No such file"),
            (
                "/dev/null",
                "'/dev/null' is neither JSON nor the name of a file with JSON (Expecting",
            ),
            ("/", "'/' is neither JSON nor the name of a file with JSON (Is a directory)"),
        ],
    )
    def test_what_is_wrong_is_named(self, capsys, text, says):
        with pytest.raises(SystemExit) as caught:
            filters(text)
        assert caught.value.code == 2
        assert f"argument --filters: {says}" in capsys.readouterr().err
