"""Each line that docs/troubleshooting.md quotes is one that the code can write."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.documents import tables

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "troubleshooting.md").read_text()
CODE = [p for p in (ROOT / "arvados_fuse").rglob("*.py") if "standalone" not in p.parts]

_PLACEHOLDER = re.compile(r"%(?:\.\d+)?[sdrf]")


def quoted() -> list[str]:
    """What stands in `code` in the columns "line", and log lines named elsewhere in the tables."""
    lines = []
    for header, rows in tables(DOCUMENT):
        if "line" not in header:
            continue
        column = header.index("line")
        for row in rows:
            lines += re.findall(r"`([^`]+)`", row[column])
            others = (cell for number, cell in enumerate(row) if number != column)
            lines += re.findall(r"says `([^`]+)`", " ".join(others))
    return lines


@cache
def messages() -> list[str]:
    """All texts of the code, with `...` where something is filled in."""
    found = []
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(_PLACEHOLDER.sub("...", node.value))
            elif isinstance(node, ast.JoinedStr):
                parts = (
                    part.value if isinstance(part, ast.Constant) else "..." for part in node.values
                )
                found.append("".join(map(str, parts)))
    return found


@pytest.mark.parametrize("line", quoted())
def test_quoted_line_is_one_of_the_code(line):
    pieces = [re.escape(piece) for piece in line.split("...")]
    assert any(re.search(".*".join(pieces), message) for message in messages()), line


def test_a_line_that_no_code_writes_is_found_out():
    assert not any("The mount has fallen off the wall" in message for message in messages())


def test_enough_is_quoted():
    assert len(quoted()) > 15
