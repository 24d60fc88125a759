"""Warming up: call until steady, outlast what is compiled or tuned, and find out how many calls make a sample."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_gpuprof.core.results import Caution
from pytest_gpuprof.sampling.legs import BuiltLeg
from pytest_gpuprof.sampling.loop import seconds_of, seconds_of_calls
from pytest_gpuprof.sampling.plan import Plan

__all__ = ["LONG_CALL_S", "Warmth", "calls_per_sample", "warm_up"]

_STEADY = 0.05
"""Three groups of calls within 5 % of each other are steady; a busy two-core machine never agrees better."""

_LOT = 5
_NO_TREND = 0.02
"""Medians of five groups within 2 %: noise of 10 % moves them by 5 %, so that takes a few tries, and not the cap."""

_GROUP_S = 0.01
"""A group of warm-up calls lasts about 10 ms, long against a clock read and short against the ramp of a GPU's clock."""

_SLOW = 2.0
"""A group this many times slower than the latest ones was compiling or tuning, and does not count as warm-up."""

_RECENT = 9
"""The latest groups, whose median is what calls take now: on a noisy machine one lucky group says nothing."""

_WORTH_TELLING = 0.25
"""Groups of 10 ms differ by a few percent on any shared machine; the rounds average over that."""

_LEAST_CALLS = 10
_LEAST_CALLS_S = 1.0
"""What tunes itself tries one thing per call: ten calls at least, as long as they take no longer than a second."""

_MOST_WARMUP_CALLS = 1_000_000
"""Calls so short that a million do not fill the warm-up have nothing to warm up; the probe tells whether they work."""

_MOST_CALLS = 100_000
"""Calls in a sample at most: a callable of less than 0.1 µs is measured over 10 ms all the same, within 0.1 %."""

LONG_CALL_S = 1.0
"""One sample per round for calls longer than this; more would cost minutes and a long call averages over itself."""


@dataclass(frozen=True, slots=True)
class Warmth:
    """What the warm-up found.

    Args:
        seconds_per_call: wall time of a call.
        calls: how many were made.
        cautions: that it did not become steady.
    """

    seconds_per_call: float
    calls: int
    cautions: tuple[Caution, ...] = ()


def warm_up(leg: BuiltLeg, plan: Plan) -> Warmth:
    """Call until steady.

    Steady is: at least ``warmup_s`` of calls (``cpu_warmup_s`` on a CPU), ten of them unless they are long, and three
    groups in a row that agree; or, where noise forbids that, ten groups of which the later five are as fast as the five
    before. The cap does not count groups that were slow because something was compiled or tuned, so that a compilation
    which takes a minute is outlasted.
    """
    is_cpu = leg.plan.device.info.kind == "cpu"
    least_s = min(plan.warmup_s, plan.cpu_warmup_s) if is_cpu else plan.warmup_s
    groups: list[tuple[float, float]] = []  # seconds of the group, seconds per call
    calls, made = 1, 0
    cautions: tuple[Caution, ...] = ()
    while True:
        seconds = seconds_of_calls(leg, calls)
        made += calls
        groups.append((seconds, seconds / calls))
        latest = [per_call for _, per_call in groups[-3:]]
        usual = statistics.median_low(per_call for _, per_call in groups[-_RECENT:])  # of two, the one not compiling
        total = sum(seconds for seconds, _ in groups)
        counted = sum(seconds for seconds, per_call in groups if per_call <= _SLOW * usual)
        enough = counted >= least_s and (made >= _LEAST_CALLS or total >= _LEAST_CALLS_S)
        if len(latest) == 3 and enough and (_agree(latest) or _has_no_trend(groups)):
            break
        if counted >= plan.warmup_cap_s or total >= plan.compile_cap_s or made >= _MOST_WARMUP_CALLS:
            if len(groups) > 1 and max(latest) > (1 + _WORTH_TELLING) * min(latest):
                cautions = (_unsteady(leg.plan.place, counted, max(latest) / min(latest) - 1),)
            break
        calls = max(1, min(calls * 10, int(_GROUP_S / max(seconds / calls, 1e-9))))
    return Warmth(statistics.median(latest), made, cautions)


def _agree(latest: Sequence[float]) -> bool:
    return max(latest) <= (1 + _STEADY) * min(latest)


def _has_no_trend(groups: Sequence[tuple[float, float]]) -> bool:
    """Whether the medians of the last two lots of five groups agree: noise does not stand in their way."""
    if len(groups) < 2 * _LOT:
        return False
    before, after = (
        statistics.median(per_call for _, per_call in lot) for lot in (groups[-2 * _LOT : -_LOT], groups[-_LOT:])
    )
    return max(before, after) <= (1 + _NO_TREND) * min(before, after)


def calls_per_sample(leg: BuiltLeg, plan: Plan, warmth: Warmth) -> tuple[int, Warmth]:
    """Return how many calls make a sample, and what that corrects of the warm-up's figures.

    It is tried out: calls that were slow alike all through the warm-up deceive it.
    """
    while True:
        per_call = warmth.seconds_per_call
        calls = max(1, min(_MOST_CALLS, math.ceil(plan.sample_s / max(per_call, 1e-9))))
        if per_call > LONG_CALL_S or calls == _MOST_CALLS:
            return calls, warmth
        seconds = seconds_of(leg.plan.device, leg.function, calls)
        if seconds >= plan.sample_s / 2:  # the estimate was right, or at worst a sample is half as long
            return calls, Warmth(per_call, warmth.calls + calls, warmth.cautions)
        warmth = Warmth(seconds / calls, warmth.calls + calls, warmth.cautions)


def _unsteady(place: str, seconds: float, spread: float) -> Caution:
    return Caution(
        "unsteady",
        f"{place} still varied by {spread:.0%} after {seconds:.1f} s of warm-up",
        "close other programs, lock the clocks, or allow more with --gpu-profile-warmup",
    )
