"""How the legs grow with the size of the workload, and from which size on the GPU is faster. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_gpuprof.core.quantities import format_number
from pytest_gpuprof.reports.page.telling import Scale, interval_text, quantity, rounded, without_empty

__all__ = ["sweep"]

_STEPS = 40
"""Points of a fitted curve: on logarithmic axes it is nearly straight."""


def sweep(found: Mapping[str, Any] | None, words: str) -> dict[str, Any] | None:
    """Return the points with their intervals, both fitted curves and the crossover.

    Args:
        found: the record's ``"sweep"``, ``None`` where there is none.
        words: that must stand beside its figures.
    """
    points: Sequence[Mapping[str, Any]] = (found or {}).get("points") or ()
    if found is None or not points:
        return None
    scale = Scale([part["value"] for each in points for leg in ("cpu", "gpu") if "value" in (part := each[leg])], "s")
    legs = {
        leg: [_point(each["size"], each[leg], scale) for each in points if "value" in each[leg]]
        for leg in ("cpu", "gpu")
    }
    ratio = Scale((), "x")
    speedups = [_point(each["size"], each["speedup"], ratio) for each in points if "value" in each.get("speedup", {})]
    lacking = [
        f"{leg.upper()} at {each['size']}: unavailable, because {each[leg]['unavailable']}"
        for each in points
        for leg in ("cpu", "gpu")
        if "unavailable" in each[leg]
    ]
    crossing = found.get("crossover") or {"unavailable": "nobody looked for it"}
    growth = [_growth(leg, found.get(f"{leg}_growth") or {}) for leg in ("cpu", "gpu")]
    told = _crossover(str(found["parameter"]), crossing)
    return without_empty(
        {
            "parameter": str(found["parameter"]),
            "unit": scale.suffix,
            "legs": legs,
            "curves": {leg: _curve(found.get(f"{leg}_growth") or {}, legs[leg], scale) for leg in ("cpu", "gpu")},
            "speedups": speedups,
            "crossover": rounded(crossing.get("value")),
            "band": [rounded(each) for each in crossing["interval"]] if crossing.get("interval") else None,
            "told": told,
            "growth": growth,
            "lacking": lacking,
            "words": words,
            "alt": "; ".join((told, *growth)),
        }
    )


def _point(size: float, part: Mapping[str, Any], scale: Scale) -> list[Any]:
    low, high = part.get("interval") or (None, None)
    return [size, scale(part["value"]), scale(low), scale(high)]


def _curve(growth: Mapping[str, Any], points: Sequence[Sequence[float]], scale: Scale) -> list[list[Any]] | None:
    """Return the fitted curve as far as the leg was measured: beyond that it is a guess."""
    sizes = [point[0] for point in points]
    if "exponent" not in growth or len(sizes) < 2 or min(sizes) <= 0:
        return None
    low, high = math.log(min(sizes)), math.log(max(sizes))
    drawn = [math.exp(low + (high - low) * step / _STEPS) for step in range(_STEPS + 1)]
    times = [growth["fixed_s"] + growth["coefficient"] * size ** growth["exponent"] for size in drawn]
    return [[rounded(size), scale(time)] for size, time in zip(drawn, times, strict=True) if time > 0]


def _growth(leg: str, growth: Mapping[str, Any]) -> str:
    name = leg.upper()
    if "exponent" not in growth:
        return f"how the {name} leg grows is unavailable, because {growth.get('unavailable', 'nobody looked for it')}"
    low, high = growth.get("exponent_interval") or (None, None)
    spread = "" if low is None or high is None else f" ({format_number(low)} to {format_number(high)})"
    fixed = f", after a fixed {quantity(growth['fixed_s'], 's')}" if growth["fixed_s"] else ""
    return f"the {name} leg grows with exponent {format_number(growth['exponent'])}{spread}{fixed}"


def _crossover(parameter: str, crossing: Mapping[str, Any]) -> str:
    if crossing.get("value") is None:
        return f"from which {parameter} on the GPU is faster is unavailable, because {crossing.get('unavailable')}"
    spread = interval_text(crossing.get("interval"), "1")
    return (
        f"the GPU is faster from {parameter} = {quantity(crossing['value'], '1')} on{f' ({spread})' if spread else ''}"
    )
