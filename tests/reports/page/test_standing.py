"""How a workload stands, and how far its figures are from their limits."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_gpuprof.core.results import Verdict
from pytest_gpuprof.reports.page.standing import headroom_text, place_of, standing, worst

from ...budgets.profiles import profile_of


def verdict(outcome: Any, budget: str = "max_gpu_time", **parts: Any) -> Verdict:
    told = {"limit": 2.0, "observed": 1.0, "interval": (0.9, 1.1), **parts}
    return Verdict(outcome, budget, "", **told)


@pytest.mark.parametrize(
    ("budget", "observed", "interval", "metric", "ratio", "ends", "text"),
    [
        ("max_gpu_time", 1.0, (0.8, 1.25), "", 2.0, (1.6, 2.5), "+50%"),
        ("min_speedup", 4.0, (3.0, 5.0), "", 2.0, (1.5, 2.5), "+50%"),
        ("min_speedup", 1.0, (0.5, 2.0), "", 0.5, (0.25, 1.0), "−100%"),
        ("min_speedup", 0.2, (0.2, 0.2), "", 0.1, (0.1, 0.1), "−10x"),
        ("max_energy", 2.0, None, "", 1.0, (1.0, 1.0), "0%"),
        ("max_regression", 0.5, (0.25, 1.0), "gpu_time", 2.0, (1.5, 2.4), "+75%"),
    ],
)
def test_a_place_is_above_one_inside_the_budget(
    budget: str, observed: float, interval: Any, metric: str, ratio: float, ends: tuple[float, float], text: str
) -> None:
    """Whichever side is limited; a regression is taken with what it is a share of."""
    place = place_of(verdict("met", budget, observed=observed, interval=interval, metric=metric))
    assert place is not None
    assert (place.ratio, place.low, place.high) == pytest.approx((ratio, *ends))
    assert headroom_text(verdict("met", budget, observed=observed, interval=interval, metric=metric)) == text


@pytest.mark.parametrize("parts", [{"observed": None}, {"limit": None}, {"observed": 0.0}, {"limit": 0.0}])
def test_without_figure_or_limit_there_is_no_place(parts: dict[str, Any]) -> None:
    """Zero has no ratio, and what is missing has none either."""
    assert place_of(verdict("met", **parts)) is None


def test_a_workload_stands_by_its_worst_verdict() -> None:
    """And of several missed ones by that which is furthest out."""
    near, far = verdict("missed", observed=2.1), verdict("missed", observed=3.0)
    assert worst(profile_of(verdicts=(verdict("met"), near, far))) is far
    assert standing(profile_of(verdicts=(verdict("met"), verdict("inconclusive")))) == "inconclusive"
    assert standing(profile_of()) == "no budget"
