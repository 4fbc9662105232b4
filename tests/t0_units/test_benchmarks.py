"""The benchmark's rows and the document that shows them are the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.bench import report
from benchmarks.bench.model import LIMIT, OFFICIAL, OURS, SIDES, Row
from benchmarks.bench.registry import GROUPS, ROWS, SCENARIOS

DOCUMENT = report.DOCUMENT.read_text()


@pytest.mark.parametrize("group", GROUPS)
def test_the_document_names_each_row_and_no_others(group):
    shown = list(report.names_in(report.between(DOCUMENT, group)))
    assert shown == [row.name for row in report.rows_of(GROUPS[group])]


@pytest.mark.parametrize("group", GROUPS)
def test_the_document_shows_the_goals(group):
    lines = report.names_in(report.between(DOCUMENT, group))
    for name, line in lines.items():
        assert f"| {', '.join(ROWS[name].goals())} |" in line


def test_no_two_rows_have_the_same_name():
    assert len(ROWS) == sum(len(scenario.rows) for scenario in SCENARIOS)


def test_each_row_has_a_goal_and_each_goal_a_side_to_compare_with():
    for scenario in SCENARIOS:
        assert OURS in scenario.sides
        assert set(scenario.sides) <= set(SIDES)
        assert bool(scenario.limit) == (LIMIT in scenario.sides)
        for row in scenario.rows:
            assert row.goals(), row.name
            assert row.of_official is None or OFFICIAL in scenario.sides, row.name
            against_limit = row.of_limit is not None or row.over_limit is not None
            assert not against_limit or LIMIT in scenario.sides, row.name


ROW = Row("work", "ms", of_official=0.5, of_limit=1.5, over_limit=10, at_most=30)
FIGURES = {OFFICIAL: 60.0, OURS: 30.0, LIMIT: 20.0}


def test_goals_are_met_up_to_their_bounds():
    assert ROW.missed(FIGURES) == [False, False, False, False]


def test_goals_are_missed_beyond_their_bounds():
    assert ROW.missed({**FIGURES, OURS: 30.1}) == [True, True, True, True]


@pytest.mark.parametrize("side", [OFFICIAL, OURS, LIMIT])
def test_what_was_not_measured_meets_no_goal_against_it(side):
    figures = {name: figure for name, figure in FIGURES.items() if name != side}
    assert any(ROW.missed(figures))


def test_a_line_says_whether_all_goals_are_met():
    assert "| 0.500 | 1.50 |" in report.line(ROW, FIGURES)
    assert report.line(ROW, FIGURES).endswith("| yes |\n")
    assert report.line(ROW, {**FIGURES, LIMIT: 25.0, OURS: 36.0}).endswith("| in part |\n")
    assert report.line(ROW, {**FIGURES, OURS: 99.0}).endswith("| no |\n")
    assert report.line(ROW, {}).endswith("| not measured |\n")


@pytest.fixture
def document(tmp_path, monkeypatch):
    """A copy of the document that can be changed, and of the README beside it."""
    for name, path in (("DOCUMENT", report.DOCUMENT), ("README", report.README)):
        copy = tmp_path / path.name
        copy.write_text(path.read_text())
        monkeypatch.setattr(report, name, copy)
    return report.DOCUMENT


def test_the_table_is_replaced_and_rows_that_were_not_measured_stay(document):
    first, second = list(ROWS.values())[:2]
    report.update({first: {OURS: 12.0}, second: {OURS: 13.0}}, rounds=1)
    report.update({first: {OURS: 14.0}}, rounds=1)
    lines = report.names_in(report.between(document.read_text(), next(iter(GROUPS))))
    assert lines[first.name] == report.line(first, {OURS: 14.0})
    assert lines[second.name] == report.line(second, {OURS: 13.0})


def test_the_readme_shows_some_rows_of_the_document():
    shown = report.between(report.README.read_text(), report.SUMMARY).strip()
    assert shown == report.summary(DOCUMENT).strip()


def test_the_readme_follows_the_document(document):
    row = ROWS[report.SUMMARIZED[0]]
    report.update({row: {OFFICIAL: 12.0, OURS: 3.0}}, rounds=1)
    assert f"| {row.name} | 12.0 ms | 3.00 ms |\n" in report.README.read_text()


def test_the_official_driver_takes_part_in_as_many_rounds_as_it_is_worth():
    scenario = replace(SCENARIOS[0], official_rounds=1)
    assert [scenario.rounds_of(side, 3) for side in SIDES] == [1, 3, 3]
