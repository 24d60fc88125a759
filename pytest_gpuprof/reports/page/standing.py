"""How a workload stands: its worst verdict, and how far each figure is from its limit. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.quantities import format_number
from pytest_gpuprof.core.results import Verdict

__all__ = ["OUTCOMES", "Place", "headroom_text", "place_of", "standing", "worst"]

OUTCOMES: Final = ("missed", "inconclusive", "unavailable", "not enforced", "met", "no budget")
"""How a workload can stand, the most important first."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a figure lies against its limit, as ratios: above 1 it is inside its budget, whatever is limited.

    Args:
        ratio: observed ÷ limit of a least value, limit ÷ observed of a greatest.
        low, high: the same of its interval.
    """

    ratio: float
    low: float
    high: float

    @property
    def headroom(self) -> float:
        """The unused share of the limit; negative where it is exceeded: -0.5 is half as much again."""
        return 1 - 1 / self.ratio


def place_of(verdict: Verdict) -> Place | None:
    """Return where a figure lies against its limit, ``None`` where that has no meaning."""
    observed, limit, interval = verdict.observed, verdict.limit, verdict.interval
    if observed is None or limit is None:
        return None
    ends = interval or (observed, observed)
    if verdict.metric:  # a regression is a share of what was before, and negative where it is better
        observed, limit, ends = 1 + observed, 1 + limit, (1 + ends[0], 1 + ends[1])
    if observed <= 0 or limit <= 0:
        return None
    if verdict.budget.startswith("min_"):
        return Place(observed / limit, max(0.0, ends[0] / limit), ends[1] / limit)
    low, high = (math.inf if each <= 0 else limit / each for each in reversed(ends))
    return Place(limit / observed, low, high)


def worst(profile: Profile) -> Verdict | None:
    """Return the verdict that a workload is told by: the worst, and of several of the same outcome the closest."""

    def weight(verdict: Verdict) -> tuple[int, float]:
        place = place_of(verdict)
        return OUTCOMES.index(verdict.outcome), math.inf if place is None else place.ratio

    return min(profile.verdicts, key=weight, default=None)


def standing(profile: Profile) -> str:
    """Return which of :data:`OUTCOMES` a workload has."""
    found = worst(profile)
    return "no budget" if found is None else found.outcome


def headroom_text(place: Place) -> str:
    """Return the headroom as people read it.

    >>> headroom_text(Place(2.0, 1.9, 2.1)), headroom_text(Place(0.8, 0.7, 0.9)), headroom_text(Place(0.04, 0, 1))
    ('+50%', '−25%', '25× off')
    """
    share = place.headroom
    if share < -1:  # more than twice the limit: hundreds of percent are nothing to imagine
        return f"{format_number(1 / place.ratio, 2)}× off"
    number = format_number(abs(share) * 100, 1 if abs(share) < 0.01 else 2 if abs(share) < 1 else 3)
    return f"{'−' if share < 0 else '+'}{number}%"
