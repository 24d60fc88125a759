"""From which size on is the GPU faster? The last rise of the speedup through 1, with its interval.

The logarithm of the speedup is followed over the logarithm of the size, straight from one measured size to the next.
Three such lines are followed: through the estimates, and through the lower and the upper ends of their intervals. Where
the highest of them is below 0 for the last time, the GPU surely loses; from where the lowest is never below 0 again, it
surely wins. Between the two lies the crossover.

Between two sizes the speedup is no straight line. If it bends in one direction over the two neighbouring stretches too,
as it does while a fixed cost fades and before the device is full, then it lies between the straight line and the
prolonged neighbours. The interval is widened by how far these put the crossover from where the line has it; without
neighbours, to the two sizes between which it lies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from pytest_gpuprof.core.scaling import Crossover

__all__ = ["crossover_of"]


def crossover_of(sizes: Sequence[float], margins: Sequence[float], half_widths: Sequence[float]) -> Crossover:
    """Return the smallest size from which the GPU wins.

    Args:
        sizes: at least two, above 0, growing.
        margins: the natural logarithm of the speedup at each size.
        half_widths: of its interval, as a natural logarithm; infinite where one round says nothing of its noise.

    Raises:
        ValueError: if these do not fit together.

    >>> found = crossover_of([1, 4, 16, 64], [-3.0, -1.0, 0.5, 1.0], [0.01] * 4)
    >>> [round(size, 1) for size in (found.low, found.size, found.high)]
    [7.9, 10.1, 10.2]
    """
    if len(sizes) < 2 or not len(sizes) == len(margins) == len(half_widths):
        raise ValueError("a crossover takes two sizes at least, and a margin with its half-width for each")
    if any(size <= 0 for size in sizes) or any(after <= before for before, after in pairwise(sizes)):
        raise ValueError(f"sizes are above 0 and grow, not {list(sizes)}")
    places = [math.log(size) for size in sizes]
    lower = [margin - half for margin, half in zip(margins, half_widths, strict=True)]
    upper = [margin + half for margin, half in zip(margins, half_widths, strict=True)]
    low, middle, high = (_last_below(places, line) for line in (upper, margins, lower))
    before, after = _bend(places, margins, middle)
    if math.isfinite(low):
        low = max(low - before, _start_of(places, low))
    if math.isfinite(high):
        high = min(high + after, _end_of(places, high))
    smallest, largest = float(sizes[0]), float(sizes[-1])
    exact = dict(zip(places, map(float, sizes), strict=True))  # exp(log(64)) is not 64, and a limit may be

    def size_at(place: float, never: float | None, always: float) -> float | None:
        if math.isinf(place):
            return never if place > 0 else always
        return exact.get(place, math.exp(place))

    least, most = size_at(low, largest, 0.0), size_at(high, math.inf, smallest)
    assert least is not None
    assert most is not None
    return Crossover(size_at(middle, None, smallest), least, most, smallest, largest)


def _last_below(places: Sequence[float], line: Sequence[float]) -> float:
    """Return where a line is below 0 for the last time; minus infinity if never, infinity if still at its end."""
    if line[-1] < 0:
        return math.inf
    for index in range(len(line) - 2, -1, -1):
        if line[index] < 0:
            return _zero(places, line, index)
    return -math.inf


def _zero(places: Sequence[float], line: Sequence[float], index: int) -> float:
    """Return where the straight line through two neighbouring points is 0."""
    if math.isinf(line[index]):
        return places[index + 1]
    rise = (line[index + 1] - line[index]) / (places[index + 1] - places[index])
    return places[index] - line[index] / rise


def _bend(places: Sequence[float], margins: Sequence[float], middle: float) -> tuple[float, float]:
    """Return how far before and after the straight line's crossover a curve's may lie."""
    if math.isinf(middle):
        return 0.0, 0.0
    index = max(i for i in range(len(places) - 1) if margins[i] < 0)
    neighbours = [i for i in (index - 1, index + 1) if 0 <= i < len(places) - 1 and margins[i + 1] > margins[i]]
    if not neighbours:
        return middle - places[index], places[index + 1] - middle
    found = [_zero(places, margins, i) - middle for i in neighbours]
    earlier, later = [-each for each in found if each < 0], [each for each in found if each > 0]
    if not later:  # it bends downwards: the curve lies above the line, and below each prolonged neighbour
        return min(earlier, default=0.0), 0.0
    if not earlier:  # it bends upwards
        return 0.0, min(later)
    return max(earlier), max(later)


def _start_of(places: Sequence[float], place: float) -> float:
    """Return the measured size at or before a place."""
    return max((each for each in places if each <= place), default=places[0])


def _end_of(places: Sequence[float], place: float) -> float:
    """Return the measured size at or after a place."""
    return min((each for each in places if each >= place), default=places[-1])
