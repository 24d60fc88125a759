"""Device time against the simulated truth: launching is hidden, and what cannot be excluded is in the stated bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pytest_gpuprof.backends.simulated import Card, SimulatedDevice
from pytest_gpuprof.core.errors import MeasurementError
from pytest_gpuprof.core.results import Measurement
from pytest_gpuprof.sampling.device_time import overhead_of, plan_window, take_device_sample
from pytest_gpuprof.sampling.legs import built
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.preflight import preflight
from pytest_gpuprof.sampling.probe import probe
from pytest_gpuprof.sampling.sampler import LegRounds
from tests.sampling.machines import EXACT, device_of, exact_machine, kernels, leg_on, running, take

BRIEF = Plan(warmup_s=0.02, min_rounds=1)

CARDS = st.builds(
    Card,
    launch_s=st.floats(1e-6, 20e-6),
    latency_s=st.floats(0.5e-6, 4e-6),
    mark_s=st.floats(0.3e-6, 2e-6),
    resolution_s=st.sampled_from([32e-9, 500e-9, 1024e-9]),
    noise=st.just(0.0),
)


def device_time(builder: Callable[..., Any], card: Card = EXACT, *, backlog: bool = True) -> tuple[LegRounds, float]:
    """Return one round of a workload, and its device time."""
    machine = exact_machine(card)
    if not backlog:
        device_of(machine).backlog = None
    taken = take([leg_on(machine, builder)], rounds=1, plan=BRIEF).legs["gpu"]
    return taken, Measurement("gpu", None, taken.rounds).figure("device_time")


def bound_of(taken: LegRounds) -> float:
    return Measurement("gpu", None, taken.rounds).overhead_bound("device_time")


@settings(derandomize=True, deadline=None, max_examples=150)
@given(kernel=st.floats(2e-6, 5e-3), launches=st.integers(1, 5), prelude=st.floats(0, 100e-6), card=CARDS)
def test_device_time_is_within_its_own_bound_of_the_truth(
    kernel: float, launches: int, prelude: float, card: Card
) -> None:
    """Kernels of 2 µs to 5 ms, launched with more or less ado: the stated bound holds, and is below 1 %."""
    taken, found = device_time(kernels(kernel, launches, prelude), card)
    assert abs(found / (kernel * launches) - 1) <= bound_of(taken)
    assert bound_of(taken) < 0.01


@settings(derandomize=True, deadline=None, max_examples=60)
@given(kernel=st.floats(2e-6, 20e-6), prelude=st.floats(30e-6, 100e-6))
def test_events_around_one_call_tell_what_launching_costs(kernel: float, prelude: float) -> None:
    """What naive timing yields: this guards that the simulation could show the error which the backlog removes."""
    with built(leg_on(exact_machine(), kernels(kernel, 1, prelude))) as ready:
        device = ready.plan.device
        assert device.timer is not None
        device.synchronize()
        start = device.timer.mark()
        ready.function()
        end = device.timer.mark()
        device.synchronize()
        assert device.timer.elapsed_s(start, end) > 2 * kernel


@settings(derandomize=True, deadline=None, max_examples=60)
@given(kernel=st.floats(2e-6, 5e-3), launches=st.integers(1, 5), prelude=st.floats(0, 100e-6), card=CARDS)
def test_without_a_backlog_the_bound_says_how_wrong_it_can_be(
    kernel: float, launches: int, prelude: float, card: Card
) -> None:
    """Launch gaps are then in the figure, never below the truth, and the bound covers them."""
    taken, found = device_time(kernels(kernel, launches, prelude), card, backlog=False)
    truth = kernel * launches
    assert found >= truth * (1 - bound_of(taken))
    assert found * (1 - bound_of(taken)) <= truth * (1 + 1e-9)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(factor=st.sampled_from([0.25, 0.5, 4.0, 16.0]))
def test_a_machine_slower_by_a_factor_measures_that_factor(factor: float) -> None:
    """Scale: the unit of time is nobody's business, and longer calls need fewer of them."""

    def measured(scale: float) -> tuple[LegRounds, float]:
        return device_time(kernels(100e-6 * scale))

    assert measured(factor)[1] / measured(1.0)[1] == pytest.approx(factor, rel=0.01)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    launches=st.integers(1, 2000),
    queue=st.integers(16, 1024),
    synchronizes=st.booleans(),
    kernel=st.floats(2e-6, 50e-6),
)
def test_measuring_ends_whatever_the_queue_holds(launches: int, queue: int, synchronizes: bool, kernel: float) -> None:
    """More launches than the queue takes, or waiting inside, block the host for the backlog's time at most."""
    machine = exact_machine(replace(EXACT, queue_depth=queue))
    began = machine.clock.time
    work = kernels(kernel, launches, synchronizes=synchronizes)
    taken = take([leg_on(machine, work)], rounds=1, plan=BRIEF).legs["gpu"]
    assert machine.clock.time - began < 60
    found = Measurement("gpu", None, taken.rounds)
    assert taken.probe.synchronizes or not synchronizes
    if not taken.probe.synchronizes:
        truth = kernel * launches
        assert abs(found.device_time_s / truth - 1) <= found.overhead_bound("device_time") + 1e-9


def test_a_workload_that_waits_inside_has_a_device_time_with_a_doubt() -> None:
    """It holds what the host does meanwhile: one that misses its limit may not miss it, one that meets it does."""
    taken, found = device_time(kernels(50e-6, prelude=50e-6, synchronizes=True))
    assert taken.probe.synchronizes
    assert found > 50e-6
    (caution,) = [each for each in taken.cautions if each.code == "synchronizes"]
    assert ("device time", "missed") in caution.spoils
    assert ("device time", "met") not in caution.spoils
    assert not {"time", "ratio"} & {family for family, _ in caution.spoils}


def test_launching_that_dominates_is_told_and_spoils_nothing() -> None:
    """With both figures, and what helps."""
    taken, _ = device_time(kernels(5e-6, prelude=50e-6))
    (caution,) = taken.cautions
    assert (caution.code, caution.spoils) == ("launch-bound", frozenset())
    assert "takes 54.1 µs to launch what simulated:0 does in" in caution.message
    assert "CUDA graph" in caution.remedy


def test_a_graph_is_a_workload_like_any_other() -> None:
    """Fifty kernels in one launch: nothing is launch-bound, and the device's time is theirs."""
    taken, found = device_time(kernels(50 * 5e-6))
    assert taken.cautions == ()
    assert found == pytest.approx(250e-6, rel=0.01)


def test_wall_time_sees_the_launching_that_device_time_does_not() -> None:
    """Two figures for two questions."""
    taken, found = device_time(kernels(5e-6, prelude=50e-6))
    wall = Measurement("gpu", None, taken.rounds).time_s
    assert found == pytest.approx(5e-6, rel=0.01)
    assert wall == pytest.approx(54e-6, rel=0.02)


@pytest.mark.parametrize("wrong", [-1e-3, 5e-3])
def test_events_that_tell_an_impossible_time_are_refused(wrong: float) -> None:
    """Less than none, or more than passed on the host."""
    machine = exact_machine()
    with built(leg_on(machine, running(1e-3))) as ready:
        events = preflight(ready.plan.device)
        assert events is not None
        window = plan_window(ready, probe(ready, 1e-3, events), events)

        timer = events.timer

        class Broken:
            mark, wait = timer.mark, timer.wait

            def elapsed_s(self, start: Any, end: Any) -> float:
                return wrong

        with pytest.raises(MeasurementError, match="on the host; update the driver"):
            take_device_sample(ready, window, replace(events, timer=Broken()))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(kernel=st.floats(2e-6, 1e-2), resolution=st.sampled_from([32e-9, 500e-9, 1024e-9]))
def test_a_window_is_long_against_the_clock_of_the_events(kernel: float, resolution: float) -> None:
    """By 200 steps, so that a median cannot lock onto a grid value more than 0.25 % away."""
    machine = exact_machine(replace(EXACT, resolution_s=resolution))
    with built(leg_on(machine, running(kernel))) as ready:
        events = preflight(ready.plan.device)
        assert events is not None
        window = plan_window(ready, probe(ready, kernel, events), events)
        sample = take_device_sample(ready, window, events)
    assume(window.iterations < 800)
    assert window.iterations * kernel >= 190 * resolution
    assert sample.idle_s == 0.0
    assert overhead_of([sample], window, events) < 0.01


def test_cold_calls_are_single_and_miss_the_cache() -> None:
    """The cache is evicted before each, and the eviction is in no figure."""

    def work(device: SimulatedDevice) -> Callable[[], None]:
        return lambda: device.run(100e-6, cold=300e-6)

    machine = exact_machine()
    hot, cold = leg_on(machine, work), replace(leg_on(machine, work), cold=True)
    for leg, truth in ((hot, 100e-6), (cold, 300e-6)):
        taken = take([leg], rounds=1, plan=BRIEF).legs["gpu"]
        found = Measurement("gpu", None, taken.rounds)
        assert found.device_time_s == pytest.approx(truth, rel=0.01)
        assert found.time_s == pytest.approx(truth, rel=0.15)  # one launch and one synchronization a sample
        assert abs(found.time_s / truth - 1) <= found.overhead_bound("wall_time") + 0.05
    assert taken.rounds[0].iterations == 1
