"""All that is measured, in the order in which it is shown."""

from __future__ import annotations

from benchmarks.bench import directories, reading, writing
from benchmarks.bench.model import Row, Scenario

__all__ = ["GROUPS", "ROWS", "SCENARIOS"]

GROUPS: dict[str, tuple[Scenario, ...]] = {
    "reading": reading.SCENARIOS,
    "directories": directories.SCENARIOS,
    "writing": writing.SCENARIOS,
}

SCENARIOS = tuple(scenario for group in GROUPS.values() for scenario in group)

ROWS: dict[str, Row] = {row.name: row for scenario in SCENARIOS for row in scenario.rows}
