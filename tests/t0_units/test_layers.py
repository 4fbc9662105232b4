"""The house has storeys: a module imports from below, never from above and never sideways.

The imports are read from the source, those for type checking included.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "arvados_fuse"

LADDER = (
    # From the ground up. Rooms on one rung do not know each other. A room is a module or a whole
    # package; inside a package modules may import each other, but not in a circle.
    ("version", "errors", "metrics", "usage", "words", "clock"),
    ("collection", "keep"),
    ("journal",),
    ("fresh", "api", "events", "trust"),
    ("commit",),
    ("inodes",),
    ("fusefile",),
    ("fusedir",),
    ("handles", "attributes"),
    ("open_files",),
    ("kernel", "operations"),
    ("command",),
    ("bin",),
)

STANDALONE = "standalone"
"""The embedded cluster: a house of its own, which shares the ground only. It has its own idea of
manifests and blocks, so that a mistake in ours shows when we talk to it."""

STANDALONE_MAY_IMPORT = {"version", "errors", "usage"}
MAY_IMPORT_STANDALONE = {"command", "bin"}

MAY_IMPORT_LLFUSE = {"operations", "kernel", "command.mount"}

RUNG = {room: height for height, rooms in enumerate(LADDER) for room in rooms}


class Import(NamedTuple):
    """One import of a module of ours.

    importer, imported: without the package's name: "keep.cache"
    name: what is taken from the module; "" for the module itself
    """

    importer: str
    imported: str
    name: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}, imports {self.imported} {self.name}".rstrip()


def module_files() -> dict[str, Path]:
    """All source files by module name without the package's: "keep.cache", "bin.arv-mount"."""
    files = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"] = path
    scripts = {f"bin.{path.name}": path for path in sorted((ROOT / "bin").iterdir())}
    return files | {name: path for name, path in scripts.items() if path.is_file()}


FILES = module_files()
TREES = {module: ast.parse(path.read_text()) for module, path in FILES.items()}


def room(module: str) -> str:
    """The room that a module is in."""
    return module.partition(".")[0]


def imported_names(tree: ast.AST) -> Iterator[tuple[str, str, int]]:
    """Yield (module, name or "", line) for everything that is imported anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written with the whole name of the module"
            yield from ((node.module or "", alias.name, node.lineno) for alias in node.names)


def our_imports() -> Iterator[Import]:
    for importer, tree in TREES.items():
        for module, name, line in imported_names(tree):
            if module != PACKAGE and not module.startswith(PACKAGE + "."):
                continue
            inside = module[len(PACKAGE) + 1 :]
            submodule = f"{inside}.{name}".strip(".")
            if submodule in FILES:
                yield Import(importer, submodule, "", line)
            else:
                yield Import(importer, inside or "__init__", name, line)


IMPORTS = list(our_imports())


def test_imports_are_seen():
    """The other tests would pass on nothing."""
    assert Import("fusedir.project", "fresh", "FOREVER", 11)._replace(line=0) in [
        i._replace(line=0) for i in IMPORTS
    ]
    assert any(i.importer == "command.clusters" and room(i.imported) == STANDALONE for i in IMPORTS)
    assert len(IMPORTS) > 100


@pytest.mark.parametrize("module", [m for m in FILES if m != "__init__"])
def test_every_module_has_its_place(module):
    assert room(module) in {*RUNG, STANDALONE}, (
        f"{module} is in none of the rooms of LADDER in {Path(__file__).name}. Write it there, on"
        " the lowest rung that is above everything that it imports."
    )


def test_every_place_has_its_module():
    missing = RUNG.keys() - {room(module) for module in FILES}
    assert not missing, f"{missing} stand in LADDER and exist no more: take them out"


def test_imports_go_down():
    wrong = [
        f"{i}: that is {'sideways' if RUNG[room(i.importer)] == RUNG[room(i.imported)] else 'up'}"
        for i in IMPORTS
        if room(i.importer) in RUNG
        and room(i.imported) in RUNG
        and room(i.importer) != room(i.imported)
        and RUNG[room(i.imported)] >= RUNG[room(i.importer)]
    ]
    assert not wrong, "\n".join(wrong)


def test_the_package_itself_imports_the_version_at_most():
    wrong = [str(i) for i in IMPORTS if i.importer == "__init__" and i.imported != "version"]
    assert not wrong, "whoever imports one module would import those too: " + "; ".join(wrong)


def test_standalone_is_a_house_of_its_own():
    wrong = [
        str(i)
        for i in IMPORTS
        if room(i.importer) == STANDALONE
        and room(i.imported) not in {STANDALONE, *STANDALONE_MAY_IMPORT}
    ]
    assert not wrong, "\n".join(wrong)


def test_only_commands_know_standalone():
    wrong = [
        str(i)
        for i in IMPORTS
        if room(i.imported) == STANDALONE
        and room(i.importer) not in {STANDALONE, *MAY_IMPORT_STANDALONE}
    ]
    assert not wrong, "\n".join(wrong)


def test_llfuse_is_known_to_the_adapter_alone():
    users = {
        module
        for module, tree in TREES.items()
        for imported, _, _ in imported_names(tree)
        if room(imported) == "llfuse"
    }
    assert users == MAY_IMPORT_LLFUSE


def test_private_names_stay_private():
    """Neither `from other import _name` nor `other._name`."""
    wrong = [str(i) for i in IMPORTS if is_private(i.name) and i.importer != i.imported]
    for module, tree in TREES.items():
        aliases = set(module_aliases(module, tree))
        wrong += [
            f"{module}, line {node.lineno}, uses {node.value.id}.{node.attr}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in aliases
            and is_private(node.attr)
        ]
    assert not wrong, "\n".join(wrong)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def module_aliases(module: str, tree: ast.AST) -> Iterator[str]:
    """Yield the names by which a file calls modules of ours."""
    ours = {i.imported for i in IMPORTS if i.importer == module and not i.name}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if f"{node.module}.{alias.name}"[len(PACKAGE) + 1 :] in ours:
                    yield alias.asname or alias.name


def test_no_circles_inside_a_room():
    """Circles between rooms cannot be, when all imports go down."""
    known = {module: set() for module in FILES}
    for i in IMPORTS:
        if i.importer != i.imported and i.imported in known:
            known[i.importer].add(i.imported)
    try:
        TopologicalSorter(known).prepare()
    except CycleError as error:
        pytest.fail(f"these modules import each other in a circle: {error.args[1]}")
