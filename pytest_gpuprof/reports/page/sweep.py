"""How the legs grow with the size of the workload, and from which size on the GPU wins, as a chart. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.core.scaling import Crossover, Growth, Scaling, written
from pytest_gpuprof.reports.page.telling import Scale, rounded, without_empty

__all__ = ["sweep"]

_STEPS = 40
"""Points of a fitted curve: on logarithmic axes it is nearly straight."""

_LEGS = ("cpu", "gpu")


def sweep(found: Scaling | None, stand_in: str) -> dict[str, Any] | None:
    """Return the points with their intervals, both fitted curves and the crossover.

    Args:
        found: what a sweep found, ``None`` for a workload that was not swept.
        stand_in: why its device is no GPU, empty where it is one.
    """
    if found is None or not found.points:
        return None
    legs = {leg: [(point.size, getattr(point, leg)) for point in found.points] for leg in _LEGS}
    scale = Scale([reading.value for leg in legs.values() for _, reading in leg if reading.value is not None], "s")
    drawn = {leg: _points(each, scale) for leg, each in legs.items()}
    lacking = [
        f"the {leg.upper()} at {found.parameter} = {written(size)} is unavailable, because {reading.reason}"
        for leg, each in legs.items()
        for size, reading in each
        if reading.value is None
    ]
    lacking += [
        f"how the {leg.upper()} leg grows is unavailable, because {growth.reason}"
        for leg, growth in found.growth.items()
        if isinstance(growth, Reading)
    ]
    return without_empty(
        {
            "parameter": found.parameter,
            "unit": scale.suffix,
            "legs": drawn,
            "curves": {leg: _curve(found.growth.get(leg), drawn[leg], scale) for leg in _LEGS},
            "speedups": _points([(point.size, point.speedup) for point in found.points], Scale((), "x")),
            "crossover": _size(found.reading.value),
            "band": _band(found.crossover),
            "told": found.sentence,
            "lacking": lacking,
            "words": _words([reading for each in legs.values() for _, reading in each], stand_in),
            "speedup_words": _words([point.speedup for point in found.points], stand_in),
        }
    )


def _words(readings: Sequence[Reading], stand_in: str) -> str:
    """Return the words of what was measured, at whichever size; the largest may have been given up."""
    qualities = [str(each.quality) for each in readings if each.value is not None and each.quality != "measured"]
    return ", ".join(dict.fromkeys(filter(None, [*qualities, stand_in])))


def _size(size: float | None) -> float | int | None:
    """Return a size: a whole one exactly, for it is what people gave."""
    return int(size) if size is not None and float(size).is_integer() else rounded(size)


def _points(readings: Sequence[tuple[float, Reading]], scale: Scale) -> list[list[Any]]:
    """Return what was measured: size, figure, and both ends of its interval."""
    return [
        [_size(size), scale(reading.value), *(scale.pair(reading.interval) or (None, None))]
        for size, reading in readings
        if reading.value is not None and reading.value > 0
    ]


def _curve(growth: Growth | Reading | None, points: Sequence[Sequence[float]], scale: Scale) -> list[list[Any]] | None:
    """Return the fitted curve as far as the leg was measured: beyond that it is a guess."""
    sizes = [point[0] for point in points]
    if not isinstance(growth, Growth) or len(sizes) < 2 or min(sizes) <= 0:
        return None
    low, high = math.log(min(sizes)), math.log(max(sizes))
    drawn = [math.exp(low + (high - low) * step / _STEPS) for step in range(_STEPS + 1)]
    return [[rounded(size), scale(growth.at(size))] for size in drawn if growth.at(size) > 0]


def _band(crossover: Crossover | Reading) -> list[Any] | None:
    """Return where the crossover may be, within the sizes that were measured."""
    if isinstance(crossover, Reading) or crossover.size is None:
        return None
    return [_size(max(crossover.low, crossover.smallest)), _size(min(crossover.high, crossover.largest))]
