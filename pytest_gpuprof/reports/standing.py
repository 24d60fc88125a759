"""How the budgets of a row stand: counted in words, and the headroom of the tightest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pytest_gpuprof.budgets.headroom import Headroom, tightest
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Outcome

__all__ = ["COLOURS", "Standing", "standing_of"]

_WORST: Final[tuple[Outcome, ...]] = ("missed", "inconclusive", "unavailable", "not enforced", "met")
"""The outcomes of budgets, the worst first."""

COLOURS: Final[Mapping[Outcome, str]] = {
    "missed": "red", "inconclusive": "yellow", "unavailable": "yellow", "not enforced": "yellow", "met": "green",
}  # fmt: skip
"""How an outcome is shown on a terminal that has colours. Its word is always there too."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the budgets of a row stand.

    Args:
        counts: how many have which outcome, the worst first: ``"1 missed, 2 met"``; ``"-"`` without a budget.
        brief: the worst outcome, and how many of all budgets have it: ``"missed 1/3"``.
        briefest: the worst outcome: ``"missed"``.
        worst: the worst outcome, ``None`` without a budget.
        headroom: of the tightest budget, ``None`` where no figure was held against a limit.
    """

    counts: str
    brief: str
    briefest: str
    worst: Outcome | None
    headroom: Headroom | None


def standing_of(profile: Profile) -> Standing:
    """Return how the budgets of a profile stand."""
    found = [verdict.outcome for verdict in profile.verdicts]
    counted = {outcome: found.count(outcome) for outcome in _WORST if outcome in found}
    if not counted:
        return Standing("-", "-", "-", None, None)
    worst = next(iter(counted))
    return Standing(
        ", ".join(f"{count} {outcome}" for outcome, count in counted.items()),
        worst if len(found) == 1 else f"{worst} {counted[worst]}/{len(found)}",
        worst,
        worst,
        tightest(profile.verdicts),
    )
