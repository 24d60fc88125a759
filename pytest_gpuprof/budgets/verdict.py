"""Judging: from a profile and a budget to a verdict with one sentence why. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from pytest_gpuprof.budgets.budget import Budget, log_margin
from pytest_gpuprof.budgets.crossover import is_of_sweep, judged_crossover
from pytest_gpuprof.budgets.figures import reading_of
from pytest_gpuprof.budgets.kinds import KINDS, Kind
from pytest_gpuprof.budgets.regression import compared, confirmed
from pytest_gpuprof.core.environment import DeviceInfo
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.progress import Estimate
from pytest_gpuprof.core.quantities import Family, format_quantity
from pytest_gpuprof.core.results import Caution, Measurement, Outcome, Reading, Round, Verdict
from pytest_gpuprof.core.scaling import Crossover
from pytest_gpuprof.stats.decision import LOOKS, decide, mean_interval
from pytest_gpuprof.stats.summary import needed_for_quantile, quantile, quantile_interval

__all__ = ["BudgetRule", "confirm", "doubts_about", "judge"]


_FAMILIES: Mapping[Family, tuple[Family, ...]] = {
    "device time": ("device time", "time"),
    "device ratio": ("device ratio", "ratio"),
    "utilization": ("utilization", "device time", "time"),
}
"""The families whose doubts concern a budget, where it is not only its own."""


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What a verdict rests on: an estimate, its interval, and what the interval says about the limit."""

    outcome: Outcome
    observed: float
    interval: tuple[float, float]
    basis: str


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
    missing = _missing(profile, budget)
    if missing is not None and missing.cause == "out of time":
        sentence = f"{budget.keyword} is inconclusive: out of time, as {missing.reason}"
        return replace(verdict, outcome="inconclusive", limit=limit, sentence=sentence)
    if missing is not None and profile.out_of_time and missing.cause == "not asked for":
        return replace(
            verdict, outcome="inconclusive", limit=limit, sentence=f"{budget.keyword} is inconclusive: out of time"
        )
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
    crossover = _crossover(profile, budget)
    if crossover is not None and profile.scaling is not None:
        return judged_crossover(verdict, profile.scaling, crossover, limit, budget.reason)
    evidence = _evidence(profile, budget, limit)
    verdict = replace(verdict, outcome=evidence.outcome, observed=evidence.observed, interval=evidence.interval)
    against = profile.efficiency.basis(budget.meaning.figure)
    basis = f"{evidence.basis}; {against}" if against else evidence.basis
    return replace(verdict, sentence=_sentence(budget, verdict, basis))


def _crossover(profile: Profile, budget: Budget) -> Crossover | None:
    """Return the crossover that a budget limits, ``None`` for another budget, or where there is none."""
    if budget.meaning.figure != "crossover" or profile.scaling is None or budget.compared is not None:
        return None
    return profile.scaling.crossover if isinstance(profile.scaling.crossover, Crossover) else None


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


def _missing(profile: Profile, budget: Budget) -> Reading | None:
    """Return the reading that says why there is nothing to judge, ``None`` if there is."""
    kind = budget.meaning
    if budget.quantile is not None and kind.leg is not None:
        leg: Measurement = getattr(profile, kind.leg)
        return None if leg.series.get("latency") else leg.reading("latency")
    reading = reading_of(profile, kind)
    known = reading.value is not None or _crossover(profile, budget) is not None  # one above all sizes can be judged
    return None if known else reading


def _evidence(profile: Profile, budget: Budget, limit: float) -> _Evidence:
    if budget.quantile is not None:
        return _by_quantile(profile, budget, limit, budget.quantile)
    values = per_round(profile, budget)
    if values and limit > 0 and min(values) > 0:
        return _by_rounds(values, budget, limit, overhead_of(profile, budget))
    if values:  # zero has no logarithm: a count of something that did not happen
        extent = min(values), max(values)
        outcome = _beyond(extent, limit, budget.meaning.at_least)
        return _Evidence(outcome, quantile(values, 0.5), extent, f"{len(values)} rounds, zero among them")
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


def _by_rounds(values: Sequence[float], budget: Budget, limit: float, bias: float) -> _Evidence:
    at_least = budget.meaning.at_least
    margins = [log_margin(value, limit, at_least=at_least) for value in values]
    decision = decide(margins, confidence=budget.confidence, bias=bias)
    outcomes: Mapping[str, Outcome] = {"met": "met", "missed": "missed", "undecided": "inconclusive"}
    mean, low, high = mean_interval(
        [math.log(value) for value in values[: decision.rounds]], confidence=budget.confidence, bias=bias
    )
    rounds = f"{decision.rounds} round{'s' if decision.rounds != 1 else ''}"
    basis = rounds if decision.outcome != "undecided" else f"{rounds}: {decision.reason}"
    return _Evidence(outcomes[decision.outcome], math.exp(mean), (_exp(low), _exp(high)), basis)


def _exp(logarithm: float) -> float:
    return math.exp(logarithm) if logarithm < 700 else math.inf  # one round bounds nothing


def _by_reading(profile: Profile, budget: Budget, limit: float) -> _Evidence:
    kind = budget.meaning
    reading = reading_of(profile, kind)
    assert reading.value is not None
    interval = reading.interval or (reading.value, reading.value)
    basis = "exact" if reading.interval is None else "by its interval"
    return _Evidence(_beyond(interval, limit, kind.at_least), reading.value, interval, basis)


def _by_quantile(profile: Profile, budget: Budget, limit: float, fraction: float) -> _Evidence:
    kind = budget.meaning
    assert kind.leg is not None
    samples = getattr(profile, kind.leg).series["latency"]
    observed, needed = quantile(samples, fraction), needed_for_quantile(fraction)
    interval = quantile_interval(samples, fraction, budget.confidence)
    if len(samples) < needed or interval is None:
        basis = f"{len(samples)} calls, of the {needed} that {budget.stat} needs: raise --gpu-profile-max-time"
        return _Evidence("inconclusive", observed, interval or (min(samples), max(samples)), basis)
    return _Evidence(_beyond(interval, limit, kind.at_least), observed, interval, f"{len(samples)} calls")


def _beyond(interval: tuple[float, float], limit: float, at_least: bool) -> Outcome:
    low, high = interval
    if (low >= limit) if at_least else (high <= limit):
        return "met"
    if (high < limit) if at_least else (low > limit):
        return "missed"
    return "inconclusive"


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


class BudgetRule:
    """Enough rounds, when every budget that rests on rounds is decided; looked at only where the decision rule looks.

    Without such a budget the figure is what somebody wants to see, and rounds are enough when it is known well. Where
    budgets were asked for and none can be judged here, as a speedup without a GPU, no number of rounds gives a verdict:
    the first look is enough, and whoever waits for the test is not kept waiting.

    Args:
        budgets: what has to be decided, each with its limit on this device.
        items: declared items per call, for throughput.
        work: further fields of the profile that a figure of its rounds needs: declared work, peaks.
        precise: relative half-width at which a figure without a budget is known well enough; 5 %, because nobody reads
            a speedup more exactly than that.
        stand_in: the word that must stand beside figures of the accelerator, empty for none.
        in_vain: whether rounds are taken for budgets that cannot be judged here, while nobody asked for the figure.

    Attributes:
        estimate: the figure that the last look was about, as it found it: one that wants more rounds, if there is any.
    """

    def __init__(
        self,
        budgets: Sequence[tuple[Budget, float]],
        items: float | None,
        precise: float = 0.05,
        work: Mapping[str, Any] = MappingProxyType({}),
        stand_in: str = "",
        in_vain: bool = False,
    ) -> None:
        self._budgets = [(budget, limit) for budget, limit in budgets if "rounds" in budget.needs]
        self._work = {"items": items, **work}
        self._precise = precise
        self._stand_in = stand_in
        self._in_vain = in_vain
        self.estimate: Estimate | None = None

    def enough(self, legs: Mapping[str, Sequence[Round]]) -> str | None:
        """Return why no further round is needed, or ``None``."""
        profile = _profile_of(legs, self._work)
        count = max(len(rounds) for rounds in legs.values())
        if count not in LOOKS:
            return None
        if not self._budgets:
            known = self._known_well_enough(profile)
            vain = f"{count} rounds are enough where no budget that rests on them can be judged"
            return vain if self._in_vain else known
        for budget, limit in self._budgets:
            values = () if _missing(profile, budget) else per_round(profile, budget)
            if values and self._is_open(profile, budget, limit, values):
                return None
        return f"every budget was decided after {count} rounds"

    def _is_open(self, profile: Profile, budget: Budget, limit: float, values: Sequence[float]) -> bool:
        """Whether further rounds are of use to a budget.

        A comparison with earlier runs gains nothing from rounds beyond those that make the figure known as well as one
        without a budget: the standard error is then about 1.5 %, below the 2 % and more by which runs differ anyway,
        and what remains of it is in the spread of the earlier runs, which stopped by the same rule. Were it to go on
        until it is decided, it would take all rounds whenever nothing has changed.
        """
        if budget.compared is None:
            evidence = _evidence(profile, budget, limit)
            stat = "" if budget.stat == "median" else f" {budget.stat}"
            self._note(budget.meaning, stat, evidence.observed, evidence.interval)
            return evidence.outcome == "inconclusive"
        return min(values) > 0 and self._half_width(budget.compared, values) > self._precise

    def _half_width(self, kind: Kind, values: Sequence[float]) -> float:
        mean, low, high = mean_interval([math.log(value) for value in values])
        self._note(kind, "", math.exp(mean), (_exp(low), _exp(high)))
        return (high - low) / 2

    def _note(self, kind: Kind, stat: str, value: float, interval: tuple[float, float]) -> None:
        """Keep what a look found, for who watches: it is not computed again."""
        word = self._stand_in if "gpu" in kind.legs else ""
        bounded = interval if interval[0] < interval[1] < math.inf else None
        self.estimate = Estimate(f"{kind.title}{stat}", value, kind.unit, bounded, word)

    def _known_well_enough(self, profile: Profile) -> str | None:
        kind = KINDS["min_speedup"]
        missing, values = profile.ratio_per_round("speedup")
        if missing is not None:
            values, kind = profile.gpu.per_round("wall_time"), KINDS["max_gpu_time"]
        if not values:
            values, kind = profile.cpu.per_round("wall_time"), KINDS["max_cpu_time"]
        width = self._half_width(kind, values)
        return None if width > self._precise else f"known to {width:.1%} after {len(values)} rounds"


def _profile_of(legs: Mapping[str, Sequence[Round]], work: Mapping[str, Any]) -> Profile:
    """Return rounds as a profile, so that one piece of arithmetic serves the running and the finished measurement."""
    measured = {
        name: Measurement(name, None, rounds=tuple(legs[name])) if name in legs else Measurement.absent(name, "not run")
        for name in ("cpu", "gpu", "reference")
    }
    return Profile("", measured["cpu"], measured["gpu"], measured["reference"], **work)
