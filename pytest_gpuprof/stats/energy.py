"""Energy per call from a cumulative counter: two reads around a window of back-to-back calls, several times.

Never more than two reads per window: consumer cards under-report when the counter is read often. A counter that is
refreshed every *T* errs by at most *T/W* in a window of length *W*; the windows' lengths are jittered, so that the
errors of several windows are independent and their mean is better than each.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_gpuprof.core.results import Quality, Reading

__all__ = ["EnergyWindow", "energy_per_call", "mean_power"]

_UNIFORM_SD = 0.41
"""Standard deviation of a warm window's error in units of T/W: the difference of two uniform phases, 1/sqrt(6)."""


@dataclass(frozen=True, slots=True)
class EnergyWindow:
    """One window.

    Args:
        joules: what the counter went up by.
        seconds: how long the window was.
        calls: how many calls it held.
    """

    joules: float
    seconds: float
    calls: int


def energy_per_call(
    windows: Sequence[EnergyWindow], *, period_s: float, gain_error: float, quality: Quality = "measured"
) -> Reading:
    """Return the gross joules of one call, with an interval.

    Args:
        windows: at least one.
        period_s: how often the counter is refreshed.
        gain_error: relative error of the sensor itself, which no number of windows reduces.
        quality: ``"simulated"`` if the counter is.

    Returns:
        The pooled figure. The interval adds the counter's resolution, the spread of the windows (Student's t, 95 %)
        and the gain error in quadrature.
    """
    joules = sum(window.joules for window in windows)
    calls = sum(window.calls for window in windows)
    return _with_interval(
        joules / calls, [window.joules / window.calls for window in windows], windows, period_s, gain_error, quality
    )


def mean_power(
    windows: Sequence[EnergyWindow], *, period_s: float, gain_error: float, quality: Quality = "measured"
) -> Reading:
    """Return the mean watts over the windows, with an interval as in :func:`energy_per_call`."""
    joules = sum(window.joules for window in windows)
    seconds = sum(window.seconds for window in windows)
    return _with_interval(
        joules / seconds, [window.joules / window.seconds for window in windows], windows, period_s, gain_error, quality
    )


def _with_interval(
    value: float,
    each: Sequence[float],
    windows: Sequence[EnergyWindow],
    period_s: float,
    gain_error: float,
    quality: Quality,
) -> Reading:
    count = len(windows)
    resolution = period_s / statistics.fmean(window.seconds for window in windows)
    counter = 2 * _UNIFORM_SD * resolution / math.sqrt(count) if count >= 3 else resolution
    spread = 0.0
    if count >= 2:
        from scipy.special import stdtrit  # only who measures energy pays for the import

        spread = float(stdtrit(count - 1, 0.975)) * statistics.stdev(each) / value / math.sqrt(count)
    relative = math.hypot(counter, spread, gain_error)
    return Reading(value, interval=(value * (1 - relative), value * (1 + relative)), quality=quality)
