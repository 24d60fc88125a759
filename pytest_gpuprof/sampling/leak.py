"""A pass of its own: does a workload gain memory of the device from call to call?"""

from __future__ import annotations

import gc

from pytest_gpuprof.core.protocols import PeakMemory
from pytest_gpuprof.core.quantities import format_quantity
from pytest_gpuprof.core.results import Quality, Reading
from pytest_gpuprof.sampling.legs import BuiltLeg, LegPlan, built
from pytest_gpuprof.sampling.passes import PassResult
from pytest_gpuprof.sampling.quiet import threads_limited
from pytest_gpuprof.stats.leak import LEAST_CALLS, Growth, growth_per_call

__all__ = ["FURTHER_S", "MOST_CALLS", "leak_pass"]

_WARM_CALLS = 3
"""Workspaces and caches of libraries are filled by the first calls."""

_FURTHER_CALLS = 128
"""What seems to leak is called this often before it counts: ``functools.lru_cache`` keeps 128 results by default, and
a cache that is full stops growing."""

FURTHER_S = 5.0
_FURTHER_BYTES = 2**30
"""The further calls end after this time, or once they would have gained this much: a leak must not fill the device."""

MOST_CALLS = _WARM_CALLS + 2 * LEAST_CALLS
"""Calls at most, besides the further ones, whose time is limited."""


def leak_pass(
    plan: LegPlan, memory: PeakMemory, *, threads: int, quality: Quality, longest_call_s: float | None = None
) -> PassResult:
    """Call again and again, drop each output, and see whether live memory grows.

    After three warm calls, eight calls are looked at. If they gain memory, up to 128 more are made and then eight
    looked at again, which alone count: a cache that fills has stopped growing by then.

    Args:
        plan: the leg.
        memory: what is watched.
        threads: CPU threads the leg may use.
        quality: of the reading.
        longest_call_s: a call that takes longer is not repeated for this; ``None`` for however long.

    Returns:
        The reading ``leak`` in bytes per call: 0 if nothing is gained, else the slope with its interval. A growth that
        is steady but too small and irregular to be told from noise has an interval that reaches down to 0.
    """
    device = plan.device
    clock = device.clock
    gc.collect()
    device.synchronize()
    memory.reset_peak()
    before_builder = memory.live_bytes()
    with threads_limited(device.threads, threads), built(plan) as leg:
        seconds = 0.0
        for call in range(_WARM_CALLS):
            start = clock.now()
            _call_and_drop(leg)
            seconds = clock.now() - start
            if call > 0 and longest_call_s is not None and seconds > longest_call_s:
                reason = (
                    f"a call takes {format_quantity(seconds, 's')}, and {LEAST_CALLS} more are made only for max_leak="
                )
                return PassResult({"leak": Reading.unavailable(reason, "not asked for")}, calls=call + 1)
        growth = _watched(leg, memory)
        calls = _WARM_CALLS + LEAST_CALLS
        peak = memory.peak_bytes() - before_builder
        room = 0
        if growth.leaks(peak):
            room = int(min(_FURTHER_CALLS, _FURTHER_BYTES // growth.slope - LEAST_CALLS))
        if room > 0:
            calls += _call_further(leg, room)
            growth = _watched(leg, memory)
            calls += LEAST_CALLS
    return PassResult({"leak": _reading(growth, peak, quality)}, calls=calls)


def _watched(leg: BuiltLeg, memory: PeakMemory) -> Growth:
    """Return how live memory grows over the least number of calls, with all garbage collected after each."""
    live = []
    for _ in range(LEAST_CALLS):
        _call_and_drop(leg)
        gc.collect()
        leg.plan.device.synchronize()
        live.append(memory.live_bytes())
    return growth_per_call(live)


def _call_further(leg: BuiltLeg, most: int) -> int:
    """Call up to so often, for a few seconds at most; return how often."""
    clock = leg.plan.device.clock
    deadline = clock.now() + FURTHER_S
    calls = 0
    while calls < most and clock.now() < deadline:
        _call_and_drop(leg)
        calls += 1
    return calls


def _call_and_drop(leg: BuiltLeg) -> None:
    leg.call()
    leg.plan.device.synchronize()


def _reading(growth: Growth, peak: int, quality: Quality) -> Reading:
    if not growth.steady:
        return Reading(0.0, quality=quality)
    low = growth.low if growth.leaks(peak) else 0.0
    return Reading(growth.slope, interval=(low, growth.high) if low < growth.high else None, quality=quality)
