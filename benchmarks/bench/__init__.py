"""The benchmark: our driver, the official one, and what the machine allows, in turn.

    .venv-bench/bin/python -m benchmarks.bench --list
    .venv-bench/bin/python -m benchmarks.bench [--quick] [--row NAME ...] [--write]

`make bench` and `make bench-quick` set up what it needs. What is measured is data: a `Row` says
what a figure means and what it has to be, a `Scenario` does the work that yields the figures of one
or more rows, and `registry.GROUPS` lists all. To add a row, write a `Row` and a function that
returns its figure from a mount, add both to a scenario, and name the row in docs/performance.md.
"""
