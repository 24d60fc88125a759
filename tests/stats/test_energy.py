"""Energy per call and mean power from windows of a counter, and how far they can be trusted."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.stats.energy import EnergyWindow, energy_per_call, mean_power

repeatable = settings(derandomize=True, deadline=None)
windows = st.lists(
    st.builds(EnergyWindow, st.floats(0.1, 1e4), st.floats(0.1, 60), st.integers(1, 10**5)), min_size=1, max_size=8
)


def half_width(reading: Reading) -> float:
    """Relative half-width of the interval."""
    assert reading.interval is not None
    assert reading.value is not None
    return (reading.interval[1] - reading.interval[0]) / 2 / reading.value


@repeatable
@given(windows)
def test_figures_are_pooled_over_the_windows(taken: list[EnergyWindow]) -> None:
    """All joules over all calls, and over all seconds: a longer window counts more."""
    joules = sum(each.joules for each in taken)
    energy = energy_per_call(taken, period_s=0.1, gain_error=0.05)
    power = mean_power(taken, period_s=0.1, gain_error=0.05)
    assert energy.value == pytest.approx(joules / sum(each.calls for each in taken))
    assert power.value == pytest.approx(joules / sum(each.seconds for each in taken))
    for reading in (energy, power):
        assert reading.interval is not None
        assert reading.value is not None
        assert reading.interval[0] <= reading.value <= reading.interval[1]


def test_one_window_errs_by_the_counters_refresh() -> None:
    """T/W and the gain error in quadrature; no spread is known."""
    reading = energy_per_call([EnergyWindow(100, 2.0, 50)], period_s=0.1, gain_error=0.0)
    assert half_width(reading) == pytest.approx(0.05)
    with_gain = energy_per_call([EnergyWindow(100, 2.0, 50)], period_s=0.1, gain_error=0.05)
    assert half_width(with_gain) == pytest.approx(math.hypot(0.05, 0.05))


def test_jittered_windows_are_better_than_each() -> None:
    """Of three, the counter's part is 2·0.41·(T/W)/√3; of two it is still the bound of one."""
    equal = [EnergyWindow(100, 2.0, 50)] * 3
    assert half_width(energy_per_call(equal, period_s=0.1, gain_error=0)) == pytest.approx(
        2 * 0.41 * 0.05 / math.sqrt(3)
    )
    assert half_width(energy_per_call(equal[:2], period_s=0.1, gain_error=0)) == pytest.approx(0.05)


def test_the_spread_of_the_windows_widens_the_interval() -> None:
    """By Student's t, which is 4.30 for three windows."""
    taken = [EnergyWindow(joules, 1e9, 1) for joules in (99.0, 100.0, 101.0)]
    assert half_width(energy_per_call(taken, period_s=0.1, gain_error=0)) == pytest.approx(
        4.3027 * 0.01 / math.sqrt(3), rel=1e-4
    )


def test_a_gain_error_is_never_averaged_away() -> None:
    """No number of windows tells what the sensor's own error is."""
    many = [EnergyWindow(100, 60.0, 50)] * 500
    assert half_width(energy_per_call(many, period_s=0.1, gain_error=0.05)) == pytest.approx(0.05, rel=1e-3)


def test_the_quality_of_the_counter_is_that_of_the_figure() -> None:
    """A simulated figure says so."""
    taken = [EnergyWindow(100, 2.0, 50)]
    assert energy_per_call(taken, period_s=0.1, gain_error=0, quality="simulated").quality == "simulated"
    assert mean_power(taken, period_s=0.1, gain_error=0).quality == "measured"


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("trials", [3, 5])
def test_the_interval_holds_the_truth_in_95_of_100_runs(noise: float, trials: int) -> None:
    """Windows of a counter refreshed every 0.1 s, of about two seconds, with jittered lengths and starts."""
    rng = random.Random(trials)
    period, watts, call = 0.1, 300.0, 0.01

    def window() -> EnergyWindow:
        calls = 200 + rng.randint(0, 10)
        start = rng.uniform(0, 100)
        end = start + calls * call
        level = watts * (1 + rng.gauss(0, noise))
        counted = level * (math.floor(end / period) - math.floor(start / period)) * period
        return EnergyWindow(counted, end - start, calls)

    inside = 0
    for _ in range(1000):
        low, high = energy_per_call([window() for _ in range(trials)], period_s=period, gain_error=0).interval or (0, 0)
        inside += low <= watts * call <= high
    assert inside >= 950
