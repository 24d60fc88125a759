"""Judging ``max_crossover``: from which size on the GPU has to win. Pure."""

from __future__ import annotations

from dataclasses import replace

from pytest_gpuprof.core.results import Outcome, Verdict
from pytest_gpuprof.core.scaling import Crossover, Scaling, written

__all__ = ["judged_crossover"]


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
    surely_loses_at_the_end = found.size is None and found.low >= found.largest
    if found.low > limit or surely_loses_at_the_end:
        return "missed", ""
    return "inconclusive", "measure at more sizes around the limit, or in more rounds"
