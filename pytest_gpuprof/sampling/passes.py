"""Passes of their own, never inside timed rounds; here: energy, and counting FLOPs.

Each builds its leg anew, so that one pass cannot see what another left behind.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pytest_gpuprof.core.protocols import EnergyCounter, FlopCounter
from pytest_gpuprof.core.results import Caution, Quality, Reading
from pytest_gpuprof.sampling.legs import BuiltLeg, LegPlan, built
from pytest_gpuprof.sampling.loop import call_repeatedly
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.quiet import quiet, threads_limited
from pytest_gpuprof.stats.energy import EnergyWindow, energy_per_call, mean_power

__all__ = ["PassResult", "energy_pass", "flops_pass"]

_SLOW = 2.0
"""A block of calls this many times slower than the fastest was compiling, as in the sampler's warm-up."""

_QUEUED_CALLS = 64
"""Energy windows synchronize every 64 calls, so that no queue overflows and the end of the window is not far ahead."""


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass yielded."""

    readings: Mapping[str, Reading] = field(default_factory=dict)
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    cautions: tuple[Caution, ...] = ()
    calls: int = 0


def flops_pass(plan: LegPlan, counter: FlopCounter, *, threads: int, quality: Quality) -> PassResult:
    """Count the floating-point operations of one call, after one that is not counted and may still compile.

    Args:
        plan: the leg.
        counter: what counts.
        threads: CPU threads the leg may use.
        quality: of the reading; ``"estimated"`` for a counter that does not know every operator.
    """
    with threads_limited(plan.device.threads, threads), built(plan) as leg:
        leg.call()
        leg.prepare()
        try:
            counted = counter.count(leg.function)
            plan.device.synchronize()
        except Exception as error:  # the call went well before it was watched
            why = f"{counter.name} failed ({type(error).__name__}: {error}); give flops= yourself"
            return PassResult({"flops": Reading.unavailable(why)}, calls=2)
    if counted <= 0:
        why = f"{counter.name} counted nothing: it knows {counter.knows}; give flops= yourself"
        return PassResult({"flops": Reading.unavailable(why)}, calls=2)
    source = f"counted by {counter.name} (only {counter.knows})"
    return PassResult({"flops": Reading(float(counted), quality=quality, source=source)}, calls=2)


def energy_pass(
    plan: LegPlan,
    counters: Mapping[str, EnergyCounter],
    sampling: Plan,
    *,
    threads: int,
    quality: Quality,
    seed: int = 0,
    watch: Callable[[str], None] = lambda _: None,
) -> PassResult:
    """Measure the energy of back-to-back calls.

    The load runs before the first window, and the windows' lengths and starts are jittered by the counters' period.

    Args:
        plan: the leg.
        counters: by the metric they fill: ``"energy"`` for the board, ``"package_energy"`` for the CPU package.
        sampling: lengths and number of windows.
        threads: CPU threads the leg may use.
        quality: of the readings.
        seed: of the jitter.
        watch: told what is being done, between windows.
    """
    period_s = max(counter.period_s for counter in counters.values())
    rng = random.Random(seed)
    windows: dict[str, list[EnergyWindow] | Reading] = {name: [] for name in counters}
    with threads_limited(plan.device.threads, threads), built(plan) as leg, quiet():
        leg.call()
        seconds_per_call, calls = _settle(leg, sampling)
        per_window = max(1, math.ceil(min(sampling.window_s, sampling.max_window_s) / seconds_per_call))
        for trial in range(sampling.trials):
            watch(f"energy window {trial + 1} of {sampling.trials} on {plan.device.info.id}")
            calls += _run_calls(leg, max(1, round(rng.uniform(0, period_s) / seconds_per_call)))
            length = per_window + rng.randint(0, max(1, math.ceil(period_s / seconds_per_call)))
            calls += length
            _one_window(leg, length, counters, windows)
    readings: dict[str, Reading] = {}
    for name, taken in windows.items():
        if isinstance(taken, Reading):
            readings[name] = taken
            continue
        counter = counters[name]
        facts = {"period_s": counter.period_s, "gain_error": counter.gain_error}
        readings[name] = energy_per_call(taken, **facts, quality=quality)
        if name == "energy":
            readings["power"] = mean_power(taken, **facts, quality=quality)
    if isinstance(windows.get("energy"), Reading):
        readings["power"] = readings["energy"]
    return PassResult(readings, calls=calls + 1)


def _settle(leg: BuiltLeg, sampling: Plan) -> tuple[float, int]:
    """Put the board under load for a while; return the seconds of one call and how many were made.

    As in the warm-up of the rounds, a block that was slow because something was compiled counts neither as load nor for
    the seconds of a call: every pass builds anew, so it can meet a compilation again.
    """
    clock = leg.plan.device.clock
    blocks: list[tuple[float, float]] = []  # seconds of the block, seconds per call
    calls = 0
    while True:
        start, more = clock.now(), max(1, calls)
        calls += _run_calls(leg, more)
        seconds = clock.now() - start
        blocks.append((seconds, seconds / more))
        fastest = min(per_call for _, per_call in blocks)
        load = sum(seconds for seconds, per_call in blocks if per_call <= _SLOW * fastest)
        elapsed = sum(seconds for seconds, _ in blocks)
        if (load >= sampling.settle_s and calls >= 3) or elapsed >= sampling.max_window_s:
            return fastest, calls


def _run_calls(leg: BuiltLeg, calls: int) -> int:
    """Call that often, with few synchronizations; return the number of calls."""
    left = calls
    while left > 0:
        now = min(left, _QUEUED_CALLS) if leg.reset is None else 1
        if leg.reset is not None:
            leg.reset()
        call_repeatedly(leg.function, now)
        leg.plan.device.synchronize()
        left -= now
    return calls


def _one_window(
    leg: BuiltLeg,
    calls: int,
    counters: Mapping[str, EnergyCounter],
    windows: dict[str, list[EnergyWindow] | Reading],
) -> None:
    clock = leg.plan.device.clock
    before = {name: counter.read() for name, counter in counters.items()}
    start = clock.now()
    _run_calls(leg, calls)
    seconds = clock.now() - start
    after = {name: counter.read() for name, counter in counters.items()}
    for name, counter in counters.items():
        taken = windows[name]
        if isinstance(taken, Reading):
            continue  # what failed once stays unavailable, with its first reason
        used = _used(counter, before[name], after[name], seconds)
        if used.value is None:
            windows[name] = used
        else:
            taken.append(EnergyWindow(used.value, seconds, calls))


def _used(counter: EnergyCounter, before: Reading, after: Reading, seconds: float) -> Reading:
    for reading in (before, after):
        if reading.value is None:
            return reading
    assert before.value is not None and after.value is not None  # told to mypy, not tested
    used = counter.used_j(before.value, after.value, seconds)
    if used.value == 0:
        return Reading.unavailable("the energy counter stood still: the window was shorter than its refresh")
    return used
