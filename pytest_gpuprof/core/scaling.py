"""How a workload scales: its time over sizes, the size from which the GPU wins, and how each leg grows. Frozen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_gpuprof.core.quantities import format_number, format_quantity
from pytest_gpuprof.core.results import Caution, Reading

__all__ = ["NOT_SWEPT", "Crossover", "Growth", "Point", "Scaling"]

NOT_SWEPT = Reading.unavailable("one size only was measured: give several with gpu_profile.sweep(…)", "not asked for")
"""The crossover of a profile that is not of a sweep."""


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured at one size.

    Args:
        size: the value of the swept parameter.
        cpu, gpu: wall time per call of a leg in seconds, with its interval, or why there is none.
        speedup: the one divided by the other.
    """

    size: float
    cpu: Reading
    gpu: Reading
    speedup: Reading


@dataclass(frozen=True, slots=True)
class Crossover:
    """The smallest size from which the GPU wins, up to the largest that was measured.

    Args:
        size: the estimate. It is the smallest measured size where the GPU wins at all of them, and ``None`` where it
            does not win at the largest.
        low, high: its interval. 0 where the GPU may win at sizes below the smallest, infinite where it may not win even
            at the largest.
        smallest, largest: the sizes between which it was looked for.

    Raises:
        ValueError: if the estimate lies outside its interval.
    """

    size: float | None
    low: float
    high: float
    smallest: float
    largest: float

    def __post_init__(self) -> None:
        if self.size is not None and not self.low <= self.size <= self.high:
            raise ValueError(f"a crossover of {self.size} cannot lie outside {self.low} to {self.high}")

    @property
    def surely_beyond(self) -> bool:
        """Whether the GPU surely does not win at the largest size; if it does not, noise may be why."""
        return self.size is None and self.low >= self.largest

    def told(self, parameter: str) -> str:
        """Return it in words.

        >>> Crossover(310.0, 256.0, 390.0, 64, 4096).told("n")
        'n = 310 (256 to 390)'
        >>> Crossover(None, 4096.0, math.inf, 64, 4096).told("n")
        'above n = 4096 (the largest measured)'
        >>> Crossover(64.0, 0.0, 64.0, 64, 4096).told("n")
        'at or below n = 64 (the smallest measured)'
        """
        if self.size is None and not self.surely_beyond:
            return f"too close to call at {parameter} = {written(self.largest)} (the largest measured)"
        if self.size is None:
            return f"above {parameter} = {written(self.largest)} (the largest measured)"
        if self.low == 0 and self.high <= self.smallest:
            return f"at or below {parameter} = {written(self.smallest)} (the smallest measured)"
        if self.low == self.high:
            return f"{parameter} = {_about(self.size)}"
        upper = "or above" if math.isinf(self.high) else f"to {_about(self.high)}"
        return f"{parameter} = {_about(self.size)} ({_about(self.low)} {upper})"


@dataclass(frozen=True, slots=True)
class Growth:
    """How the time of a leg grows: ``fixed_s + coefficient × size ** exponent`` seconds per call.

    Args:
        fixed_s: what every call takes, whatever the size: launching, mostly.
        coefficient: seconds at size 1 beyond that.
        exponent: 3 for a matrix product over its edge.
        interval: of the exponent, 95 %.
        misfit: the largest part by which a point differs from the curve; 0.1 is 10 %.
    """

    fixed_s: float
    coefficient: float
    exponent: float
    interval: tuple[float, float]
    misfit: float

    def at(self, size: float) -> float:
        """Return the seconds that the curve gives at a size.

        >>> round(Growth(1e-5, 2e-9, 2.0, (1.9, 2.1), 0.01).at(100), 9)
        3e-05
        """
        return self.fixed_s + self.coefficient * math.pow(size, self.exponent)

    def told(self, parameter: str) -> str:
        """Return it in words.

        >>> Growth(1e-5, 2e-9, 2.0, (1.9, 2.1), 0.01).told("n")
        '10 µs + n^2 (1.9 to 2.1)'
        """
        low, high = (format_number(bound, 3) for bound in self.interval)
        known = self.interval[1] - self.interval[0] <= _WIDE
        power = f"{parameter}^{format_number(self.exponent, 3) if known else '?'} ({low} to {high})"
        fixed = f"{format_quantity(self.fixed_s, 's', digits=2)} + " if self.fixed_s > 0 else ""
        off = f", off by up to {self.misfit:.0%}" if self.misfit > _ROUGH else ""
        return f"{fixed}{power}{off}"


_WIDE = 2.0
"""An exponent that is known no better than this is not told: most of the time is the fixed part, at all these sizes."""

_ROUGH = 0.1
"""A curve that misses a point by more than 10 % is called rough: caches and threads that set in are no power of n."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """What a sweep found.

    Args:
        parameter: the name of the builder's parameter that was swept.
        points: one per size, the smallest first.
        crossover: from which size the GPU wins, or why that is not known.
        growth: of the legs ``"cpu"`` and ``"gpu"``, or why it is not known.
        cautions: the doubts about speedups at any size but the largest, whose own profile tells them.
    """

    parameter: str
    points: tuple[Point, ...]
    crossover: Crossover | Reading
    growth: Mapping[str, Growth | Reading]
    cautions: tuple[Caution, ...] = ()

    @property
    def reading(self) -> Reading:
        """The crossover as a figure; unavailable where the GPU does not win at the largest size."""
        if isinstance(self.crossover, Reading):
            return self.crossover
        if self.crossover.size is None:
            where = f"at {self.parameter} = {written(self.crossover.largest)}, the largest size that was measured"
            sure = self.crossover.surely_beyond
            return Reading.unavailable(f"the GPU does not win {where}" if sure else f"it is too close to call {where}")
        interval = (self.crossover.low, self.crossover.high)
        return Reading(self.crossover.size, interval=interval, quality="derived")

    @property
    def sentence(self) -> str:
        """What it found, in one sentence without its end."""
        told = self.crossover
        if isinstance(told, Reading):
            found = f"the crossover is unavailable, because {told.reason}"
        elif told.size is None and not told.surely_beyond:
            found = f"it is too close to call at {self.parameter} = {written(told.largest)}, the largest measured"
        elif told.size is None:
            found = f"the GPU does not win at {self.parameter} = {written(told.largest)}, the largest measured"
        elif told.low == 0 and told.high <= told.smallest:
            found = f"the GPU wins at every size, from {self.parameter} = {written(told.smallest)} on"
        else:
            found = f"the GPU wins from {told.told(self.parameter)}"
        grown = [
            f"{leg.upper()} time grows as {growth.told(self.parameter)}"
            for leg, growth in self.growth.items()
            if isinstance(growth, Growth)
        ]
        return "; ".join([found, *grown])


def written(size: float) -> str:
    """Return a size that was measured, or a limit, exactly.

    >>> written(4096.0), written(310.4), written(0.25), written(10_000_000)
    ('4096', '310.4', '0.25', '10000000')
    """
    return str(int(size)) if float(size).is_integer() else repr(float(size))


def _about(size: float) -> str:
    """Return a size that was estimated."""
    return format_number(size, 3)
