"""Runs compared figure by figure: the cases that stored runs on a simulated machine do not have."""

from __future__ import annotations

import json
import math

import pytest

from pytest_gpuprof.budgets.figures import Figure
from pytest_gpuprof.budgets.kinds import kinds_by_figure
from pytest_gpuprof.reports.comparison import csv_rows, data, markdown, remarks, table
from pytest_gpuprof.storage.baselines import Entry
from pytest_gpuprof.storage.comparison import Comparison, EarlierAccepted, EarlierRuns, Row, compared, sorted_rows
from pytest_gpuprof.storage.conditions import key_of
from pytest_gpuprof.storage.runs import StoredFigures

WORK = ("test_it.py::test_a", "fast")
CONDITIONS = {"device": "NVIDIA T4"}
KINDS = kinds_by_figure()


def run(outcome: str = "passed", device: str = "NVIDIA T4", **figures: float) -> StoredFigures:
    """One workload in one run."""
    conditions = {"device": device}
    measured = {name: Figure(value, None, 5, "measured") for name, value in figures.items()}
    return StoredFigures(outcome, 1, key_of(conditions), conditions, measured)


def row(before: list[StoredFigures], now: StoredFigures, figure: str) -> Row:
    """Compare one figure; earlier runs are the newest first."""
    (found,) = compared({WORK: now}, EarlierRuns([{WORK: each} for each in before], "before"), KINDS, [figure])
    return found


def test_from_nothing_to_something_is_worse_and_printed_in_every_format() -> None:
    """An infinite change is no number in JSON; it is left out there, and a word in the table."""
    found = row([run(gpu_workspace=0)], run(gpu_workspace=2.0**20), "gpu_workspace")
    assert (found.outcome, found.change) == ("regressed", math.inf)
    comparison = Comparison("before", "now", (found,))
    told = json.loads(json.dumps(data(comparison, comparison.rows, {}), allow_nan=False))
    assert "change" not in told["rows"][0]
    assert "from 0" in table(comparison.rows)
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
    assert compared({WORK: run(gpu_time=1)}, EarlierRuns([{WORK: run(gpu_time=1)}], ""), KINDS, ["energy"]) == ()


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
    earlier = EarlierRuns([{WORK: one, gone: one}, {WORK: one, gone: one, older: one}], "before")
    rows = compared({WORK: one}, earlier, KINDS, ["gpu_time"])
    assert [(each.test, each.outcome) for each in rows][1:] == [(gone[0], "vanished")]


def test_accepted_baselines() -> None:
    """By their conditions; else what differs, or that nothing is known."""
    earlier = EarlierAccepted([Entry(*WORK, "gpu_time", CONDITIONS, (1.0, 1.0))], "the file")
    assert earlier.before(WORK, run(), "gpu_time").values == (1.0, 1.0)
    other = earlier.before(WORK, run(device="H200"), "gpu_time")
    assert (other.absence, other.reason) == ("incomparable", "device was NVIDIA T4 and is H200")
    assert earlier.before(WORK, run(), "speedup").reason == "the file has other figures of it only"
    assert earlier.before(("t", "n"), run(), "speedup").reason == "the file has nothing of it"


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
