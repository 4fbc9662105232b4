"""Parts of documents: sections and tables."""

from __future__ import annotations


def section(document: str, title: str) -> str:
    """The text below a heading of the second level, as far as the next."""
    return document.split(f"\n## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def tables(text: str) -> list[tuple[list[str], list[list[str]]]]:
    """All tables of a text: the cells of the first line, and those of the rows."""
    found: list[tuple[list[str], list[list[str]]]] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("| "):
            inside = False
            continue
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not inside:
            found.append((cells, []))
        elif not cells[0].startswith("---"):
            found[-1][1].append(cells)
        inside = True
    return found


def first_cells(text: str) -> list[str]:
    """The first cell of each row of all tables of a text."""
    return [row[0] for _, rows in tables(text) for row in rows]
