"""Judging whether a figure got worse since earlier runs, in one sentence. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_gpuprof.budgets.budget import Budget
from pytest_gpuprof.budgets.kinds import Kind
from pytest_gpuprof.core.baseline import Baseline
from pytest_gpuprof.core.quantities import format_quantity
from pytest_gpuprof.core.results import Change, Reading, Verdict
from pytest_gpuprof.stats import regression

__all__ = ["change_of", "compared", "confirmed", "share_worse"]

_ACCEPT = "pytest-gpuprof accept"

_WORDS: Mapping[regression.Direction, Change] = {"worse": "regressed", "better": "improved", "same": "same"}

_NEW = Baseline(absence="new", reason=f"nothing is known of earlier runs; accept what it is now with {_ACCEPT}")


@dataclass(frozen=True, slots=True)
class _Noise:
    """By how much a figure differs between runs without a cause: relatively, and at least in its own unit."""

    floor: float
    resolution: float = 0.0


_GPU = _Noise(0.02)
"""Medians of one kernel in different processes on an idle card with its clocks unlocked differ by 0.5 to 2 %."""

_CPU = _Noise(0.03)
"""Where the CPU takes part, the scheduler, the layout of memory and the turbo clock differ from process to process."""

_ENERGY = _Noise(0.05)
"""The counters of boards are refreshed now and then, depend on the temperature, and are specified to 5 %."""

_EXACT = _Noise(0.0)
"""An allocator counts; the same calls take the same bytes."""

_RESIDENT = _Noise(0.05, 2.0 * 2**20)
"""Resident memory is not exact: it grows by whole pages, which may be of 2 MiB, and by what libraries keep."""


def _noise_of(kind: Kind) -> _Noise:
    if kind.family == "memory":
        return _RESIDENT if "cpu" in kind.legs else _EXACT
    if kind.family == "energy":
        return _ENERGY
    return _CPU if "cpu" in kind.legs else _GPU


def change_of(kind: Kind, before: Sequence[float], now: float, limit: float = 0.05) -> regression.Change | None:
    """Return what became of a figure; ``None`` if it cannot be told, because one of the values is no ratio of another.

    Args:
        kind: what the figure is.
        before: its value in each earlier run, at least one.
        now: its value in the newest.
        limit: the share by which it may be worse.
    """
    noise = _noise_of(kind)
    has_zero = noise.floor > 0 and noise.resolution == 0 and min(*before, now) == 0
    if has_zero or min(*before, now) < 0:
        return None
    return regression.compare(
        before,
        now,
        more_is_worse=not kind.at_least,
        floor=noise.floor,
        least=-math.log1p(-limit) if kind.at_least else math.log1p(limit),
        resolution=noise.resolution,
    )


def share_worse(kind: Kind, effect: float) -> float:
    """Return by which share of its former value a figure is worse, negative if it is better.

    >>> from pytest_gpuprof.budgets.kinds import KINDS
    >>> [round(share_worse(KINDS[word], math.log(2)), 2) for word in ("max_gpu_time", "min_speedup")]
    [1.0, 0.5]
    """
    sign = -1 if kind.at_least else 1
    try:
        return sign * math.expm1(sign * effect)
    except OverflowError:
        return sign * math.inf


def compared(verdict: Verdict, budget: Budget, reading: Reading, baseline: Baseline | None) -> Verdict:
    """Return the verdict on how a figure compares with earlier runs.

    Args:
        verdict: without outcome, with the limit.
        budget: what is compared.
        reading: the figure now.
        baseline: the figure before, ``None`` if nobody looked.
    """
    kind, before = budget.compared, baseline or _NEW
    assert kind is not None and verdict.limit is not None and reading.value is not None
    unenforced = f"{budget.keyword} of {kind.title} is not enforced"
    if before.absence:
        sentence = f"{unenforced} ({before.absence}): {before.reason}"
        return replace(verdict, change=before.absence, sentence=sentence)
    change = change_of(kind, before.values, reading.value, verdict.limit)
    if change is None:
        low, high = min(before.values), max(before.values)
        was = _figure(low, kind) if low == high else f"{_figure(low, kind)} to {_figure(high, kind)}"
        sentence = (
            f"{unenforced} (incomparable): it is {_figure(reading.value, kind)} and was {was} in {_runs(before)}, "
            f"and no share of a figure of 0 or less can be told; limit the figure itself with {kind.keyword}"
        )
        return replace(verdict, change="incomparable", sentence=sentence)
    return replace(
        verdict,
        outcome="missed" if change.outcome == "worse" else "met",
        change=_WORDS[change.outcome],
        sentence=_sentence(budget, kind, verdict.limit, reading.value, before, change),
        effect=_finite(change.effect),
        observed=_finite(share_worse(kind, change.effect)),
        interval=(share_worse(kind, change.interval[0]), share_worse(kind, change.interval[1]))
        if math.isfinite(change.effect)
        else None,
    )


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None  # from nothing to something is no share of nothing


def _sentence(budget: Budget, kind: Kind, limit: float, now: float, before: Baseline, change: regression.Change) -> str:
    facts = f"{kind.title} {_figure(now, kind)} {_against(kind, before, change)}"
    bound = f"{budget.keyword} {_share(limit)}"
    exact = change.interval[0] == change.interval[1]
    shows = "" if exact else f"; {_word(kind)} from {_share(share_worse(kind, change.detectable))} on would have shown"
    if change.outcome == "worse":
        sentence = f"{facts}, which misses {bound} [{'exact' if exact else _chance(change.p)}]"
        return f"{sentence}: {budget.reason}" if budget.reason else sentence
    if change.outcome == "better":
        share = share_worse(kind, change.effect)
        gain = f" by {_share(-share)}" if math.isfinite(share) else ""
        return f"{facts}, which meets {bound}; it improved{gain}: accept it with {_ACCEPT}"
    if share_worse(kind, change.effect) > limit:
        return f"{facts}, within the noise of runs [{_chance(change.p)}], which does not miss {bound}{shows}"
    return f"{facts}, which meets {bound}{shows}"


def _against(kind: Kind, before: Baseline, change: regression.Change) -> str:
    """Return how the figure lies against what it was: above or below, and by how much."""
    if change.effect == 0:
        return f"is the same as in {_runs(before)}"
    if not math.isfinite(change.effect):
        return f"was {_figure(change.level, kind)} in {_runs(before)}"
    worse = change.effect > 0
    above = worse != kind.at_least
    sign = 1 if worse else -1
    low, high = sorted(sign * share_worse(kind, bound) for bound in change.interval)
    spread = "" if low == high else f" ({_share(low)} to {_share(high)})"
    share = sign * share_worse(kind, change.effect)
    where = "above" if above else "below"
    return f"is {_share(share)}{spread} {where} the {_figure(change.level, kind)} of {_runs(before)}"


def _runs(before: Baseline) -> str:
    runs = f"{len(before.values)} run{'s' if len(before.values) != 1 else ''}"
    if before.source.startswith(runs):  # "5 runs on main" says it already
        return before.source
    return f"{runs} ({before.source})" if before.source else runs


def _word(kind: Kind) -> str:
    """Return what getting worse is called."""
    if kind.at_least:
        return "a fall"
    return "a slowdown" if kind.unit == "s" else "a rise"


def _chance(p: float) -> str:
    return f"p = {p:.1g}" if p >= 0.0001 else "p < 0.0001"


def _figure(value: float, kind: Kind) -> str:
    return format_quantity(value, kind.unit)


def _share(share: float) -> str:
    # Hundredths of a percent are the finest that any clock tells; below, the rounding of logarithms would show.
    return "unbounded" if math.isinf(share) else format_quantity(round(share, 4), "share", digits=2)


def confirmed(first: Verdict, second: Verdict, budget: Budget) -> Verdict:
    """Return what holds after a regression was measured a second time: seen twice it is one, else it was noise."""
    kind = budget.compared
    assert kind is not None
    if second.outcome == "missed":
        again = "" if second.observed is None else f": {_share(second.observed)} worse"
        return replace(first, sentence=f"{first.sentence}; measured again{again or ', the same'}")
    if second.observed is None:
        again = "there was nothing to compare"
    else:
        again = f"it was {_share(abs(second.observed))} {'worse' if second.observed > 0 else 'better'}"
    return replace(
        first,
        outcome="inconclusive",
        change="noisy",
        sentence=f"{first.sentence}, but measured again {again}, which does not miss it: too noisy",
    )
