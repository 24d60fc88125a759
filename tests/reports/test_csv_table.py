"""CSV: one row per figure, with the budget that judged it."""

from __future__ import annotations

import csv
import io
from typing import Any

from pytest_gpuprof.reports.csv_table import COLUMNS, csv_text

from .documents import document, record, verdict


def rows_of(*records: dict[str, Any]) -> list[dict[str, str]]:
    """Return the rows as a reader of CSV sees them."""
    return list(csv.DictReader(io.StringIO(csv_text(document(*records)))))


def test_one_row_per_figure() -> None:
    """In base units and full precision; no budget, no verdict."""
    rows = rows_of(record())
    assert [row["figure"] for row in rows] == ["speedup", "gpu_time", "cpu_time"]
    (time,) = [row for row in rows if row["figure"] == "gpu_time"]
    assert tuple(time) == COLUMNS
    assert (time["test"], time["profile"], time["unit"]) == ("tests/test_a.py::test_a", "work", "s")
    assert float(time["value"]) == 1e-3
    assert float(time["low"]) < 1e-3 < float(time["high"])
    assert (time["rounds"], time["device"], time["device_name"]) == ("3", "cuda:0", "NVIDIA H200")
    assert time["verdict"] == time["budget"] == time["limit"] == time["stand_in"] == ""


def test_words_are_columns() -> None:
    """Simulated and derived cannot be lost on the way into a spreadsheet."""
    told = {row["figure"]: (row["quality"], row["stand_in"]) for row in rows_of(record(simulated=True))}
    assert told["speedup"] == ("derived", "simulated")
    assert told["cpu_time"][1] == told["gpu_time"][1] == "simulated"


def test_a_verdict_stands_with_its_figure() -> None:
    """Of two on one figure the worse; sentences with commas, quotes and line ends survive."""
    sentence = 'GPU time "1 ms", too slow\nfor us'
    verdicts = [verdict("met", sentence="fine"), verdict("missed", sentence=sentence), verdict("met", sentence="fine")]
    rows = rows_of(record(verdicts=verdicts))
    (time,) = [row for row in rows if row["figure"] == "gpu_time"]
    assert (time["budget"], time["limit"], time["verdict"], time["sentence"]) == (
        "max_gpu_time",
        "0.0005",
        "missed",
        sentence,
    )
    assert len(rows) == 3


def test_a_budget_without_a_figure_has_a_row_without_a_value() -> None:
    """What could not be measured is not passed over, and is not 0."""
    missing = verdict("unavailable", "max_energy", limit=1.0, observed=None, interval=None)
    row = rows_of(record(verdicts=[missing]))[-1]
    assert (row["figure"], row["value"], row["verdict"]) == ("energy", "", "unavailable")


def test_a_run_without_records_has_its_head() -> None:
    """A reader finds the columns."""
    assert csv_text(document()).splitlines() == [",".join(COLUMNS)]
