"""What a sweep found ⇄ builtins: the key ``"sweep"`` of the record of its largest size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.core.scaling import Crossover, Growth, Point, Scaling
from pytest_gpuprof.storage.parts import caution_of, cautions_from, pair, reading_from, reading_of

__all__ = ["scaling_from", "scaling_of"]


def scaling_of(scaling: Scaling) -> dict[str, Any]:
    """Return what a sweep found as builtins; a bound that is infinite becomes ``None`` when these are written."""
    return {
        "parameter": scaling.parameter,
        "points": [
            {
                "size": point.size,
                "cpu": reading_of(point.cpu),
                "gpu": reading_of(point.gpu),
                "speedup": reading_of(point.speedup),
            }
            for point in scaling.points
        ],
        "crossover": _crossover(scaling.crossover),
        **{f"{leg}_growth": _growth(growth) for leg, growth in scaling.growth.items()},
        "cautions": [caution_of(caution) for caution in scaling.cautions],
    }


def scaling_from(part: Mapping[str, Any]) -> Scaling:
    """Return what a sweep found.

    Raises:
        LookupError, TypeError, ValueError: if it is damaged.
    """
    points = tuple(
        Point(each["size"], *(reading_from(each[figure]) for figure in ("cpu", "gpu", "speedup")))
        for each in part["points"]
    )
    growth = {leg: _growth_from(part[f"{leg}_growth"]) for leg in ("cpu", "gpu")}
    return Scaling(part["parameter"], points, _crossover_from(part["crossover"]), growth, cautions_from(part))


def _crossover(found: Crossover | Reading) -> dict[str, Any]:
    if isinstance(found, Reading):
        return reading_of(found)
    return {
        "value": found.size,
        "interval": (found.low, found.high),
        "smallest": found.smallest,
        "largest": found.largest,
    }


def _crossover_from(part: Mapping[str, Any]) -> Crossover | Reading:
    if "unavailable" in part:
        return reading_from(part)
    low, high = part["interval"]
    return Crossover(part["value"], low, math.inf if high is None else high, part["smallest"], part["largest"])


def _growth(found: Growth | Reading) -> dict[str, Any]:
    if isinstance(found, Reading):
        return reading_of(found)
    return {
        "fixed_s": found.fixed_s,
        "coefficient": found.coefficient,
        "exponent": found.exponent,
        "exponent_interval": found.interval,
        "misfit": found.misfit,
    }


def _growth_from(part: Mapping[str, Any]) -> Growth | Reading:
    if "unavailable" in part:
        return reading_from(part)
    interval = pair(part["exponent_interval"])
    assert interval is not None
    return Growth(part["fixed_s"], part["coefficient"], part["exponent"], interval, part["misfit"])
