"""Does a workload gain memory from call to call? From the live bytes after each call to the growth per call. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pytest_gpuprof.stats.decision import DEFAULT_CONFIDENCE, check_confidence

__all__ = ["LEAST_CALLS", "LEAST_LEAK_BYTES", "LEAST_LEAK_SHARE", "Growth", "growth_per_call"]

LEAST_CALLS = 8
"""With eight figures the interval of the slope excludes zero for a growth at every call or every second one, and never
for one or two steps, wherever they are: that is how a cache fills, and not how memory leaks."""

LEAST_LEAK_BYTES = 512.0
"""The smallest block of CUDA's allocators: a growth that is irregular and smaller than that comes from rounding."""

LEAST_LEAK_SHARE = 1e-3
"""An irregular growth of less than a thousandth of the peak per call lies within what caches of a framework do."""

_LEAST_STEPS_UP = 0.8
"""A leak may be hidden in single calls by something that is freed; in most calls it shows."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How a series of live bytes grows.

    Attributes:
        slope: Bytes per call: the median of the slopes between all pairs of calls.
        low, high: The interval of the slope, in bytes per call.
        steps_up: The share of steps from one call to the next that do not go down.
        gained: Bytes at the last call less bytes at the first.
        regular: Whether every step is the same.
    """

    slope: float
    low: float
    high: float
    steps_up: float
    gained: float
    regular: bool

    @property
    def steady(self) -> bool:
        """Whether it grows from call to call, however little."""
        return self.low > 0 and self.gained > 0 and self.steps_up >= _LEAST_STEPS_UP

    def leaks(self, peak_bytes: float) -> bool:
        """Return whether this is a leak: a steady growth, by the same bytes each time or by more than noise can be.

        Args:
            peak_bytes: The peak of the workload's memory, against which noise is judged.
        """
        floor = max(LEAST_LEAK_BYTES, LEAST_LEAK_SHARE * peak_bytes)
        return self.steady and (self.regular or self.slope > floor)


def growth_per_call(live_bytes: Sequence[float], confidence: float = DEFAULT_CONFIDENCE) -> Growth:
    """Return how live bytes grow over calls.

    Args:
        live_bytes: What was live after each call, in the order of the calls; at least `LEAST_CALLS` finite numbers.
        confidence: Of the interval, between 0.5 and 1; default 0.95.

    Raises:
        ValueError: There are too few numbers, or one is not finite, or confidence is out of range.

    Source: Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968): slope and interval
    hold for any noise, and a few odd calls do not move them.

    Example:
        >>> growth_per_call([4096.0 + 1024 * call for call in range(8)]).slope
        1024.0
        >>> growth_per_call([0.0, 0.0, 0.0, 0.0, 9e6, 9e6, 9e6, 9e6]).steady  # a cache was filled
        False
    """
    check_confidence(confidence)
    live = [float(each) for each in live_bytes]
    if len(live) < LEAST_CALLS:
        raise ValueError(f"there are {len(live)} figures: give one for each of at least {LEAST_CALLS} calls")
    if not all(map(math.isfinite, live)):
        raise ValueError("a figure is not finite: give bytes")
    from scipy.stats import theilslopes  # type: ignore[import-untyped, unused-ignore]

    steps = [after - before for before, after in pairwise(live)]
    slope, _, low, high = (float(each) for each in theilslopes(live, alpha=confidence))
    return Growth(
        slope,
        low,
        high,
        steps_up=sum(step >= 0 for step in steps) / len(steps),
        gained=live[-1] - live[0],
        regular=len(set(steps)) == 1,
    )
