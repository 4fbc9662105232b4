"""What a benchmark is made of: rows that have goals, and scenarios that yield their figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.bench.stage import Stage

__all__ = ["LIMIT", "OFFICIAL", "OURS", "SIDES", "Figures", "Row", "Scenario", "Work"]

OFFICIAL, OURS, LIMIT = SIDES = ("official", "ours", "limit")


@dataclass(frozen=True)
class Row:
    """One figure and its goals; smaller is better. Each goal may be left out.

    unit: of the figure; "" for a plain number
    of_official: the share of the official driver's figure that ours may be
    of_limit: how many times the limit's figure ours may be
    over_limit: by how much, in `unit`, ours may be over the limit's
    at_most: what ours may be, in `unit`
    """

    name: str
    unit: str = "s"
    of_official: float | None = None
    of_limit: float | None = None
    over_limit: float | None = None
    at_most: float | None = None

    def goals(self) -> list[str]:
        """The goals in words."""
        unit = f" {self.unit}" if self.unit else ""
        goals = []
        if self.of_official is not None:
            goals.append(f"≤ {self.of_official:g} x official")
        if self.of_limit is not None:
            goals.append(f"≤ {self.of_limit:g} x limit")
        if self.over_limit is not None:
            goals.append(f"≤ limit + {self.over_limit:g}{unit}")
        if self.at_most is not None:
            goals.append(f"≤ {self.at_most:g}{unit}")
        return goals

    def missed(self, figures: Mapping[str, float]) -> list[bool]:
        """Whether each of `goals()` is missed by the figures of the sides.

        A goal against a side that has no figure is missed: nothing shows that it is met.
        """
        ours = figures.get(OURS, float("inf"))
        official = figures.get(OFFICIAL, float("-inf"))
        limit = figures.get(LIMIT, float("-inf"))
        bounds = (
            None if self.of_official is None else self.of_official * official,
            None if self.of_limit is None else self.of_limit * limit,
            None if self.over_limit is None else limit + self.over_limit,
            self.at_most,
        )
        return [ours > bound for bound in bounds if bound is not None]


Figures = dict[Row, float]
Work = Callable[["Stage"], Figures]


@dataclass(frozen=True)
class Scenario:
    """Work that yields the figures of some rows, for each side that can do it.

    sides: how each of SIDES does it; each call starts with nothing cached
    limit: what the limit is, in words
    rounds: how often it is worth to be done; the official driver can take very long
    official_rounds: the same for the official driver
    """

    rows: tuple[Row, ...]
    sides: Mapping[str, Work]
    limit: str = ""
    rounds: int = 100
    official_rounds: int = 100

    def rounds_of(self, side: str, wanted: int) -> int:
        """How many of the `wanted` rounds a side takes part in."""
        return min(wanted, self.rounds, self.official_rounds if side == OFFICIAL else wanted)
