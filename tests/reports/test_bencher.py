"""The Bencher Metric Format."""

from __future__ import annotations

import json
from typing import Any

from pytest_gpuprof.reports.bencher import bencher_text

from .documents import document, record


def told(*records: dict[str, Any]) -> dict[str, Any]:
    """Return what a reader finds."""
    found: dict[str, Any] = json.loads(bencher_text(document(*records)))
    return found


def test_one_benchmark_per_workload_and_one_measure_per_figure() -> None:
    """In base units, with the interval where there is one."""
    ((name, measures),) = told(record(readings={"energy": 0.5})).items()
    assert name == "tests/test_a.py::test_a"
    assert set(measures) == {"gpu-time", "cpu-time", "speedup-derived", "energy"}
    assert measures["energy"] == {"value": 0.5}
    time = measures["gpu-time"]
    assert time["lower_value"] < time["value"] == 1e-3 < time["upper_value"]


def test_words_are_in_the_names() -> None:
    """A threshold for a GPU does not hold for a stand-in, nor one for a measured figure for an estimated one."""
    ((name, measures),) = told(record(simulated=True)).items()
    assert name == "tests/test_a.py::test_a (simulated)"
    assert set(measures) == {"gpu-time", "cpu-time", "speedup-derived"}


def test_profiles_and_records_from_outside_pytest_have_names() -> None:
    """Never an empty one, which Bencher refuses."""
    assert set(told(record("t.py::a"), record("t.py::a", name="b"), record(""))) == {
        "t.py::a work",
        "t.py::a b",
        "work",
    }


def test_a_run_without_records_is_an_empty_object() -> None:
    """Which is valid."""
    assert told() == {}
