"""Runs compared figure by figure: the cases that stored runs on a simulated machine do not have."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import pytest

from pytest_gpuprof.budgets.kinds import kinds_by_figure
from pytest_gpuprof.reports.comparison import csv_rows, data, markdown, remarks, table
from pytest_gpuprof.storage.comparison import Comparison, Row, compared, sorted_rows
from pytest_gpuprof.storage.conditions import key_of
from pytest_gpuprof.storage.matching import Workload
from pytest_gpuprof.storage.reference import EarlierRuns
from pytest_gpuprof.storage.runs import StoredFigures

WORK = ("test_it.py::test_a", "fast")
CONDITIONS = {"device": "NVIDIA T4"}
KINDS = kinds_by_figure()


def run(outcome: str = "passed", device: str = "NVIDIA T4", **figures: float) -> StoredFigures:
    """One workload in one run."""
    conditions = {"device": device}
    return StoredFigures(outcome, 1, key_of(conditions), conditions, figures)


def earlier(*runs: Mapping[Workload, StoredFigures]) -> EarlierRuns:
    """Earlier runs, the newest first."""
    return EarlierRuns.read("before", runs)


def row(before: list[StoredFigures], now: StoredFigures, figure: str) -> Row:
    """Compare one figure; earlier runs are the newest first."""
    (found,) = compared({WORK: now}, earlier(*({WORK: each} for each in before)), KINDS, figures=[figure])
    return found


def test_from_nothing_to_something_is_worse_and_printed_in_every_format() -> None:
    """An infinite change is no number in JSON; it is left out there, and a word in the table."""
    found = row([run(gpu_workspace=0)], run(gpu_workspace=2.0**20), "gpu_workspace")
    assert (found.outcome, found.change) == ("regressed", math.inf)
    comparison = Comparison("before", "now", (found,))
    told = json.loads(json.dumps(data(comparison, comparison.rows, {}), allow_nan=False))
    assert "change" not in told["rows"][0]
    assert "from 0" in table(comparison, comparison.rows)
    assert "from 0" in markdown(comparison, comparison.rows)
    assert "inf" not in [str(cell) for cell in csv_rows(comparison.rows)[0]]
    assert comparison.means == []  # no factor can be told


def test_bytes_are_exact() -> None:
    """What an allocator counts needs no statistics: one earlier run shows 6 %, and none of its noise."""
    assert row([run(gpu_memory=1000)], run(gpu_memory=1000), "gpu_memory").outcome == "unchanged"
    found = row([run(gpu_memory=1000)], run(gpu_memory=1060), "gpu_memory")
    assert (found.outcome, found.interval) == ("regressed", (found.change, found.change))


def test_a_figure_that_has_no_multiple_is_incomparable() -> None:
    """A time of 0 is no multiple of another, and it is said so."""
    found = row([run(gpu_time=0.0)], run(gpu_time=1e-3), "gpu_time")
    assert (found.outcome, found.reason) == ("incomparable", "a figure of 0 or less is no multiple of another")


@pytest.mark.parametrize(
    ("before", "now", "outcome"),
    [
        (run(gpu_time=1e-3), run(gpu_time=1e-3, energy=2.0), "new"),
        (run(gpu_time=1e-3, energy=2.0), run(gpu_time=1e-3), "incomparable"),
    ],
)
def test_a_figure_that_only_one_run_has(before: StoredFigures, now: StoredFigures, outcome: str) -> None:
    """Measured for the first time, or not any more: the latter is not passed over."""
    assert row([before], now, "energy").outcome == outcome


def test_a_figure_that_neither_has_is_no_row() -> None:
    """Nothing is said of it."""
    assert compared({WORK: run(gpu_time=1)}, earlier({WORK: run(gpu_time=1)}), KINDS, figures=["energy"]) == ()


def test_runs_under_other_conditions_do_not_count() -> None:
    """Of three runs the two of this card are the reference."""
    found = row([run(device="H200", gpu_time=9), run(gpu_time=1), run(gpu_time=1)], run(gpu_time=1), "gpu_time")
    assert (found.runs, found.before, found.outcome) == (2, pytest.approx(1), "unchanged")


def test_failed_runs_count_where_there_is_no_other() -> None:
    """Somebody who compares two runs wants them compared."""
    failed = run("failed", gpu_time=2)
    assert row([failed, run(gpu_time=1)], run(gpu_time=2), "gpu_time").before == pytest.approx(1)
    assert row([failed], run(gpu_time=2), "gpu_time").before == pytest.approx(2)


def test_what_vanished_earlier_is_not_told_again() -> None:
    """Only what the newest of the earlier runs still had."""
    gone, older = ("test_it.py::test_gone", "gone"), ("test_it.py::test_older", "older")
    one = run(gpu_time=1)
    runs = earlier({WORK: one, gone: one}, {WORK: one, gone: one, older: one})
    rows = compared({WORK: one}, runs, KINDS, figures=["gpu_time"])
    assert [(each.test, each.outcome) for each in rows][1:] == [(gone[0], "vanished")]


def test_what_is_known_from_before_the_newest_run_is_no_new_name() -> None:
    """A test that the newest of the earlier runs left out is not taken for the new name of one that vanished."""
    gone, back = ("test_it.py::test_sum_large", "sum"), ("test_it.py::test_sum_big", "sum")
    one = run(gpu_time=1)
    (row, vanished) = compared({back: one}, earlier({gone: one}, {gone: one, back: one}), KINDS, figures=["gpu_time"])
    assert (row.outcome, vanished.test, vanished.outcome) == ("unchanged", gone[0], "vanished")
    (row, vanished) = compared({back: one}, earlier({gone: one}), KINDS, figures=["gpu_time"])
    assert (row.outcome, vanished.test, vanished.outcome) == ("new", gone[0], "maybe renamed")


def test_the_figures_that_both_have_are_compared() -> None:
    """Where none is named; how long it takes is compared anyway, on the GPU where there is one."""
    now = run(gpu_time=1, energy=2, speedup=3, gpu_power=4)
    for before, expected in (
        (run(gpu_time=1, energy=2, gpu_power=4), ["gpu_time", "energy"]),
        (run(speedup=1), ["gpu_time", "speedup"]),
    ):
        assert [row.figure for row in compared({WORK: now}, earlier({WORK: before}), KINDS)] == expected
    slow = run(cpu_time=1)
    assert [row.figure for row in compared({WORK: slow}, earlier({WORK: slow}), KINDS)] == ["cpu_time"]


def test_the_worst_comes_first_and_what_was_not_compared_last() -> None:
    """For --sort change."""
    rows = [Row("a", "", "new"), Row("b", "", "improved", worse=-0.2), Row("c", "", "regressed", worse=0.3)]
    assert [each.test for each in sorted_rows(rows, "change")] == ["c", "b", "a"]


def test_many_names_are_counted() -> None:
    """A sentence names five; a comparison of nothing says so."""
    gone = tuple(Row(f"test_{number}", "", "vanished") for number in range(8))
    (vanished, counted) = remarks(Comparison("before", "now", gone))
    assert vanished.text == "vanished: test_0, test_1, test_2, test_3, test_4 and 3 more"
    assert counted.text == "8 vanished"
    assert remarks(Comparison("before", "now", ()))[-1].text == "nothing was compared"
