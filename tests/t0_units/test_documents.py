"""Documents are product: what they name exists, and each row that promises something has a test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from arvados_fuse.command import arguments

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
SEMANTICS = (ROOT / "docs" / "semantics.md").read_text()
OURS = [
    ROOT / "README.md",
    # standalone.md is about another command
    *(path for path in (ROOT / "docs").glob("*.md") if path.name != "standalone.md"),
]

_REFERENCE = re.compile(r"`((?:t\d_\w+/[\w.]*)?)((?:::\w+)*)`")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")

OPTIONS_OF_OTHERS = {
    "--name",  # arv-put
    *("--rounds", "--hours", "--objects"),  # benchmarks
    *("--list", "--row", "--latency", "--bandwidth"),  # benchmarks.bench
    "--user",  # systemctl
    # arv-standalone, checked with its own document
    *("--api-port", "--keep-port", "--faults", "--sample", "--while-used"),
}


def references() -> list[tuple[str, str]]:
    """File and test of each reference; `::test` alone is in the file that was named last."""
    found, file = [], ""
    for line in SEMANTICS.splitlines():
        for path, names in _REFERENCE.findall(line):
            file = path or file
            if path or names:
                found.append((file, names))
    return found


def names_in(path: Path) -> set[str]:
    """All classes and functions of a test module, as pytest writes them."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            members = [m.name for m in node.body if isinstance(m, ast.FunctionDef)]
            names |= {f"::{node.name}", *(f"::{node.name}::{member}" for member in members)}
        elif isinstance(node, ast.FunctionDef):
            names.add(f"::{node.name}")
    return names


@pytest.mark.parametrize(("file", "names"), references())
def test_tests_named_in_the_semantics_exist(file, names):
    path = TESTS / file
    assert path.is_file(), file
    if names:
        assert names in names_in(path)


def test_each_row_that_promises_something_names_its_test():
    """The tables with a column "test"; the one of errors names its test once, for all rows."""
    column = None
    for line in SEMANTICS.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            column = None
        elif column is None:
            column = len(cells) - 1 if cells[-1] == "test" else -1
            whole_table = False
        elif column > 0 and not line.startswith("| ---"):
            whole_table = whole_table or "whole table" in cells[column]
            assert cells[column] or whole_table, line


@pytest.mark.parametrize("document", OURS, ids=lambda path: path.name)
def test_options_that_a_document_names_exist(document):
    known = set(arguments.make_parser()._option_string_actions) | OPTIONS_OF_OTHERS
    assert set(_OPTION.findall(document.read_text())) <= known


PACKAGES = [
    path
    for path in sorted((ROOT / "arvados_fuse").glob("*/__init__.py"))
    if path.parent.name != "standalone"
]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.parent.name)
def test_a_package_says_what_each_of_its_modules_is_for(package):
    """In its own docstring, which docs/architecture.md sends its readers to."""
    text = ast.get_docstring(ast.parse(package.read_text())) or ""
    modules = {path.stem for path in package.parent.glob("*.py")} - {"__init__"}
    missing = modules - set(re.findall(r"`(\w+)`", text))
    assert not missing, f"{package} says nothing of {missing}: write there what they are for"


def test_paths_that_the_architecture_names_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    for name in re.findall(r"`((?:[a-z_]+/)?[a-z_]+\.py|[a-z_]+/)`", text):
        assert any((base / name).exists() for base in (ROOT, ROOT / "arvados_fuse")), name
