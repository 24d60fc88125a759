"""Passes of their own, never inside timed rounds: peak memory, and the latency of single calls (energy: energy.py).

Each builds its leg anew, so that one pass cannot see what another left behind.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_gpuprof.core.protocols import PeakMemory
from pytest_gpuprof.core.results import Caution, Quality, Reading
from pytest_gpuprof.sampling.legs import LegPlan, built
from pytest_gpuprof.sampling.loop import seconds_of
from pytest_gpuprof.sampling.quiet import quiet, threads_limited

__all__ = ["PassResult", "latency_pass", "memory_pass"]

_WARM_CALLS = 2
"""The allocator's cache and the libraries' workspaces are filled by the first calls, and not by the third."""


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass yielded."""

    readings: Mapping[str, Reading] = field(default_factory=dict)
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    cautions: tuple[Caution, ...] = ()
    calls: int = 0


def memory_pass(plan: LegPlan, memory: PeakMemory, *, exact: bool, threads: int, quality: Quality) -> PassResult:
    """Measure the peak while the callable runs, above the builder and above the call.

    Args:
        plan: the leg.
        memory: what is watched.
        exact: an allocator's statistics repeat exactly, so the pass is done twice and must agree; the host's resident
            memory does not shrink between passes, so it is done once.
        threads: CPU threads the leg may use.
        quality: of the readings.
    """
    passes = [_one_memory_pass(plan, memory, threads) for _ in range(2 if exact else 1)]
    readings = {}
    for index, name in enumerate(("memory", "workspace")):
        values = [each[index] for each in passes]
        interval = (float(min(values)), float(max(values))) if len(set(values)) > 1 else None
        readings[name] = Reading(float(max(values)), interval=interval, quality=quality)
    reserved = memory.reserved_bytes()
    if reserved is not None:
        readings["reserved"] = Reading(float(reserved), quality=quality)
    return PassResult(readings, calls=len(passes) * (_WARM_CALLS + 1))


def _one_memory_pass(plan: LegPlan, memory: PeakMemory, threads: int) -> tuple[int, int]:
    device = plan.device
    gc.collect()
    device.synchronize()
    memory.reset_peak()
    before_builder = memory.live_bytes()
    with threads_limited(device.threads, threads), built(plan) as leg:
        for _ in range(_WARM_CALLS):
            leg.call()
        gc.collect()
        device.synchronize()
        if leg.reset is not None:
            leg.reset()
        memory.reset_peak()
        before_call = memory.live_bytes()
        output = leg.function()
        device.synchronize()
        peak = memory.peak_bytes()
        del output
    return max(0, peak - before_builder), max(0, peak - before_call)


def latency_pass(plan: LegPlan, calls: int, *, threads: int, seconds: float, warmup_s: float = 0.2) -> PassResult:
    """Time single synchronized calls, as a user of the workload waits for them.

    Args:
        plan: the leg.
        calls: how many; fewer are taken if they do not fit into ``seconds``.
        threads: CPU threads the leg may use.
        seconds: time for the pass.
        warmup_s: load before the first timed call, so that the ramp of the clock is not among the percentiles.
    """
    device = plan.device
    clock = device.clock
    warm_calls = 0
    with threads_limited(device.threads, threads), built(plan) as leg:
        warm_until = clock.now() + warmup_s
        while warm_calls < _WARM_CALLS or clock.now() < warm_until:
            leg.call()
            device.synchronize()
            warm_calls += 1
        with quiet():
            deadline = clock.now() + seconds
            taken: list[float] = []
            while len(taken) < calls and clock.now() < deadline:
                if leg.reset is not None:
                    leg.reset()
                taken.append(seconds_of(device, leg.function, 1))
    return PassResult(series={"latency": tuple(taken)}, calls=len(taken) + warm_calls)
