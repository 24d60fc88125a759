"""Headroom: the unused share of a limit, also where there is nothing to divide by."""

from __future__ import annotations

import math

import pytest

from pytest_gpuprof.budgets.headroom import headroom_of, tightest
from pytest_gpuprof.core.results import Outcome, Verdict


def verdict(
    budget: str, limit: float | None, observed: float | None, outcome: Outcome = "met", sentence: str = ""
) -> Verdict:
    return Verdict(outcome, budget, sentence, limit=limit, observed=observed)


@pytest.mark.parametrize(
    ("budget", "limit", "observed", "share"),
    [
        ("max_gpu_time", 1e-3, 0.25e-3, 0.75),
        ("max_gpu_time", 1e-3, 3e-3, -2.0),
        ("min_speedup", 5.0, 20.0, 0.75),
        ("min_speedup", 5.0, 2.5, -1.0),
        ("max_regression", 0.05, 0.01, 0.8),
        ("max_regression", 0.05, 0.15, -2.0),
        ("max_regression", 0.05, -0.3, 1.0),  # it improved: nothing is used
        ("max_leak", 0.0, 0.0, 0.0),
        ("max_leak", 0.0, 1.0, -math.inf),
        ("max_leak", 8.0, 0.0, 1.0),
        ("min_speedup", 5.0, 0.0, -math.inf),
    ],
)
def test_headroom_is_the_unused_share(budget: str, limit: float, observed: float, share: float) -> None:
    """Of a greatest value observed ÷ limit is used, of a least one limit ÷ observed."""
    assert headroom_of(verdict(budget, limit, observed)) == pytest.approx(share)


def test_a_least_and_a_greatest_value_that_say_the_same_leave_the_same() -> None:
    """A speedup over a CPU time is a GPU time."""
    speedup = headroom_of(verdict("min_speedup", 5.0, 12.0))
    assert speedup == pytest.approx(headroom_of(verdict("max_gpu_time", 1.0 / 5, 1.0 / 12)))


def test_without_a_figure_or_a_limit_there_is_none() -> None:
    """Except where a figure grew from nothing, which misses every limit."""
    assert headroom_of(verdict("max_energy", 1.0, None, "unavailable")) is None
    assert headroom_of(verdict("max_energy", None, 1.0, "not enforced")) is None
    assert headroom_of(verdict("max_regression", 0.05, None, "missed")) == -math.inf


def test_the_tightest_is_the_missed_one_and_else_the_one_with_the_least_headroom() -> None:
    """An inconclusive one that lies further beyond its limit does not hide a missed one."""
    wide, tight = verdict("max_energy", 1.0, 0.1), verdict("max_gpu_time", 1.0, 0.9)
    doubtful = verdict("min_speedup", 5.0, 1.0, "inconclusive")
    missed = verdict("max_power", 100.0, 110.0, "missed")
    assert tightest([wide, tight]) == (tight, pytest.approx(0.1))
    assert tightest([wide, doubtful, tight]) == (doubtful, -4.0)
    assert tightest([wide, doubtful, missed]) == (missed, pytest.approx(-0.1))
    assert tightest([verdict("max_energy", 1.0, None, "unavailable")]) is None
