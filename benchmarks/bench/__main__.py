"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.bench import report
from benchmarks.bench.model import Scenario
from benchmarks.bench.registry import GROUPS, ROWS
from benchmarks.bench.runner import measure
from benchmarks.bench.stage import DRIVERS, FULL, QUICK, Stage, can_drop_caches
from tests.support.cluster import RunningCluster

MEMORY = "/dev/shm"
ROUNDS = 3


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench", description=(__doc__ or "").strip()
    )
    parser.add_argument("--list", action="store_true", help="name all rows, with their goals")
    parser.add_argument(
        "--row", action="append", metavar="NAME", help="only the rows with NAME in their names"
    )
    parser.add_argument("--group", action="append", choices=GROUPS, help="only these rows")
    parser.add_argument("--rounds", type=int, help=f"(default: {ROUNDS}, or 1 if quick)")
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of what the rows say, to see that all works"
    )
    parser.add_argument("--latency", type=float, metavar="SECONDS", help="of every request")
    parser.add_argument("--bandwidth", type=float, metavar="BYTES_PER_S", help="of every request")
    parser.add_argument(
        "--write", action="store_true", help=f"put the figures into {report.DOCUMENT.name}"
    )
    parser.add_argument("--charts", type=Path, metavar="DIR", help="draw charts into DIR")
    given = parser.parse_args(arguments)
    if given.write and (given.quick or given.latency or given.bandwidth):
        parser.error("only full runs on a cluster that is not slowed down are written")
    return given


def chosen(given: argparse.Namespace) -> list[Scenario]:
    """The scenarios that the command line asks for. Raises SystemExit if there are none."""
    scenarios = [scenario for name in given.group or GROUPS for scenario in GROUPS[name]]
    if given.row:
        scenarios = [
            scenario
            for scenario in scenarios
            if any(part in row.name for part in given.row for row in scenario.rows)
        ]
    if not scenarios:
        raise SystemExit(f"No row has {given.row} in its name; --list shows all.")
    return scenarios


def main() -> None:
    """Measure what the command line asks for."""
    given = parse(sys.argv[1:])
    if given.list:
        for row in ROWS.values():
            print(f"{row.name}: {', '.join(row.goals())}")
        return
    for driver in DRIVERS.values():
        if not driver.exists():
            raise SystemExit(f"{driver} is missing: run this with `make bench` once.")
    if not can_drop_caches():
        print("Not root: the kernel's caches stay as they are, cold rows included.")
    rule = {"latency_s": given.latency, "bytes_per_s": given.bandwidth}
    rounds = given.rounds or (1 if given.quick else ROUNDS)
    print(f"Load average at the start: {os.getloadavg()[0]:.1f}", flush=True)
    with (
        tempfile.TemporaryDirectory() as work,
        tempfile.TemporaryDirectory(dir=MEMORY) as memory,
        RunningCluster(Path(work) / "cluster") as cluster,
    ):
        stage = Stage(
            cluster,
            QUICK if given.quick else FULL,
            Path(work),
            Path(memory),
            {name: value for name, value in rule.items() if value},
        )
        medians = measure(stage, chosen(given), rounds)
        print(report.table(medians))
        if given.write:
            report.update(medians, rounds)
        if given.charts:
            from benchmarks.bench.charts import draw  # noqa: PLC0415 - needs matplotlib

            draw(stage, given.charts)


if __name__ == "__main__":
    main()
