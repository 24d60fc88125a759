"""A series of runs: its line of blocks, and where its level changed and where only noise is."""

from __future__ import annotations

import math
import random

import pytest

from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.reports.trend import LEAST_RUNS, sparkline, steps


def noisy(level: float, runs: int, spread: float, seed: int = 1) -> list[float]:
    """Runs around a level."""
    source = random.Random(seed)
    return [level * math.exp(source.gauss(0, spread)) for _ in range(runs)]


# -- the line ---------------------------------------------------------------------------------------------------------


def test_noise_looks_flat_and_a_step_does_not() -> None:
    """The scale reaches 10 % to either side, so that 1 % of noise makes no mountains."""
    flat = sparkline(noisy(1e-3, 40, 0.01))
    assert len(set(flat)) <= 3
    risen = sparkline([*noisy(1e-3, 20, 0.01), *noisy(2e-3, 20, 0.01)])
    assert (risen[0], risen[-1]) == ("▁", "█")


def test_the_highest_and_the_lowest_run_have_a_character() -> None:
    """Also where the ends of the scale are reached exactly."""
    assert sparkline([1.0, 8.0]) == "▁█"
    assert sparkline([0.0, 0.0]) == "▁▁"
    assert sparkline([]) == ""


def test_a_terminal_without_blocks_gets_ascii() -> None:
    """Every character of it is ASCII, and high still looks high."""
    line = sparkline([1.0, 2.0, 4.0], ascii_only=True)
    assert line.isascii()
    assert line[0] == "_"
    assert line[-1] == "#"


def test_a_long_history_fits_a_line() -> None:
    """Medians of neighbours are drawn; the step stays visible."""
    line = sparkline([1.0] * 500 + [2.0] * 500, width=10)
    assert line == "▁▁▁▁▁█████"


# -- changes of the level ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.8, 1.1, 1.2])
def test_a_change_is_found_where_it_is(factor: float) -> None:
    """Its place, its size and its direction."""
    (step,) = steps([*noisy(1e-3, 12, 0.01), *noisy(factor * 1e-3, 8, 0.01, seed=2)])
    assert step.index == 12
    assert step.runs == 8
    assert step.change == pytest.approx(factor - 1, abs=0.02)


def test_two_changes_are_two() -> None:
    """Up and down again, each told from the level before it."""
    series = [*noisy(1.0, 10, 0.01), *noisy(1.3, 10, 0.01), *noisy(1.0, 10, 0.01)]
    assert [(step.index, step.change > 0) for step in steps(series)] == [(10, True), (20, False)]


@pytest.mark.parametrize(("runs", "spread"), [(20, 0.02), (50, 0.05), (200, 0.02)])
def test_noise_is_no_change(runs: int, spread: float) -> None:
    """At most 2 in 100 series of nothing but noise are said to have a change."""
    false = sum(bool(steps(noisy(1.0, runs, spread, seed))) for seed in range(100))
    assert false <= 2


def test_identical_runs_have_no_change() -> None:
    """Runs that happen to agree are not taken for free of noise: half a percent more is none."""
    assert steps([1.0] * 20) == []
    assert steps([1.0] * 10 + [1.005] * 10) == []


@pytest.mark.parametrize("odd", [1, 2])
@pytest.mark.parametrize("at", ["begin", "middle", "end"])
def test_a_fluke_is_no_level(odd: int, at: str) -> None:
    """One or two slow runs are none, wherever they stand: a level has three."""
    calm, slow = [1.0] * 10, [1.5] * odd
    assert steps({"begin": slow + calm + calm, "middle": calm + slow + calm, "end": calm + calm + slow}[at]) == []


def test_a_new_level_shows_after_three_runs() -> None:
    """No earlier, and no later."""
    (step,) = steps([1.0] * 10 + [1.2] * LEAST_RUNS)
    assert (step.index, step.runs) == (10, LEAST_RUNS)


def test_a_drift_of_units_does_not_matter() -> None:
    """Nanoseconds and hours have the same changes: only ratios count."""
    series = [*noisy(1.0, 12, 0.01), *noisy(1.2, 8, 0.01)]
    assert [step.index for step in steps([value * 1e-9 for value in series])] == [step.index for step in steps(series)]


def test_few_runs_have_no_levels() -> None:
    """Five runs cannot be two levels of three."""
    assert steps([1.0, 1.0, 1.0, 2.0, 2.0]) == []


def test_a_figure_of_zero_is_refused_in_words() -> None:
    """It has no logarithm."""
    with pytest.raises(Unavailable, match="figure of 0"):
        steps([1.0] * 6 + [0.0])
