"""Runs scenarios: every side in turn, several rounds."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable

from benchmarks.bench.model import SIDES, Row, Scenario
from benchmarks.bench.stage import Stage

__all__ = ["Medians", "measure"]

Medians = dict[Row, dict[str, float]]
"""For each row the median of each side that has a figure."""


def measure(stage: Stage, scenarios: Iterable[Scenario], rounds: int) -> Medians:
    """Let the sides of each scenario take turns, A B C A B C. Says on stderr what it does."""
    medians: Medians = {}
    for scenario in scenarios:
        figures: dict[Row, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        started = time.perf_counter()
        for number in range(rounds):
            for side in SIDES:
                if number < scenario.rounds_of(side, rounds) and side in scenario.sides:
                    for row, figure in attempt(stage, scenario, side).items():
                        figures[row][side].append(figure)
        for row in scenario.rows:
            medians[row] = {side: statistics.median(all_) for side, all_ in figures[row].items()}
            shown = ", ".join(
                f"{side} {' '.join(f'{figure:.4g}' for figure in all_)}"
                for side, all_ in figures[row].items()
            )
            print(f"{row.name}: {shown} {row.unit}", file=sys.stderr)
        print(f"({time.perf_counter() - started:.0f} s)", file=sys.stderr)
    return medians


def attempt(stage: Stage, scenario: Scenario, side: str) -> dict[Row, float]:
    """The figures of one side. None if it fails, which is said; the others go on."""
    try:
        return scenario.sides[side](stage)
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        rows = ", ".join(row.name for row in scenario.rows)
        print(f"{side} failed at {rows}: {error}", file=sys.stderr)
        return {}
