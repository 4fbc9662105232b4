"""docs/standalone.md says what is true: options, files, and the fields of fault rules."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from pathlib import Path

import pytest

from arvados_fuse.standalone import directory
from arvados_fuse.standalone.cli import main
from arvados_fuse.standalone.faults import Rule

DOCUMENT = (Path(__file__).parents[2] / "docs" / "standalone.md").read_text()
TABLE_ROW = re.compile(r"^\| (.+?) \| .* \|$", re.MULTILINE)


def section(title: str) -> str:
    """The text below a heading, as far as the next one."""
    return DOCUMENT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def terms(text: str) -> set[str]:
    """What stands in `code` in the first columns of the tables of a text, without operands."""
    firsts = " ".join(TABLE_ROW.findall(text))
    return {term.split()[0] for term in re.findall(r"`([^`]+)`", firsts)}


def options_of(*arguments: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """The options in the help text of the command."""
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--help"])
    assert end.value.code == 0
    listed = capsys.readouterr().out.partition("options:")[2]
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", "\n".join(option_lines(listed))))


def option_lines(listed: str) -> list[str]:
    """The part of each line of a help text that names options, not what they do."""
    return [line[2:].split("  ")[0] for line in listed.splitlines() if line.startswith("  -")]


@pytest.mark.parametrize(
    ("title", "commands"),
    [
        ("Starting and ending it", [[]]),
        ("Users", [["user", "add"], ["user", "env"]]),
        ("Getting rid of blocks", [["gc"]]),
    ],
    ids=["no command", "user", "gc"],
)
def test_every_option_is_described_and_none_besides(title, commands, capsys):
    described = {term for term in terms(section(title)) if term[0] == "-"}
    existing = set().union(
        *(
            options_of(*(["DIR", *command] if command else []), capsys=capsys)
            for command in commands
        )
    )
    assert described | {"-h", "--help"} == existing


def test_every_field_of_a_fault_rule_is_described_and_none_besides():
    described = {term for term in terms(section("Fault control")) if not term.isupper()}
    assert described == {field.name for field in fields(Rule)}


def test_files_that_others_rely_on_are_described():
    described = terms(section("What is in the directory"))
    named = {
        directory.LOCK,
        directory.USERS_LOCK,
        directory.ENVIRONMENT,
        directory.LOG,
        directory.CERTIFICATE,
    }
    assert named <= described


def test_help_text_has_the_form_that_is_read_here(capsys):
    parser = argparse.ArgumentParser(prog="x")
    parser.add_argument("--one-two", metavar="N", help="more than --three")
    listed = parser.format_help().partition("options:")[2]
    assert option_lines(listed) == ["-h, --help", "--one-two N"]
