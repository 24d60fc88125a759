"""How a workload stands: its worst verdict, and how far each figure is from its limit. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from pytest_gpuprof.budgets.headroom import Headroom, headroom_of
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Verdict
from pytest_gpuprof.reports.bar import told

__all__ = ["OUTCOMES", "Place", "headroom_text", "place_of", "share_of", "standing", "worst"]

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
    return min(profile.verdicts, key=lambda each: (OUTCOMES.index(each.outcome), share_of(each)), default=None)


def share_of(verdict: Verdict | None) -> float:
    """Return the headroom of a verdict; infinite where it has none, so that it comes last."""
    share = None if verdict is None else headroom_of(verdict)
    return math.inf if share is None else share


def standing(profile: Profile) -> str:
    """Return which of :data:`OUTCOMES` a workload has."""
    found = worst(profile)
    return "no budget" if found is None else found.outcome


def headroom_text(verdict: Verdict) -> str:
    """Return the headroom as the terminal tells it; empty where no figure was held against a limit."""
    share = headroom_of(verdict)
    return "" if share is None else told(Headroom(verdict, share)).replace("-", "−")
