"""The headroom of a verdict: the unused share of its limit. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from pytest_gpuprof.core.results import Verdict

__all__ = ["Headroom", "headroom_of", "tightest"]


class Headroom(NamedTuple):
    """A verdict with the headroom of its budget.

    Args:
        verdict: on the budget.
        share: 1 less the used share of the limit. 0.62 is 62 % left, -0.12 is 12 % beyond the limit, and minus infinity
            is beyond it by no number.
    """

    verdict: Verdict
    share: float


def headroom_of(verdict: Verdict) -> float | None:
    """Return the unused share of a verdict's limit, ``None`` where no figure was held against one.

    The used share is observed ÷ limit for a ``max_…`` and limit ÷ observed for a ``min_…``. So a speedup of 10x against
    a least one of 5x, and half of a greatest time, both leave a half. An improvement uses nothing of what
    ``max_regression`` allows.

    >>> headroom_of(Verdict("met", "min_speedup", "", limit=5.0, observed=10.0))
    0.5
    >>> headroom_of(Verdict("missed", "max_gpu_time", "", limit=1.0, observed=3.0))
    -2.0
    """
    observed, limit = verdict.observed, verdict.limit
    if limit is None:
        return None
    if observed is None:  # a growth from nothing is no share of nothing
        return -math.inf if verdict.outcome == "missed" else None
    above, below = (limit, observed) if verdict.budget.startswith("min_") else (observed, limit)
    if above <= 0:
        return 0.0 if below == 0 else 1.0
    return 1 - above / below if below > 0 else -math.inf


def tightest(verdicts: Iterable[Verdict]) -> Headroom | None:
    """Return the verdict with the least headroom, a missed one before all others; ``None`` where none has any."""
    found = [Headroom(each, share) for each in verdicts if (share := headroom_of(each)) is not None]
    return min(found, key=lambda each: (each.verdict.outcome != "missed", each.share), default=None)
