"""How time grows with size: a fixed part, and a power of the size, fitted to a few measured times.

``t(n) = fixed + coefficient × n ** exponent``. For each exponent the other two follow from weighted least squares in
closed form, with neither below 0; so only the exponent is searched for. Points are weighted by their relative error,
because a time of a microsecond is known as well as one of a second, in per cent.

The interval of the exponent holds the exponents whose curve fits the points not significantly worse than the best one
does (a profile likelihood). The noise in it is what the points are known to have, or, where that is more, the misfit:
no workload grows by a power exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pytest_gpuprof.core.scaling import Growth
from pytest_gpuprof.stats.quantiles import normal_quantile, student_quantile

__all__ = ["FEWEST", "growth_of"]

FEWEST = 4
"""Three numbers are fitted: with three sizes any curve fits exactly, and nothing is said of how well."""

_MOST = 6.0
"""Exponents are looked for between 0 and 6: beyond a power of six nobody sweeps."""

_STEP = 0.05

_LEAST_FIXED = 0.02
"""A fixed part below 2 % of the shortest time is left out: it is what noise makes of none."""

_Curve = tuple[float, float]
"""The fixed part and the coefficient, for one exponent."""


class _Fit:
    """Times over sizes, and the curves through them.

    Args:
        shares: sizes as parts of the largest, so that powers neither overflow nor vanish.
        times: seconds.
    """

    def __init__(self, shares: Sequence[float], times: Sequence[float]) -> None:
        self._shares = shares
        self._ones = [1 / time for time in times]  # a curve's relative misfit: fixed × one + coefficient × power - 1

    def misfits(self, curve: _Curve, exponent: float) -> list[float]:
        """Return by which part of each time a curve differs from it."""
        fixed, coefficient = curve
        return [
            (fixed + coefficient * share**exponent) * one - 1
            for share, one in zip(self._shares, self._ones, strict=True)
        ]

    def squares(self, curve: _Curve, exponent: float) -> float:
        """Return the sum of the squared misfits."""
        return math.fsum(each**2 for each in self.misfits(curve, exponent))

    def power(self, exponent: float) -> _Curve:
        """Return the best curve without a fixed part."""
        powers = self._powers(exponent)
        return 0.0, math.fsum(powers) / math.fsum(x * x for x in powers)

    def best(self, exponent: float) -> _Curve:
        """Return the best curve, neither part of it below 0."""
        ones, powers = self._ones, self._powers(exponent)
        aa, bb = math.fsum(x * x for x in ones), math.fsum(x * x for x in powers)
        ab = math.fsum(x * y for x, y in zip(ones, powers, strict=True))
        a, b = math.fsum(ones), math.fsum(powers)
        determinant = aa * bb - ab * ab
        if determinant > 1e-12 * aa * bb:
            fixed, coefficient = (a * bb - b * ab) / determinant, (b * aa - a * ab) / determinant
            if fixed >= 0 and coefficient >= 0:
                return fixed, coefficient
        return min((0.0, b / bb), (a / aa, 0.0), key=lambda curve: self.squares(curve, exponent))

    def _powers(self, exponent: float) -> list[float]:
        return [share**exponent * one for share, one in zip(self._shares, self._ones, strict=True)]


def growth_of(sizes: Sequence[float], times: Sequence[float], errors: Sequence[float]) -> Growth:
    """Return the curve that fits the times best.

    Args:
        sizes: at least :data:`FEWEST`, above 0, each another.
        times: seconds, above 0.
        errors: the standard error of each time, relative to it.

    Raises:
        ValueError: if these do not fit together, or are too few.

    >>> found = growth_of([1, 10, 100, 1000], [3e-6, 12e-6, 102e-6, 1002e-6], [0.01] * 4)
    >>> round(found.exponent, 2), round(found.fixed_s * 1e6, 1)
    (1.0, 2.0)
    """
    if len(sizes) < FEWEST or not len(sizes) == len(times) == len(errors):
        raise ValueError(f"a growth takes {FEWEST} sizes at least, and a time with its error for each")
    if min(sizes) <= 0 or min(times) <= 0:
        raise ValueError("sizes and times are above 0")
    largest = max(sizes)
    fit = _Fit([size / largest for size in sizes], times)

    def squares(exponent: float) -> float:
        return fit.squares(fit.best(exponent), exponent)

    exponent = _least(squares)
    curve, dof = fit.best(exponent), len(sizes) - 3
    known = math.fsum(error**2 for error in errors) / len(errors)
    from_misfit = squares(exponent) / dof
    far = student_quantile(0.025, dof) if from_misfit > known else normal_quantile(0.025)
    worst = squares(exponent) + far**2 * max(known, from_misfit)
    interval = (_edge(squares, exponent, 0.0, worst), _edge(squares, exponent, _MOST + 2.0, worst))
    if curve[0] < _LEAST_FIXED * times[sizes.index(min(sizes))]:
        exponent = _least(lambda each: fit.squares(fit.power(each), each))
        curve = fit.power(exponent)
    fixed, coefficient = curve
    misfit = max(map(abs, fit.misfits(curve, exponent)))
    return Growth(fixed, coefficient / largest**exponent, exponent, interval, misfit)


def _least(function: Callable[[float], float]) -> float:
    """Return the exponent for which a function is least: on a grid, and then by golden sections."""
    start = min((step * _STEP for step in range(1, round(_MOST / _STEP) + 1)), key=function)
    low, high, ratio = max(start - _STEP, _STEP / 10), start + _STEP, (math.sqrt(5) - 1) / 2
    while high - low > 1e-6:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if function(a) < function(b) else (a, high)
    return (low + high) / 2


def _edge(function: Callable[[float], float], inside: float, outside: float, level: float) -> float:
    """Return where a function reaches a level between a place below it and one beyond; the latter if it does not."""
    if function(outside) <= level:
        return outside
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if function(middle) <= level else (inside, middle)
    return inside
