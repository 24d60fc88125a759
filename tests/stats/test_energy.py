"""Energy per call and mean power from windows of a counter, and how far they can be trusted."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.stats.energy import Counted, EnergyWindow

repeatable = settings(derandomize=True, deadline=None)
windows = st.lists(
    st.builds(EnergyWindow, st.floats(0.1, 1e4), st.floats(0.1, 60), st.integers(1, 10**5)), min_size=1, max_size=8
)


def counted(*taken: EnergyWindow, gain_error: float = 0.0, jittered: bool = True) -> Counted:
    """Windows of a counter that is refreshed every 0.1 s."""
    return Counted(taken, 0.1, gain_error, jittered)


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
    energy = counted(*taken, gain_error=0.05).energy_per_call()
    power = counted(*taken, gain_error=0.05).mean_power()
    assert energy.value == pytest.approx(joules / sum(each.calls for each in taken))
    assert power.value == pytest.approx(joules / sum(each.seconds for each in taken))
    for reading in (energy, power):
        assert reading.interval is not None
        assert reading.value is not None
        assert reading.interval[0] <= reading.value <= reading.interval[1]


def test_one_window_errs_by_the_counters_refresh() -> None:
    """T/W and the gain error in quadrature; no spread is known."""
    window = EnergyWindow(100, 2.0, 50)
    assert half_width(counted(window).energy_per_call()) == pytest.approx(0.05)
    assert half_width(counted(window, gain_error=0.05).energy_per_call()) == pytest.approx(math.hypot(0.05, 0.05))


def test_jittered_windows_are_better_than_each() -> None:
    """Of three, the counter's part is 2·0.41·(T/W)/√3; of two it is still the bound of one."""
    window = EnergyWindow(100, 2.0, 50)
    assert half_width(counted(*[window] * 3).energy_per_call()) == pytest.approx(2 * 0.41 * 0.05 / math.sqrt(3))
    assert half_width(counted(*[window] * 2).energy_per_call()) == pytest.approx(0.05)


def test_windows_of_one_length_may_all_err_alike() -> None:
    """Whatever their number, only the bound of one holds."""
    for count in (1, 3, 50):
        taken = counted(*[EnergyWindow(100, 2.0, 50)] * count, jittered=False)
        assert half_width(taken.energy_per_call()) == pytest.approx(0.05)


def test_the_spread_of_the_windows_widens_the_interval() -> None:
    """By Student's t, which is 4.30 for three windows."""
    taken = [EnergyWindow(joules, 1e9, 1) for joules in (99.0, 100.0, 101.0)]
    assert half_width(counted(*taken).energy_per_call()) == pytest.approx(4.3027 * 0.01 / math.sqrt(3), rel=1e-4)


def test_more_windows_are_not_trusted_as_if_they_were_independent() -> None:
    """Power wanders from one to the next, so t stays that of three; their mean is better all the same."""
    taken = [EnergyWindow(joules, 1e9, 1) for joules in (98.0, 99.0, 100.0, 101.0, 102.0)]
    expected = 4.3027 * 0.015811 / math.sqrt(5)
    assert half_width(counted(*taken).energy_per_call()) == pytest.approx(expected, rel=1e-3)


def test_a_gain_error_is_never_averaged_away_and_is_told_apart() -> None:
    """No number of windows tells what the sensor's own error is; a ratio on one board can leave it out."""
    reading = counted(*[EnergyWindow(100, 60.0, 50)] * 500, gain_error=0.05).energy_per_call()
    assert half_width(reading) == pytest.approx(0.05, rel=1e-3)
    assert reading.gain_error == 0.05
    assert reading.repeatability == pytest.approx(
        half_width(counted(*[EnergyWindow(100, 60.0, 50)] * 500).mean_power())
    )


def test_the_quality_of_the_counter_is_that_of_the_figure() -> None:
    """A simulated figure says so."""
    taken = [EnergyWindow(100, 2.0, 50)]
    assert Counted(taken, 0.1, 0, quality="simulated").energy_per_call().quality == "simulated"
    assert counted(*taken).mean_power().quality == "measured"


def test_net_energy_leaves_out_what_an_idle_board_draws() -> None:
    """Over the seconds of the call; its interval has both windows' errors, relative to what is left."""
    taken = [EnergyWindow(350 * 5.0, 5.0, 500)] * 3
    reading = counted(*taken).net_energy_per_call(EnergyWindow(70 * 4.0, 4.0, 0))
    assert reading.value == pytest.approx(2.8)
    gross = 3.5 * 2 * 0.41 * 0.02 / math.sqrt(3)
    assert half_width(reading) == pytest.approx(math.hypot(gross, 0.7 * 0.1 / 4.0) / 2.8)
    scaled = counted(*taken, gain_error=0.05).net_energy_per_call(EnergyWindow(70 * 4.0, 4.0, 0))
    assert half_width(scaled) == pytest.approx(math.hypot(half_width(reading), 0.05))


@pytest.mark.parametrize("watts", [350.0, 360.0])
def test_net_energy_of_an_idle_workload_is_none(watts: float) -> None:
    """Neither zero nor below it."""
    reading = counted(EnergyWindow(350 * 5.0, 5.0, 500)).net_energy_per_call(EnergyWindow(watts * 4.0, 4.0, 0))
    assert reading.value is None
    assert "drew no more under load than without" in reading.reason


@pytest.mark.parametrize("wrong", [(-1.0, 1.0, 1), (math.nan, 1.0, 1), (1.0, 0.0, 1), (1.0, 1.0, -1)])
def test_a_window_that_cannot_be_is_refused(wrong: tuple[float, float, int]) -> None:
    """At its birth."""
    with pytest.raises(ValueError, match="a window has joules from 0"):
        EnergyWindow(*wrong)


@pytest.mark.parametrize("noise", [0.0, 0.005, 0.02])
@pytest.mark.parametrize("trials", [3, 5])
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_the_interval_holds_the_truth_in_95_of_100_runs(noise: float, trials: int, steps: int) -> None:
    """Windows of about two seconds of a counter of 0.1 s, of a length on which its error is greatest.

    With three calls or more in a refresh the lengths are jittered; with one they are not, and are said not to be.
    """
    rng = random.Random(trials)
    period, watts = 0.1, 300.0
    call = period / steps * 1.0005

    def window() -> EnergyWindow:
        calls = round(2.05 / call) + (rng.randint(0, steps) if steps >= 3 else 0)
        start = rng.uniform(0, 100)
        end = start + calls * call
        level = watts * (1 + rng.gauss(0, noise))
        ticks = math.floor(end / period) - math.floor(start / period)
        return EnergyWindow(level * ticks * period, end - start, calls)

    inside = 0
    for _ in range(1000):
        reading = Counted([window() for _ in range(trials)], period, 0.0, steps >= 3).energy_per_call()
        low, high = reading.interval or (0, 0)
        inside += low <= watts * call <= high
    # Where the windows' own noise is all there is, 950 are expected, and 7 are one standard deviation of a count.
    assert inside >= (935 if noise == 0.02 else 950)
