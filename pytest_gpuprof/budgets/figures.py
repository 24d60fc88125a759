"""The figures of a profile by name: what can be limited can be kept, compared and exported.

A figure is called as its budget without ``min_`` or ``max_``: ``gpu_time`` is what ``max_gpu_time`` limits, ``speedup``
what ``min_speedup`` does. So a budget that a hook brings has a history like the built-in ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pytest_gpuprof.budgets.kinds import KINDS, Kind, figure_name, kinds_by_figure
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Measurement, Quality, Reading
from pytest_gpuprof.stats.decision import mean_interval

__all__ = ["Figure", "figure_name", "figures_of", "kinds_by_figure", "reading_of"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one run.

    Args:
        value: in base units.
        interval: its 95 % interval, from the spread of the rounds or from the instrument; ``None`` where neither tells.
        rounds: how many rounds it rests on, 0 for one that does not.
        quality: ``"measured"``, or the word that must be shown beside it.
    """

    value: float
    interval: tuple[float, float] | None
    rounds: int
    quality: Quality


def reading_of(profile: Profile, kind: Kind) -> Reading:
    """Return a figure of a profile, or why there is none."""
    if kind.leg is None:
        return profile.ratio(kind.figure)
    leg: Measurement = getattr(profile, kind.leg)
    return leg.reading(kind.figure)


def figures_of(profile: Profile, kinds: Iterable[Kind] = tuple(KINDS.values())) -> Mapping[str, Figure]:
    """Return every figure that was measured, by name.

    Args:
        profile: what was measured.
        kinds: the budgets there are.
    """
    found = {}
    for name, kind in kinds_by_figure(kinds).items():
        reading = reading_of(profile, kind)
        if reading.value is not None:
            interval, rounds = _interval(profile, kind, reading)
            found[name] = Figure(reading.value, interval, rounds, reading.quality)
    return found


def _interval(profile: Profile, kind: Kind, reading: Reading) -> tuple[tuple[float, float] | None, int]:
    values = (
        getattr(profile, kind.leg).per_round(kind.figure)
        if kind.leg is not None
        else profile.ratio_per_round(kind.figure)[1]
    )
    if len(values) < 2 or min(values) <= 0:
        return reading.interval, len(values)
    _, low, high = mean_interval([math.log(value) for value in values])
    return (math.exp(low), math.exp(high)), len(values)
