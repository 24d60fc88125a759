"""Judging: from a profile and a budget to a verdict with one sentence why. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_gpuprof.budgets.budget import Budget
from pytest_gpuprof.budgets.crossover import is_of_sweep, judged_crossover
from pytest_gpuprof.budgets.evidence import crossover_of, evidence_on, missing_for
from pytest_gpuprof.budgets.figures import reading_of
from pytest_gpuprof.budgets.kinds import Kind
from pytest_gpuprof.budgets.regression import compared, confirmed
from pytest_gpuprof.core.environment import DeviceInfo
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.quantities import Family, format_quantity
from pytest_gpuprof.core.results import Caution, Verdict

__all__ = ["confirm", "doubts_about", "judge"]


_FAMILIES: Mapping[Family, tuple[Family, ...]] = {
    "device time": ("device time", "time"),
    "device ratio": ("device ratio", "ratio"),
    "utilization": ("utilization", "device time", "time"),
}
"""The families whose doubts concern a budget, where it is not only its own."""


def judge(profile: Profile, budget: Budget) -> Verdict:
    """Return the verdict on one budget.

    Args:
        profile: what was measured.
        budget: the limit.
    """
    kind = budget.meaning
    verdict = Verdict(
        "not enforced", budget.keyword, "", profile=profile.name, enforce=budget.enforce, metric=budget.metric
    )
    # What is missing is told before what does not apply: a device that is not there has no limit either.
    device = _device(profile, budget)
    if "gpu" in kind.legs and profile.not_judged:
        return replace(verdict, sentence=f"{budget.keyword} is not judged: {profile.not_judged}")
    limit = budget.limit_for(device) if device is not None else None
    if device is not None and limit is None:
        keys = ", ".join(map(repr, budget.limits))
        return replace(
            verdict, sentence=f"{budget.keyword} is not enforced: none of its keys ({keys}) matches {device.name!r}"
        )
    missing = missing_for(profile, budget)
    if missing is not None and missing.cause == "out of time":
        sentence = f"{budget.keyword} is inconclusive: out of time, as {missing.reason}"
        return replace(verdict, outcome="inconclusive", limit=limit, sentence=sentence)
    if missing is not None and profile.out_of_time and missing.cause == "not asked for":
        sentence = f"{budget.keyword} is inconclusive: out of time, as {profile.stop_reason}"
        return replace(verdict, outcome="inconclusive", limit=limit, sentence=sentence)
    if missing is not None:
        # Without a device it goes without saying that the figure is unavailable.
        lack = "" if missing.cause == "no device" else f"{kind.title} is unavailable, because "
        return replace(
            verdict,
            outcome="unavailable",
            limit=limit,
            sentence=f"{budget.keyword} cannot be judged: {lack}{missing.reason}",
            cause=missing.cause,
        )
    if limit is None:
        return replace(verdict, outcome="unavailable", sentence=f"{budget.keyword} cannot be judged: nothing was run")
    verdict = _judged(profile, budget, replace(verdict, limit=limit), limit)
    if verdict.outcome == "inconclusive" and profile.stop_reason.startswith("out of time"):
        sentence = f"{verdict.sentence}; {profile.stop_reason}: allow more with --gpu-profile-max-time"
        verdict = replace(verdict, sentence=sentence)
    cautions = profile.cautions
    if kind.figure == "crossover" and profile.scaling is not None:
        cautions = (*cautions, *profile.scaling.cautions)
    doubts = doubts_about(cautions, budget.compared or kind, (verdict.outcome,))
    return _doubted(verdict, doubts[0]) if doubts else verdict


def _judged(profile: Profile, budget: Budget, verdict: Verdict, limit: float) -> Verdict:
    if budget.compared is not None:
        return compared(verdict, budget, reading_of(profile, budget.compared), profile.baselines.get(budget.metric))
    crossover = crossover_of(profile, budget)
    if crossover is not None and profile.scaling is not None:
        return judged_crossover(verdict, profile.scaling, crossover, limit, budget.reason)
    evidence = evidence_on(profile, budget, limit)
    verdict = replace(verdict, outcome=evidence.outcome, observed=evidence.observed, interval=evidence.interval)
    against = profile.efficiency.basis(budget.meaning.figure)
    basis = f"{evidence.basis}; {against}" if against else evidence.basis
    return replace(verdict, sentence=_sentence(budget, verdict, basis))


def doubts_about(
    cautions: Sequence[Caution], kind: Kind, outcomes: Sequence[str] = ("met", "missed")
) -> Sequence[Caution]:
    """Return the doubts that spoil a verdict of one of these outcomes on a figure.

    Args:
        cautions: all doubts about a profile.
        kind: what the figure is.
        outcomes: of the verdict.
    """
    families = _FAMILIES.get(kind.family, (kind.family,))
    return [
        caution
        for caution in cautions
        if any((family, outcome) in caution.spoils for family in families for outcome in outcomes)
        and (caution.legs is None or caution.legs & kind.legs)
    ]


def _doubted(verdict: Verdict, caution: Caution) -> Verdict:
    return replace(
        verdict,
        outcome="inconclusive",
        change="noisy" if verdict.change else "",
        sentence=f"{verdict.sentence}, but that is inconclusive: {caution.message}; {caution.remedy}",
    )


def _device(profile: Profile, budget: Budget) -> DeviceInfo | None:
    """Return the device whose name chooses the limit: the accelerator if the budget is about one, else the CPU."""
    return (profile.gpu if "gpu" in budget.meaning.legs else profile.cpu).device


def _sentence(budget: Budget, verdict: Verdict, basis: str) -> str:
    kind = budget.meaning
    assert verdict.observed is not None and verdict.limit is not None and verdict.interval is not None
    low, high = verdict.interval
    spread = "" if low == high else f" ({_shown(low, budget)} to {_shown(high, budget)})"
    stat = "" if budget.stat == "median" else f" {budget.stat}"
    relation = {"met": "meets", "missed": "misses", "inconclusive": "is too close to call against"}[verdict.outcome]
    sentence = (
        f"{kind.title}{stat} {_shown(verdict.observed, budget)}{spread} {relation} "
        f"{budget.keyword} {_shown(verdict.limit, budget)} [{basis}]"
    )
    return f"{sentence}: {budget.reason}" if budget.reason and verdict.outcome == "missed" else sentence


def _shown(value: float, budget: Budget) -> str:
    if math.isinf(value):
        return "unbounded"
    return format_quantity(value, budget.meaning.unit)


def confirm(first: Verdict, second: Verdict, budget: Budget) -> Verdict:
    """Return what holds after a missed budget was measured a second time, after a fresh warm-up.

    Missed twice is missed. Anything else is inconclusive: noise made the difference.
    """
    if budget.compared is not None:
        return confirmed(first, second, budget)
    if second.observed is None and second.outcome == "inconclusive" and not is_of_sweep(budget):
        sentence = f"{first.sentence}, but it could not be measured again: {second.sentence}"
        return replace(first, outcome="inconclusive", sentence=sentence)
    nothing = "nothing"
    if is_of_sweep(budget):
        nothing = "above the largest size" if second.outcome == "missed" else "undecided at the largest size"
    again = nothing if second.observed is None else _shown(second.observed, budget)
    if second.outcome == "missed":
        return replace(first, sentence=f"{first.sentence}; measured again: {again}")
    return replace(
        first,
        outcome="inconclusive",
        sentence=f"{first.sentence}, but measured again it was {again}, which does not miss it: too noisy",
    )
