"""The benchmark of overhead: the parts that need no long runs, and its tables."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gated, idle, loop_cost, overhead

FOUND: dict[str, Any] = {
    "idle": {
        "tests": 1000,
        "import_s": 0.001,
        "options_s": 0.0005,
        "parts_ratio": 1.0025,
        "heavy_imports": [],
        "instructions_ratio": None,
        "cpu_ratio": 1.02,
        "cpu_ratio_interval": [0.99, 1.05],
        "cpu_ratios": [0.99, 1.02, 1.05],
        "control_ratio": 1.03,
        "control_ratio_interval": [0.98, 1.06],
        "wall_ratio": 1.0,
        "bare_cpu_s": 0.6,
    },
    "loop": {
        "repeats": 2000,
        "instructions": {"ours": 396.0, "timeit": 360.0},
        "ratio": 1.01,
        "ratio_interval": [1.0, 1.02],
        "control_ratio": 0.98,
        "control_ratio_interval": [0.97, 0.99],
        "ours_s": 20.2e-9,
        "timeit_s": 20e-9,
    },
    "gated": {
        "seconds": {"gpuprof": {"small": 1.0, "large": 2.0}, "pytest-benchmark": {"small": 2.0, "large": 5.0}},
        "ratios": {"pytest-benchmark": 3 / 7},
        "phases": {"small": {"first call": 0.1, "round": 0.3}},
        "phases_simulated": {"small": {"round": 0.3}},
    },
}


def test_a_goal_that_is_not_met_is_marked() -> None:
    """And one that is met is not; what was not counted says so."""
    shown = overhead.table(FOUND)
    assert "| idle, CPU time of whole runs | 1.020 ✗ | 1.01 | median of 3, 95 % interval 0.990 to 1.050 |" in shown
    assert "| control: no plugin ÷ no plugin | 1.030 | 1 |" in shown
    assert "| idle, by instructions | not counted | 1.01 |" in shown
    assert "| loop, by instructions | 1.100 ✗ | 1.05 | 396.00 against 360.00 per call |" in shown
    assert "| loop, seconds | 1.010 | 1.05 | median of 2000, 95 % interval 1.000 to 1.020;" in shown
    assert "| gated test ÷ pytest-benchmark | 0.429 | 0.5 |" in shown
    assert "| gpuprof | 1.00 | 2.00 |" in shown
    assert "| small | 0.10 | 0.30 |" in shown


def test_the_plot_has_every_way(tmp_path: Path) -> None:
    """One series of bars for each."""
    pytest.importorskip("matplotlib", reason="NOT TESTED: plots need matplotlib")
    (plot,) = overhead.plots(FOUND, tmp_path)
    assert "pytest-benchmark" in plot.read_text(encoding="utf-8")


def test_the_interval_of_a_median_is_that_of_the_sign_test() -> None:
    """For 10 values the second and the ninth (97.9 %), for 40 the 14th and the 27th (96.2 %); for 4 their range."""
    assert idle.median_interval(range(1, 11)) == (2, 9)
    assert idle.median_interval(range(1, 41)) == (14, 27)
    assert idle.median_interval([3, 1, 4, 2]) == (1, 4)


def test_both_loops_are_measured_and_collection_is_restored() -> None:
    """The least of some repeats is positive for both, and garbage is collected again afterwards."""
    assert gc.isenabled()
    found = loop_cost.measure(3, count_instructions=False)
    assert gc.isenabled()
    assert found["ours_s"] > 0
    assert found["timeit_s"] > 0
    low, high = found["ratio_interval"]
    assert low <= found["ratio"] <= high
    assert found["instructions"] is None


def test_our_loop_executes_no_more_than_that_of_timeit() -> None:
    """Counted, not timed: within a percent per call."""
    found = loop_cost._instructions()
    if found is None:
        pytest.skip("NOT TESTED: counting instructions needs valgrind")
    assert found["ours"] == pytest.approx(found["timeit"], rel=0.01)


def test_phases_are_summed_by_name() -> None:
    """All rounds are one phase; a phase lasts until the next is told."""
    told = [(0.0, "first call on cpu"), (1.0, "round 1 of 3"), (3.0, "round 2 of 3"), (7.0, "end")]
    assert gated.phases_of(told) == {"first call": 1.0, "round": 6.0}


def test_the_simulated_phases_are_those_of_a_measurement() -> None:
    """Warm-up of both legs and three rounds take simulated time, and no real machine has a part in it."""
    found = gated._simulated_phases(500e-6, 100e-6)
    assert found == gated._simulated_phases(500e-6, 100e-6)
    assert found["warming up"] > 0
    assert found["round"] > 0


def test_idle_runs_have_costs_and_a_ratio() -> None:
    """One turn of runs of a single empty test: every figure is there, and no framework was imported."""
    found = idle.measure(1, 1, count_instructions=False)
    assert found["heavy_imports"] == []
    assert found["import_s"] > 0
    assert len(found["cpu_ratios"]) == 1
    low, high = found["cpu_ratio_interval"]
    assert low <= found["cpu_ratio"] <= high
    assert found["parts_ratio"] > 1
