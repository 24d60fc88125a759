"""Passes of their own: peak memory, and the latency of single calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_gpuprof.backends.simulated import SimulatedBackend, SimulatedDevice
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.sampling.passes import PassResult, latency_pass, memory_pass
from tests.sampling.machines import EXACT, device_of, exact_machine, leg_on, running

MIB = 2**20


# -- memory -----------------------------------------------------------------------------------------------------------


def allocating(weights: int, workspace: int, output: int) -> Callable[..., Any]:
    """Return a builder of work that holds weights, needs a workspace, and returns an output."""

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        held = device.allocate(weights)

        def run() -> Any:
            scratch = device.allocate(workspace)
            result = device.allocate(output)
            device.run(1e-3)
            del scratch
            return held, result

        return run

    return work


def memory_of(
    machine: SimulatedBackend, builder: Callable[..., Any], *, exact: bool = True, **options: Any
) -> PassResult:
    plan = leg_on(machine, builder, **options)
    with plan.device.watch_memory() as memory:
        assert memory is not None
        return memory_pass(plan, memory, exact=exact, threads=1, quality="simulated")


def test_peaks_above_the_builder_and_above_the_call_are_exact(machine: SimulatedBackend) -> None:
    """Weights count for the one and not for the other; what others hold counts for neither."""
    others = device_of(machine).allocate(500 * MIB)
    readings = memory_of(machine, allocating(100 * MIB, 30 * MIB, 7 * MIB)).readings
    assert readings["memory"] == Reading(137.0 * MIB, quality="simulated")
    assert readings["workspace"] == Reading(37.0 * MIB, quality="simulated")
    assert others.nbytes == 500 * MIB


def test_a_call_that_allocates_nothing_has_a_workspace_of_zero(machine: SimulatedBackend) -> None:
    """A figure, and no missing one."""
    assert memory_of(machine, allocating(MIB, 0, 0)).readings["workspace"].value == 0.0


def test_a_peak_inside_the_builder_is_not_the_workloads(machine: SimulatedBackend) -> None:
    """Preparing inputs may take more than the call does."""

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        device.allocate(900 * MIB).close()
        held = device.allocate(MIB)
        return lambda: held

    assert memory_of(machine, work).readings["memory"].value == 1.0 * MIB


def test_memory_of_the_first_calls_is_not_the_steady_peak(machine: SimulatedBackend) -> None:
    """Workspaces that a library sets up once are held after, not needed by each call."""

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        held: list[Any] = []

        def run() -> None:
            if not held:
                device.allocate(900 * MIB).close()
                held.append(device.allocate(10 * MIB))

        return run

    readings = memory_of(machine, work).readings
    assert (readings["memory"].value, readings["workspace"].value) == (10.0 * MIB, 0.0)


def test_peaks_that_do_not_repeat_have_an_interval(machine: SimulatedBackend) -> None:
    """The larger is the figure; a verdict between the two is inconclusive."""
    sizes = iter([10 * MIB, 12 * MIB])

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        size = next(sizes)
        return lambda: device.allocate(size)

    reading = memory_of(machine, work).readings["memory"]
    assert (reading.value, reading.interval) == (12.0 * MIB, (10.0 * MIB, 12.0 * MIB))


def test_the_hosts_memory_is_measured_in_one_pass(machine: SimulatedBackend) -> None:
    """Resident memory does not shrink, so a second pass would find nothing."""
    built = []

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        built.append(device)
        return lambda: device.allocate(MIB)

    assert memory_of(machine, work, exact=False).calls == 3
    assert len(built) == 1


def test_reset_runs_before_each_call_and_is_not_in_the_peak(machine: SimulatedBackend) -> None:
    """What it frees, it frees before."""
    calls: list[str] = []

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        def run() -> Any:
            calls.append("call")
            return device.allocate(MIB)

        return run

    def reset() -> None:
        calls.append("reset")
        device_of(machine).allocate(50 * MIB).close()

    result = memory_of(machine, work, reset=reset)
    assert result.readings["workspace"].value == 1.0 * MIB
    assert calls == ["reset", "call"] * 6
    assert result.calls == 6


def test_allocators_that_hold_memory_back_say_how_much(machine: SimulatedBackend) -> None:
    """Where there is such a figure."""
    plan = leg_on(machine, allocating(MIB, 0, 0))

    class Holding:
        def __init__(self, memory: Any) -> None:
            self.live_bytes, self.reset_peak, self.peak_bytes = (
                memory.live_bytes,
                memory.reset_peak,
                memory.peak_bytes,
            )

        def reserved_bytes(self) -> int | None:
            return 2 * MIB

    with plan.device.watch_memory() as memory:
        result = memory_pass(plan, Holding(memory), exact=True, threads=1, quality="measured")
    assert result.readings["reserved"] == Reading(2.0 * MIB)
    assert "reserved" not in memory_of(machine, allocating(MIB, 0, 0)).readings


# -- latency ----------------------------------------------------------------------------------------------------------


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
    assert len(resets) == 12
