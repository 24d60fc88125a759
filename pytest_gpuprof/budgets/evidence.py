"""What a verdict rests on: rounds, single calls, or one reading with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_gpuprof.budgets.budget import Budget, log_margin
from pytest_gpuprof.budgets.figures import reading_of
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Measurement, Outcome, Reading
from pytest_gpuprof.core.scaling import Crossover
from pytest_gpuprof.stats.decision import decide, mean_interval
from pytest_gpuprof.stats.summary import needed_for_quantile, quantile, quantile_interval

__all__ = ["Evidence", "crossover_of", "evidence_on", "exp_or_inf", "missing_for", "overhead_of", "per_round"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict rests on: an estimate, its interval, and what the interval says about the limit."""

    outcome: Outcome
    observed: float
    interval: tuple[float, float]
    basis: str


def missing_for(profile: Profile, budget: Budget) -> Reading | None:
    """Return the reading that says why there is nothing to judge, ``None`` if there is."""
    kind = budget.meaning
    if budget.quantile is not None and kind.leg is not None:
        leg: Measurement = getattr(profile, kind.leg)
        return None if leg.series.get("latency") else leg.reading("latency")
    reading = reading_of(profile, kind)
    known = reading.value is not None or crossover_of(profile, budget) is not None  # one above all sizes can be judged
    return None if known else reading


def evidence_on(profile: Profile, budget: Budget, limit: float) -> Evidence:
    """Return what a profile says about a limit; nothing may be missing for it.

    Args:
        profile: what was measured.
        budget: what is limited, and how sure one has to be.
        limit: of the budget on this device.
    """
    if budget.quantile is not None:
        return _by_quantile(profile, budget, limit, budget.quantile)
    values = per_round(profile, budget)
    if values and limit > 0 and min(values) > 0:
        return _by_rounds(values, budget, limit, overhead_of(profile, budget))
    if values:  # zero has no logarithm: a count of something that did not happen
        extent = min(values), max(values)
        outcome = _beyond(extent, limit, budget.meaning.at_least)
        return Evidence(outcome, quantile(values, 0.5), extent, f"{len(values)} rounds, zero among them")
    return _by_reading(profile, budget, limit)


def per_round(profile: Profile, budget: Budget) -> tuple[float, ...]:
    """Return the budget's figure in each round; empty if it is no figure of the rounds."""
    kind = budget.meaning
    if kind.leg is not None:
        return getattr(profile, kind.leg).per_round(kind.figure, budget.stat)  # type: ignore[no-any-return]
    return profile.ratio_per_round(kind.figure, budget.stat)[1]


def overhead_of(profile: Profile, budget: Budget) -> float:
    """Return how far measuring itself can have moved the budget's figure, as a natural logarithm."""
    kind = budget.meaning
    if kind.leg is not None:
        return math.log1p(getattr(profile, kind.leg).overhead_bound(kind.figure))
    return profile.overhead_of_ratio(kind.figure)


def _by_rounds(values: Sequence[float], budget: Budget, limit: float, bias: float) -> Evidence:
    at_least = budget.meaning.at_least
    margins = [log_margin(value, limit, at_least=at_least) for value in values]
    decision = decide(margins, confidence=budget.confidence, bias=bias)
    outcomes: Mapping[str, Outcome] = {"met": "met", "missed": "missed", "undecided": "inconclusive"}
    mean, low, high = mean_interval(
        [math.log(value) for value in values[: decision.rounds]], confidence=budget.confidence, bias=bias
    )
    rounds = f"{decision.rounds} round{'s' if decision.rounds != 1 else ''}"
    basis = rounds if decision.outcome != "undecided" else f"{rounds}: {decision.reason}"
    return Evidence(outcomes[decision.outcome], math.exp(mean), (exp_or_inf(low), exp_or_inf(high)), basis)


def exp_or_inf(logarithm: float) -> float:
    """Return the exponential of an interval's end, infinity where it is beyond all numbers."""
    return math.exp(logarithm) if logarithm < 700 else math.inf  # one round bounds nothing


def _by_reading(profile: Profile, budget: Budget, limit: float) -> Evidence:
    kind = budget.meaning
    reading = reading_of(profile, kind)
    assert reading.value is not None
    interval = reading.interval or (reading.value, reading.value)
    basis = "exact" if reading.interval is None else "by its interval"
    return Evidence(_beyond(interval, limit, kind.at_least), reading.value, interval, basis)


def _by_quantile(profile: Profile, budget: Budget, limit: float, fraction: float) -> Evidence:
    kind = budget.meaning
    assert kind.leg is not None
    samples = getattr(profile, kind.leg).series["latency"]
    observed, needed = quantile(samples, fraction), needed_for_quantile(fraction)
    interval = quantile_interval(samples, fraction, budget.confidence)
    if len(samples) < needed or interval is None:
        basis = f"{len(samples)} calls, of the {needed} that {budget.stat} needs: raise --gpu-profile-max-time"
        return Evidence("inconclusive", observed, interval or (min(samples), max(samples)), basis)
    return Evidence(_beyond(interval, limit, kind.at_least), observed, interval, f"{len(samples)} calls")


def _beyond(interval: tuple[float, float], limit: float, at_least: bool) -> Outcome:
    low, high = interval
    if (low >= limit) if at_least else (high <= limit):
        return "met"
    if (high < limit) if at_least else (low > limit):
        return "missed"
    return "inconclusive"


def crossover_of(profile: Profile, budget: Budget) -> Crossover | None:
    """Return the crossover that a budget limits, ``None`` for another budget, or where there is none."""
    if budget.meaning.figure != "crossover" or profile.scaling is None or budget.compared is not None:
        return None
    return profile.scaling.crossover if isinstance(profile.scaling.crossover, Crossover) else None
