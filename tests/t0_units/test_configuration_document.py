"""docs/configuration.md names every option and no other, and the defaults are those in force."""

import re
from pathlib import Path

from arvados_fuse.command import arguments
from arvados_fuse.command.problem import EXIT_UNSAVED
from tests.support.documents import first_cells, section

DOCUMENT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()


def test_every_option_is_described_and_none_besides():
    described = {
        term.split()[0]
        for cell in first_cells(section(DOCUMENT, "Options"))
        for term in re.findall(r"`([^`]+)`", cell)
    }
    assert described == set(arguments.make_parser()._option_string_actions)


def test_options_take_a_value_where_the_document_shows_one():
    actions = arguments.make_parser()._option_string_actions
    for cell in first_cells(section(DOCUMENT, "Options")):
        for term in re.findall(r"`([^`]+)`", cell):
            flag, *value = term.split(maxsplit=1)
            assert bool(value) == (actions[flag].nargs != 0), term


def test_exit_codes_are_described():
    codes = first_cells(section(DOCUMENT, "Exit codes"))
    assert codes == ["0", "1", "2", str(EXIT_UNSAVED), "other"]
