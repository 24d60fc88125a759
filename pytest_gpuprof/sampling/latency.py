"""A pass of its own: the latency of single synchronized calls, from which percentiles come."""

from __future__ import annotations

import gc
import math

from pytest_gpuprof.sampling.legs import BuiltLeg, LegPlan, built
from pytest_gpuprof.sampling.loop import seconds_of, seconds_of_calls
from pytest_gpuprof.sampling.passes import PassResult
from pytest_gpuprof.sampling.quiet import quiet, threads_limited

__all__ = ["PATIENCE", "latency_pass"]

_SLOW = 2.0
"""A call this many times slower than a later one was compiling, and is no load that makes a clock ramp up."""

PATIENCE = 10.0
"""The warm-up ends after this many times its length, resets included, of which the longest call may take what it likes:
calls may vary so much that few of them are near the fastest, or be short beside their resets."""


def latency_pass(plan: LegPlan, calls: int, *, threads: int, seconds: float, warmup_s: float = 0.2) -> PassResult:
    """Time single synchronized calls, as a user of the workload waits for them.

    Each figure is the wall time from an idle device to an idle device, with launch and synchronization. Between two
    calls the device idles for as long as the host takes to begin the next. Every call counts, however slow. Automatic
    garbage collection is off; what is due is collected between the calls, outside of every figure, so that a callable
    which makes cycles does not fill the device's memory.

    Args:
        plan: the leg.
        calls: how many; fewer are taken if they do not fit into ``seconds``.
        threads: CPU threads the leg may use.
        seconds: time for the pass.
        warmup_s: load before the first timed call, so that the ramp of the clock is not among the percentiles; calls
            that were slow because something was compiled do not count.
    """
    device = plan.device
    clock = device.clock
    with threads_limited(device.threads, threads), built(plan) as leg, quiet():
        leg.call()  # refuses a coroutine, which would take no time
        warm_calls = 1 + _warm_up(leg, warmup_s)
        deadline = clock.now() + seconds
        taken: list[float] = []
        while len(taken) < calls and clock.now() < deadline:
            _collect_what_is_due()
            leg.prepare()
            taken.append(seconds_of(device, leg.function, 1))
    return PassResult(series={"latency": tuple(taken)}, calls=len(taken) + warm_calls)


def _warm_up(leg: BuiltLeg, warmup_s: float) -> int:
    """Call until there was that much load at the speed that calls have when nothing is compiled; return how often."""
    clock = leg.plan.device.clock
    calls, fastest = 0, math.inf
    load = longest = 0.0
    began = clock.now()
    while True:
        _collect_what_is_due()
        seconds = seconds_of_calls(leg, 1)
        calls += 1
        if seconds * _SLOW < fastest:
            load = 0.0  # what came before was much slower: it was no load
        fastest = min(fastest, seconds)
        if seconds <= _SLOW * fastest:
            load += seconds
        longest = max(longest, seconds)
        if load >= warmup_s or clock.now() - began - longest >= PATIENCE * warmup_s:
            return calls


def _collect_what_is_due() -> None:
    """Collect young garbage if it would have been collected by now; the old generation is left for the end."""
    threshold = gc.get_threshold()[0]
    if 0 < threshold <= gc.get_count()[0]:
        gc.collect(1)
