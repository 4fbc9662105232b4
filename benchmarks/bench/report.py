"""The table of figures, on the terminal and in the documents."""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.bench.model import LIMIT, OFFICIAL, OURS, Row, Scenario
from benchmarks.bench.registry import GROUPS
from benchmarks.bench.runner import Medians

__all__ = ["DOCUMENT", "README", "SUMMARIZED", "SUMMARY", "names_in", "summary", "table", "update"]

README = Path(__file__).parents[2] / "README.md"
DOCUMENT = README.parent / "docs" / "performance.md"
SUMMARY = "summary"
"""Names the place of some rows in README.md."""

SUMMARIZED = (
    "first 4 KiB of a cold 64 MiB block",
    "1 GiB in order, cold",
    "10,000 random reads of 4 KiB in 1 GiB, cold",
    "`ls -f` of 100,000 files, first",
    "`find -size` in 100 x 100 files, again",
    "memory per file after `ls -l`",
    "untar 500 files of 4 kB and sync",
    "`dd` 1 GiB with fsync",
    "rewrite 4 KiB in the middle of 1 GiB, with fsync",
)
"""The rows that README.md shows: what users do most, whether it is much better or little."""

HEADER = (
    "| work | unit | official | ours | limit | ours / official | ours / limit | goal | met |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
)
_ROW = re.compile(r"^\| (.+?) \| .*\n", re.MULTILINE)


def line(row: Row, figures: Mapping[str, float]) -> str:
    """One row of the table."""
    ours = figures.get(OURS)
    cells = [row.name, row.unit, *(number(figures.get(side)) for side in (OFFICIAL, OURS, LIMIT))]
    for side in (OFFICIAL, LIMIT):
        other = figures.get(side)
        cells.append(number(ours / other if ours is not None and other else None))
    missed = row.missed(figures)
    met = "yes" if not any(missed) else "no" if all(missed) else "in part"
    if ours is None:
        met = "not measured"
    return f"| {' | '.join([*cells, ', '.join(row.goals()), met])} |\n"


def number(value: float | None) -> str:
    """A figure with three digits that mean something, or nothing."""
    if value is None:
        return ""
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}" if value >= 0.01 or value <= 0 else f"{value:.4f}"


def table(medians: Medians) -> str:
    """All rows that were measured, as a Markdown table."""
    return HEADER + "".join(line(row, figures) for row, figures in medians.items())


def names_in(text: str) -> dict[str, str]:
    """The lines of tables in a text by what their first cell says."""
    lines = {match[1]: match[0] for match in _ROW.finditer(text)}
    return {name: line for name, line in lines.items() if name not in ("work", "---")}


def update(medians: Medians, rounds: int) -> None:
    """Put what was measured into the documents; rows that were not measured stay."""
    text = DOCUMENT.read_text()
    for group, scenarios in GROUPS.items():
        measured = {
            row.name: line(row, medians[row]) for row in rows_of(scenarios) if row in medians
        }
        if measured:
            lines = {**names_in(between(text, group)), **measured}
            text = replaced(text, group, f"{part(scenarios, lines)}\n{conditions(rounds)}")
    DOCUMENT.write_text(text)
    README.write_text(replaced(README.read_text(), SUMMARY, summary(text)))


def summary(text: str) -> str:
    """The table for README.md, out of the tables in `text`."""
    lines = names_in("".join(between(text, group) for group in GROUPS))
    rows = []
    for name in SUMMARIZED:
        cells = [cell.strip() for cell in lines[name].split("|")[1:]]
        work, unit, official, ours = cells[:4]
        rows.append(f"| {work} | {official} {unit} | {ours} {unit} |\n")
    return f"| work | official driver | arv-mount |\n| --- | --- | --- |\n{''.join(rows)}"


def part(scenarios: Iterable[Scenario], lines: Mapping[str, str]) -> str:
    """The table of one group, and what its limits are.

    lines: of the table, by the names of their rows
    """
    rows = "".join(lines.get(row.name, line(row, {})) for row in rows_of(scenarios))
    limits = [f"- {scenario.limit}\n" for scenario in scenarios if scenario.limit]
    return f"{HEADER}{rows}\nLimits, in the order of the rows:\n\n{''.join(limits)}"


def rows_of(scenarios: Iterable[Scenario]) -> list[Row]:
    """The rows of some scenarios."""
    return [row for scenario in scenarios for row in scenario.rows]


def conditions(rounds: int) -> str:
    """Where and when it was measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    today = datetime.datetime.now(datetime.timezone.utc)
    return (
        f"Measured on {today:%Y-%m-%d}: {os.cpu_count()} processors, {memory:.0f} GiB,"
        f" {platform.system()} {platform.release()}, Python {platform.python_version()};"
        f" {rounds} rounds; load average at the end {os.getloadavg()[1]:.1f}.\n"
    )


def _marked(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- measured: {name} -->\n)(.*?)(<!-- end of {name} -->\n)", re.DOTALL)


def between(text: str, name: str) -> str:
    """What stands between the markers of a name."""
    match = _marked(name).search(text)
    if match is None:
        raise SystemExit(f"The document has no markers for {name!r}: put them back.")
    return match[2]


def replaced(text: str, name: str, content: str) -> str:
    """The text with other content between the markers of a name."""
    between(text, name)
    return _marked(name).sub(lambda match: f"{match[1]}\n{content}\n{match[3]}", text, count=1)
