"""Judging ``max_crossover``: from which size on the GPU has to win. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pytest_gpuprof.budgets.budget import Budget
from pytest_gpuprof.core.errors import BudgetError
from pytest_gpuprof.core.results import Outcome, Verdict
from pytest_gpuprof.core.scaling import Crossover, Scaling, written

__all__ = ["is_of_sweep", "judged_crossover", "refuse_limits_of_sweeps"]


def is_of_sweep(budget: Budget) -> bool:
    """Whether a budget limits a sweep as a whole, and no single size."""
    return budget.meaning.figure == "crossover"


def refuse_limits_of_sweeps(budgets: Iterable[Budget]) -> None:
    """Refuse limits on a sweep where a single profile is judged.

    Raises:
        BudgetError: for the first of them.
    """
    for budget in filter(is_of_sweep, budgets):
        raise BudgetError(
            f"{budget.keyword} limits a sweep, not one profile of it; require it of what sweep() returned, as in "
            "found.require(max_crossover=512)"
        )


def judged_crossover(verdict: Verdict, scaling: Scaling, found: Crossover, limit: float, reason: str) -> Verdict:
    """Return a verdict with what a sweep says of its limit.

    Args:
        verdict: of the budget, not judged yet.
        scaling: the sweep.
        found: its crossover.
        limit: the largest size from which the GPU may have to win.
        reason: why this limit, told where it is missed.
    """
    outcome, remedy = _outcome(found, limit, scaling.parameter)
    relation = {"met": "meets", "missed": "misses", "inconclusive": "is too close to call against"}[outcome]
    sentence = (
        f"crossover {found.told(scaling.parameter)} {relation} max_crossover {written(limit)} "
        f"[{len(scaling.points)} sizes]"
    )
    sentence += f"; {remedy}" if remedy else ""
    return replace(
        verdict,
        outcome=outcome,
        observed=found.size,
        interval=(found.low, found.high),
        sentence=f"{sentence}: {reason}" if reason and outcome == "missed" else sentence,
    )


def _outcome(found: Crossover, limit: float, parameter: str) -> tuple[Outcome, str]:
    """Return what an interval says about a limit, and what to do where it says nothing."""
    if limit > found.largest and found.size is None:
        return "inconclusive", f"measure at {parameter} = {written(limit)} too"
    if limit < found.smallest and found.low == 0:
        return "inconclusive", f"measure at {parameter} = {written(limit)} too"
    if found.high <= limit:
        return "met", ""
    if found.low > limit or found.surely_beyond:
        return "missed", ""
    return "inconclusive", "measure at more sizes around the limit, or in more rounds"
