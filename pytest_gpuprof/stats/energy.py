"""Energy per call from a cumulative counter: two reads around a window of back-to-back calls, several times.

Never more than two reads per window: consumer cards under-report when the counter is read often. A counter that is
refreshed every *T* errs by at most *T/W* in a window of length *W*; where the windows' lengths are jittered, the errors
of several windows are independent and their mean is better than each.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_gpuprof.core.results import Quality, Reading
from pytest_gpuprof.stats.quantiles import student_quantile

__all__ = ["Counted", "EnergyWindow"]

_MOST_FREEDOM = 2
"""Degrees of freedom of Student's t at most. The power of windows one after another wanders, so five of them are hardly
more than three independent ones: with four degrees the truth was inside 88 % of the time only (simulated)."""

_UNIFORM_SD = 0.41
"""Standard deviation of a warm window's error in units of T/W: the difference of two uniform phases, 1/sqrt(6)."""


@dataclass(frozen=True, slots=True)
class EnergyWindow:
    """One window.

    Args:
        joules: what the counter went up by.
        seconds: how long the window was.
        calls: how many calls it held; 0 for a window without load.
    """

    joules: float
    seconds: float
    calls: int

    def __post_init__(self) -> None:
        if not self.joules >= 0 or not self.seconds > 0 or self.calls < 0:
            raise ValueError(f"a window has joules from 0, seconds above 0 and calls from 0, not {self}")


@dataclass(frozen=True, slots=True)
class Counted:
    """What one counter said over all windows of a pass, and the figures that follow.

    Each figure is pooled over the windows. Its 95 % interval adds in quadrature: the counter's refresh, the spread of
    the windows (Student's t), and the sensor's own error, which the reading also carries apart as ``gain_error``.

    Args:
        windows: at least one.
        period_s: how often the counter is refreshed.
        gain_error: relative error of the sensor itself, which no number of windows reduces.
        jittered: whether the windows' lengths differ by random parts of ``period_s``. If they do not, their errors may
            be the same, and only the bound of a single window holds.
        quality: ``"simulated"`` if the counter is.
    """

    windows: Sequence[EnergyWindow]
    period_s: float
    gain_error: float
    jittered: bool = True
    quality: Quality = "measured"

    def energy_per_call(self) -> Reading:
        """Return the gross joules of one call."""
        return self._pooled([window.calls for window in self.windows])

    def mean_power(self) -> Reading:
        """Return the watts over the windows."""
        return self._pooled([window.seconds for window in self.windows])

    def net_energy_per_call(self, idle: EnergyWindow) -> Reading:
        """Return the joules of one call above what the same time costs without load.

        Args:
            idle: a window of the same counter without load. Its error by the refresh is added to that of the gross
                figure, in quadrature; the gain error is the same sensor's, so it scales the difference as a whole.
        """
        gross = self.energy_per_call()
        assert gross.value is not None  # told to mypy: it is pooled from windows
        seconds = sum(window.seconds for window in self.windows) / sum(window.calls for window in self.windows)
        base = idle.joules / idle.seconds * seconds
        net = gross.value - base
        if net <= 0:
            return Reading.unavailable(
                "the board drew no more under load than without; give it more work at once, or budget the gross energy"
            )
        error = math.hypot(gross.repeatability * gross.value, self.period_s / idle.seconds * base)
        return self._reading(net, error / net)

    @property
    def resolution(self) -> float:
        """The most by which the refresh can move one window of mean length, relative to the window."""
        return self.period_s / statistics.fmean(window.seconds for window in self.windows)

    def _pooled(self, amounts: Sequence[float]) -> Reading:
        count = len(self.windows)
        value = sum(window.joules for window in self.windows) / sum(amounts)
        averaged = count >= 3 and self.jittered
        counter = 2 * _UNIFORM_SD * self.resolution / math.sqrt(count) if averaged else self.resolution
        spread = 0.0
        if count >= 2:
            each = [window.joules / amount for window, amount in zip(self.windows, amounts, strict=True)]
            freedom = min(count - 1, _MOST_FREEDOM)
            spread = student_quantile(0.025, freedom) * statistics.stdev(each) / value / math.sqrt(count)
        return self._reading(value, math.hypot(counter, spread))

    def _reading(self, value: float, error: float) -> Reading:
        relative = math.hypot(error, self.gain_error)
        interval = (value * (1 - relative), value * (1 + relative))
        return Reading(value, interval=interval, quality=self.quality, gain_error=self.gain_error)
