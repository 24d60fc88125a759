"""The latency of single calls, and the percentiles that come from it."""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pytest_gpuprof.backends.simulated import SimulatedDevice
from pytest_gpuprof.core.errors import WorkloadError
from pytest_gpuprof.sampling.latency import latency_pass
from pytest_gpuprof.stats.summary import needed_for_quantile, quantile, quantile_interval
from tests.sampling.machines import EXACT, device_of, exact_machine, leg_on, running


def test_latency_is_that_of_single_synchronized_calls() -> None:
    """Launch, kernel and synchronization of each, as somebody waits for it; warm calls only."""
    machine = exact_machine()
    result = latency_pass(leg_on(machine, running(1e-3)), 50, threads=1, seconds=30, warmup_s=0)
    series = result.series["latency"]
    assert len(series) == 50
    card = EXACT
    expected = 1e-3 + card.launch_s + card.latency_s + card.sync_s
    assert series == pytest.approx([expected] * 50, rel=1e-3)
    assert result.calls == 52


def test_each_slow_call_is_in_the_series_by_itself() -> None:
    """Every tenth call is slow: blocks of calls would average it away."""
    machine = exact_machine()
    calls = 0

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            nonlocal calls
            calls += 1
            device.run(1e-2 if calls % 10 == 0 else 1e-3)

        return run

    series = latency_pass(leg_on(machine, work), 100, threads=1, seconds=30).series["latency"]
    assert sum(each > 5e-3 for each in series) == 10


def test_latency_stops_when_its_time_is_used_up() -> None:
    """With what was taken until then."""
    machine = exact_machine()
    result = latency_pass(leg_on(machine, running(0.1)), 1000, threads=1, seconds=2.0)
    assert 17 <= len(result.series["latency"]) <= 21


def test_latency_is_without_its_resets() -> None:
    """They run before each call."""
    machine = exact_machine()
    resets = []

    def reset() -> None:
        resets.append(True)
        device_of(machine).run(0.5)

    series = latency_pass(leg_on(machine, running(1e-3), reset=reset), 10, threads=1, seconds=30).series["latency"]
    assert max(series) < 1.1e-3
    assert len(resets) <= 1 + 5 + 10  # the warm-up does not take as long as 200 resets


def work_of(durations: Callable[[], float]) -> Callable[..., Any]:
    """Return a builder of calls of these durations."""

    def work(device: SimulatedDevice) -> Callable[[], None]:
        return lambda: device.run(durations())

    return work


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.95])
def test_the_interval_of_a_percentile_holds_the_true_one(fraction: float) -> None:
    """In at least 95 % of 200 runs of a latency with a long tail, each with as many calls as the percentile needs.

    A call is launch, start, kernel and synchronization, all known here; the kernel's time is log-normal.
    """
    spread = 0.8
    z = {0.5: 0.0, 0.9: 1.2816, 0.95: 1.6449}[fraction]
    around = EXACT.launch_s + EXACT.latency_s + EXACT.sync_s
    truth = 1e-3 * math.exp(spread * z) + around
    inside = 0
    for seed in range(200):
        rng = random.Random(seed)
        plan = leg_on(exact_machine(), work_of(lambda rng=rng: 1e-3 * math.exp(spread * rng.gauss(0, 1))))  # type: ignore[misc]  # bound now
        calls = needed_for_quantile(fraction)
        series = latency_pass(plan, calls, threads=1, seconds=30, warmup_s=0).series["latency"]
        assert len(series) == calls
        interval = quantile_interval(series, fraction)
        assert interval is not None
        inside += interval[0] <= truth <= interval[1]
        assert interval[0] in series
        assert interval[1] in series
    assert inside >= 190


def test_a_percentile_of_single_calls_is_not_that_of_blocks() -> None:
    """One call in fifteen takes ten times as long: p95 sees it, and the mean of many calls does not."""
    rng = random.Random(1)
    plan = leg_on(exact_machine(), work_of(lambda: 1e-2 if rng.random() < 1 / 15 else 1e-3))
    series = latency_pass(plan, 2000, threads=1, seconds=30).series["latency"]
    assert quantile(series, 0.95) == pytest.approx(1e-2, rel=0.01)
    assert quantile(series, 0.5) == pytest.approx(1e-3, rel=0.02)


def test_a_clock_that_ramps_up_is_warm_before_the_first_call() -> None:
    """Half the speed for the first 0.15 s after the first, compiling call, which is no load."""
    ramp: list[float] = []

    def speed_at(moment: float) -> float:
        return 0.5 if ramp and moment < ramp[0] + 0.15 else 1.0

    machine = exact_machine(replace(EXACT, speed_at=speed_at))

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            if not ramp:
                device.host(5.0)  # compiling
                ramp.append(machine.clock.time)
            device.run(1e-3)

        return run

    series = latency_pass(leg_on(machine, work), 100, threads=1, seconds=30, warmup_s=0.2).series["latency"]
    assert max(series) < 1.1e-3


def test_a_compilation_in_a_later_call_is_outlasted() -> None:
    """The third call takes five seconds: the warm-up goes on until there was load without it."""
    machine = exact_machine()
    calls = 0

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            nonlocal calls
            calls += 1
            if calls == 3:
                device.host(5.0)
            device.run(1e-3)

        return run

    result = latency_pass(leg_on(machine, work), 10, threads=1, seconds=30, warmup_s=0.2)
    assert result.calls == calls > 200
    assert max(result.series["latency"]) < 1.1e-3


def test_a_warm_up_of_calls_that_vary_ends() -> None:
    """One lucky call in a thousand makes all others look slow; ten times the warm-up is enough."""
    rng = random.Random(3)
    plan = leg_on(exact_machine(), work_of(lambda: 1e-6 if rng.random() < 1e-3 else 1e-3))
    result = latency_pass(plan, 10, threads=1, seconds=30, warmup_s=0.2)
    assert result.calls < 2100


def test_garbage_is_collected_between_calls_and_not_in_them() -> None:
    """Cycles that hold memory of the device do not pile up, automatic collection stays off, and all is restored."""
    machine = exact_machine()
    device = device_of(machine)
    automatic: list[bool] = []
    peak = 0

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            nonlocal peak
            automatic.append(gc.isenabled())
            for _ in range(50):
                cycle: list[Any] = [device.allocate(2**20)]
                cycle.append(cycle)
            with device.watch_memory() as memory:
                assert memory is not None
                peak = max(peak, memory.live_bytes())

        return run

    threshold = gc.get_threshold()
    gc.set_threshold(500, 10, 10)
    try:
        latency_pass(leg_on(machine, work), 300, threads=1, seconds=30, warmup_s=0)
        assert gc.isenabled()
        assert gc.get_threshold() == (500, 10, 10)
    finally:
        gc.set_threshold(*threshold)
    assert not any(automatic[1:])
    assert peak < 1500 * 2**20  # of 15 GiB that the calls allocate
    assert device.card is not None


def test_a_callable_that_computes_nothing_is_refused() -> None:
    """A coroutine takes no time."""

    async def later() -> None:
        """Do nothing."""

    with pytest.raises(WorkloadError, match="returns a coroutine"):
        latency_pass(leg_on(exact_machine(), lambda device: lambda: later()), 10, threads=1, seconds=30)
